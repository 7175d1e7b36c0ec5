"""Security groups of a server by name, as clients ask nova for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import security_groups
from cloudseed.nova.api.body import as_type, check_text

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class SecurityGroup(msgspec.Struct):
    name: str

    def __post_init__(self) -> None:
        check_text(self.name, "name")
        if not self.name.strip():
            raise ValueError("Invalid input for field/attribute name. It must not be empty")


async def add_security_group(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order = as_type(value, SecurityGroup, "addSecurityGroup")
    await security_groups.add_to_server(nova, req.ctx, server_id, order.name)


async def remove_security_group(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order = as_type(value, SecurityGroup, "removeSecurityGroup")
    await security_groups.remove_from_server(nova, req.ctx, server_id, order.name)


HANDLERS = {"addSecurityGroup": add_security_group, "removeSecurityGroup": remove_security_group}
