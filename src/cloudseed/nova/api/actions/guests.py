"""What is asked of a running guest: a new password, a crash dump."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import server_guests
from cloudseed.nova.api.body import as_type, check_text

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class ChangePassword(msgspec.Struct, forbid_unknown_fields=True):
    admin_password: str = msgspec.field(name="adminPass")

    def __post_init__(self) -> None:
        check_text(self.admin_password, "adminPass")


async def change_password(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order = as_type(value, ChangePassword, "changePassword")
    await server_guests.change_password(nova, req.ctx, server_id, order.admin_password)


async def trigger_crash_dump(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    require(req.microversion, (2, 17))
    if value is not None:
        raise Invalid("Invalid input for field/attribute trigger_crash_dump. It must be null.")
    await server_guests.trigger_crash_dump(nova, req.ctx, server_id)


HANDLERS = {"changePassword": change_password, "trigger_crash_dump": trigger_crash_dump}
