"""What a host tells: itself to the conductor and to placement, its servers' states to the conductor."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from cloudseed.kernel.bus import Bus
from cloudseed.kernel.context import Context
from cloudseed.nova.compute.drivers.base import DriverFacts
from cloudseed.nova.compute.network import Networks
from cloudseed.nova.compute.spec import ServerSpec, decode_spec

VOLATILE = ("uptime", "free_disk_gb")  # change by themselves: told now and then, no reason for a report
REPORT_ANYWAY_S = 60.0


class Publisher:
    """The host's voice on the topic `conductor`."""

    def __init__(self, bus: Bus, host: str, node_id: str, address: str = "127.0.0.1") -> None:
        """`address`: the host's among hosts."""
        self._bus = bus
        self._address = address
        self._host = host
        self._node_id = node_id
        self._reported: tuple[float, dict[str, Any]] | None = None  # when, and what of it lasts

    async def report_host(self, ctx: Context, facts: DriverFacts) -> None:
        """We are alive, and this is what we have; only that we live, while that is known."""
        wire, now = msgspec.to_builtins(facts), time.monotonic()
        lasting = {**wire, "details": {name: value for name, value in wire["details"].items() if name not in VOLATILE}}
        if self._reported is not None and self._reported[1] == lasting \
                and now - self._reported[0] < REPORT_ANYWAY_S:
            await self._bus.cast(ctx, "conductor", "alive", host=self._host)
            return
        await self._bus.call(ctx, "conductor", "report_host", timeout_s=10.0, host=self._host, node_id=self._node_id,
                             facts=wire, address=self._address)
        self._reported = now, lasting

    async def wish(self, ctx: Context) -> list[dict[str, Any]]:
        """The servers that should be on this host: {id, vm_state, task_state, busy, spec}."""
        found: list[dict[str, Any]] = await self._bus.call(ctx, "conductor", "wish", host=self._host)
        return found

    async def fates(self, ctx: Context, server_ids: list[str]) -> dict[str, str]:
        """What became of servers that are not in our wish: deleted, elsewhere or unknown."""
        found: dict[str, str] = await self._bus.call(ctx, "conductor", "fates", host=self._host,
                                                     server_ids=server_ids)
        return found

    async def machine_off(self, ctx: Context, server_id: str, reason: str) -> None:
        """A machine is off; the conductor decides whether that is news."""
        await self._bus.call(ctx, "conductor", "machine_off", host=self._host, server_id=server_id, reason=reason)

    async def spec(self, ctx: Context, server_id: str) -> ServerSpec | None:
        """A server as the conductor knows it now; None when it is not on this host."""
        wire = await self._bus.call(ctx, "conductor", "get_server", host=self._host, server_id=server_id)
        return decode_spec(wire) if wire is not None else None

    async def volume_extended(self, ctx: Context, server_id: str, device_id: str, size_gib: int) -> None:
        """The guest sees a volume's new size."""
        await self._bus.call(ctx, "conductor", "volume_extended", host=self._host, server_id=server_id,
                             device_id=device_id, size_gib=size_gib)

    async def network_info(self, ctx: Context, server_id: str, networks: Networks) -> None:
        """Fetch a server's interfaces from neutron anew and tell them."""
        spec = await self.spec(ctx, server_id)
        if spec is not None:
            vifs = await networks.picture(ctx, spec)
            await self._bus.call(ctx, "conductor", "network_info", host=self._host, server_id=server_id, vifs=vifs)
