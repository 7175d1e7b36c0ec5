"""Addresses of a server's port, one more or one less: an action of old microversions, up to 2.43."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import server_interfaces
from cloudseed.nova.api.body import as_type
from cloudseed.nova.api.server_bodies import check_address

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

LAST = (2, 43)


class AddFixedIp(msgspec.Struct, forbid_unknown_fields=True):
    networkId: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.networkId) <= 36 or not self.networkId.isprintable():
            raise ValueError("Invalid input for field/attribute networkId. It must have 1 to 36 characters")


class RemoveFixedIp(msgspec.Struct, forbid_unknown_fields=True):
    address: str

    def __post_init__(self) -> None:
        check_address(self.address, "address")


async def add_fixed_ip(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    require(req.microversion, maximum=LAST)
    order = as_type(value, AddFixedIp, "addFixedIp")
    await server_interfaces.add_fixed_ip(nova, req.ctx, server_id, order.networkId)


async def remove_fixed_ip(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    require(req.microversion, maximum=LAST)
    order = as_type(value, RemoveFixedIp, "removeFixedIp")
    await server_interfaces.remove_fixed_ip(nova, req.ctx, server_id, str(ipaddress.ip_address(order.address)))


HANDLERS = {"addFixedIp": add_fixed_ip, "removeFixedIp": remove_fixed_ip}
