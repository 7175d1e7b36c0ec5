"""Which server asks: found from where the packet came from, never from what the guest says.

The host process names the network and the address that the guest's connection has; the firewall vouches for the
address.  Neutron names the port with that address, and nova's own record must know the port: a user who
writes another server's id into his port's `device_id` learns nothing of that server.
"""

from __future__ import annotations

import ipaddress
import time
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.nova.metadata.answer import Source
from cloudseed.nova.models import servers

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

KNOWN_S = 5.0
_MAX_KNOWN = 10_000
_SERVER = sa.select(servers).where(servers.c.id == sa.bindparam("this"), servers.c.deleted_at.is_(None))
Server = sa.Row[Any]


class _Owner(msgspec.Struct, frozen=True):
    port_id: str
    server_id: str
    until: float


class Sources:
    """Servers by source.  What neutron said counts for some seconds, or until nova hears that it changed."""

    def __init__(self, nova: Nova) -> None:
        self._nova = nova
        self._session = nova.env.session("nova-metadata-api", "nova")
        self._known: dict[Source, _Owner] = {}

    def forget(self, server_ids: set[str]) -> None:
        """The network of these servers has changed."""
        for source in [s for s, owner in self._known.items() if owner.server_id in server_ids]:
            del self._known[source]

    async def find(self, ctx: Context, source: Source) -> Server | None:
        """The server's record, or None when the source belongs to none."""
        known = self._known.get(source)
        if known is not None and known.until > time.monotonic():
            row = await self._server(known)
            if row is not None:
                return row
        self._known.pop(source, None)
        for port in await self._ports(ctx, source):
            owner = _Owner(port["id"], port.get("device_id") or "", time.monotonic() + KNOWN_S)
            row = await self._server(owner)
            if row is not None:
                if len(self._known) >= _MAX_KNOWN:
                    self._known.clear()
                self._known[source] = owner
                return row
        return None

    async def _server(self, owner: _Owner) -> Server | None:
        async with self._nova.db.read() as tx:
            row = await tx.first(_SERVER, {"this": owner.server_id})
        if row is None or owner.port_id not in {vif["id"] for vif in row.network_info or ()}:
            return None
        return row

    async def _ports(self, ctx: Context, source: Source) -> list[dict[str, Any]]:
        """The one port that the source can be, or none."""
        try:
            address = ipaddress.ip_address(source.remote_address.partition("%")[0])
        except ValueError:
            return []
        wanted: dict[str, Any] = {"fields": ["id", "device_id", "mac_address"]}
        if address.version == 6 and address.is_link_local:
            mac = mac_of(address)
            if mac is None:
                return []
            wanted["mac_address"] = mac
        else:
            wanted["fixed_ips"] = f"ip_address={address}"
        if not source.network_id:
            return []
        found = await self._list(ctx, {**wanted, "network_id": source.network_id})
        # where two have the same address, nobody is told anything
        return found if len(found) == 1 else []

    async def _list(self, ctx: Context, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        answer = await self._session.get_json(ctx, "network", "/v2.0/ports", params=wanted)
        ports: list[dict[str, Any]] = answer["ports"]
        return ports


def mac_of(address: ipaddress.IPv6Address) -> str | None:
    """The MAC address that a link-local address is made of (RFC 4291, appendix A), or None: it is made otherwise.

    >>> mac_of(ipaddress.IPv6Address("fe80::f816:3eff:fe00:1"))
    'fa:16:3e:00:00:01'
    """
    low = address.packed[8:]
    if low[3:5] != b"\xff\xfe":
        return None
    return ":".join(f"{byte:02x}" for byte in (low[0] ^ 2, *low[1:3], *low[5:]))
