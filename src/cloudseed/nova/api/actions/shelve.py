"""Shelve, its offload, and unshelve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import server_shelve
from cloudseed.nova.api.body import as_type, check_name
from cloudseed.nova.server_shelve import Destination

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class Unshelve(msgspec.Struct, forbid_unknown_fields=True):
    """From 2.77 with a zone, from 2.91 with a host and a zone that may be null."""

    availability_zone: str | msgspec.UnsetType | None = msgspec.UNSET
    host: str | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        for what in ("availability_zone", "host"):
            if isinstance(value := getattr(self, what), str):
                check_name(value, what)


async def shelve(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    await server_shelve.shelve_server(nova, req.ctx, server_id)


async def offload(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    await server_shelve.offload_server(nova, req.ctx, server_id)


async def unshelve(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    version, destination = req.microversion, Destination()
    if value is not None and version >= (2, 77):
        order = as_type(value, Unshelve, "unshelve")
        if version < (2, 91):
            if order.host is not msgspec.UNSET:
                raise Invalid("Invalid input for field/attribute unshelve. Additional properties are not allowed "
                              "('host' was unexpected)")
            if not isinstance(order.availability_zone, str):
                raise Invalid("Invalid input for field/attribute unshelve. 'availability_zone' is a required property")
        elif order.availability_zone is msgspec.UNSET and order.host is msgspec.UNSET:
            raise Invalid("Invalid input for field/attribute unshelve. It needs an availability_zone or a host")
        destination = Destination(zone=order.availability_zone,
                                  host=order.host if isinstance(order.host, str) else None)
    await server_shelve.unshelve_server(nova, req.ctx, server_id, destination)


HANDLERS = {"shelve": shelve, "shelveOffload": offload, "unshelve": unshelve}
