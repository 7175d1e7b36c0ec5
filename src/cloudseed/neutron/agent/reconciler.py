"""The loop of one host: asks the server what this host shall wire, has it wired, says what came of it.

It reads the whole wish each time and takes no input from hints, so a lost hint, a killed process or a restarted
host process cost time and nothing else.  Three agents share it: `neutron-dhcp-agent` sees to DHCP ports,
`neutron-l3-agent` to routers (`routers.py`), `neutron-l2-agent` to everything else that is wired.  They are alive as
long as the host does what it is asked: with the host process gone their heartbeats stop, and the server stops binding
ports here.

Where no host process exists (the fake driver), wiring is simulated: every bound port is up at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from cloudseed.host.errors import HostError
from cloudseed.host.records import ApplyResult, NetworkWish, RouterWish
from cloudseed.kernel.bus import Bus
from cloudseed.kernel.context import Context
from cloudseed.kernel.periodic import Loop
from cloudseed.neutron.agent.failures import Failures
from cloudseed.neutron.agent.routers import SERVER_TOPIC, RouterPart

log = logging.getLogger(__name__)
AGENT_TOPIC = "neutron-agent"
INTERVAL_S = 10.0
AGAIN_S = 1.0  # after a host process that did not answer: it is back as soon as it is started
HEARTBEAT_S = 20.0
L2_PART, DHCP_PART, L3_PART = "neutron-l2-agent", "neutron-dhcp-agent", "neutron-l3-agent"


class NetworkHost(Protocol):
    """The host process, as far as networks go (host/client.py, host/fake.py)."""

    async def apply_networks(
        self, networks: Sequence[NetworkWish], *, full: bool, routers: Sequence[RouterWish] = ()
    ) -> ApplyResult: ...


class Reconciler:
    """Keeps one host's networks as the server wishes.  `dhcp`, `l3` None: without that agent.  `wires` None: nothing
    is wired here.  `simulate`: ports of hosts without a wiring of their own count as wired.  `underlay`: this
    host's address among the hosts, if any.  `report_s`: how often, at most, its agents say that they live."""

    def __init__(self, host: str, l2: Bus, dhcp: Bus | None, l3: Bus | None, wires: NetworkHost | None,
                 simulate: bool, underlay: str = "", report_s: float = INTERVAL_S) -> None:
        self._host = host
        self._l2 = l2
        self._dhcp = dhcp
        self._l3 = RouterPart(host, l3) if l3 is not None else None
        self._wires = wires
        self._simulate = simulate
        self._underlay = underlay
        self._started_at = time.time()
        self._heartbeat = 0.0
        self._heartbeat_s = min(HEARTBEAT_S, 2 * report_s) if report_s >= INTERVAL_S else 0.9 * report_s
        self._flow: Context | None = None
        self._applied: tuple[float, tuple[list[NetworkWish], list[RouterWish]], ApplyResult] | None = None
        self._lost = False  # the host process did not answer the last time
        self._errors: dict[str, str] = {}  # by network, as logged last
        self._failures = Failures()
        self.loop = Loop("neutron: wiring of this host", self.sync_host, min(INTERVAL_S, report_s))

    def serve(self) -> None:
        """Listen for hints."""
        for bus in (self._l2, self._dhcp, self._l3.bus if self._l3 is not None else None):
            if bus is not None:
                bus.serve(AGENT_TOPIC, {"look_again": self.look_again})
        self._l2.serve(f"{AGENT_TOPIC}.{self._host}", {"look_again": self.look_again})  # what concerns this host alone

    async def look_again(self, ctx: Context) -> None:
        """Something may have changed; `ctx` names the flow in which the wiring is recorded."""
        self._flow = ctx
        self.loop.hint()

    async def sync_host(self) -> None:
        """One look at everything."""
        ctx, self._flow = self._flow or Context(), None
        if self._dhcp is not None:
            await self._dhcp.call(ctx, SERVER_TOPIC, "sync_dhcp_ports", host=self._host)
        try:
            if self._wires is not None:
                await self._wire(ctx, self._wires)
        except HostError as exc:
            if not self._lost:
                log.warning("networks of this host cannot be wired, will try again: %s", exc)
            self._lost = True
            asyncio.get_running_loop().call_later(AGAIN_S, self.loop.hint)
            return
        self._lost = False
        if self._simulate:
            await self._simulate_wiring(ctx)
        await self.report_state(ctx)

    async def _wire(self, ctx: Context, wires: NetworkHost) -> None:
        wish = msgspec.convert(await self._l2.call(ctx, SERVER_TOPIC, "host_wish", host=self._host),
                               list[NetworkWish])
        routers = await self._l3.wish(ctx, wish) if self._l3 is not None else []
        moment = time.monotonic()
        # applied a moment ago and well: nothing to do but to say so again, in case it was forgotten
        if self._applied is None or self._applied[1] != (wish, routers) or moment - self._applied[0] > INTERVAL_S / 2:
            self._applied = None
            result = await wires.apply_networks(wish, full=True, routers=routers)
            self._applied = (moment, (wish, routers), result)
        else:
            result = self._applied[2]
        errors = {network.network_id: network.error for network in result.networks if network.error}
        lost = {router.router_id: router.error for router in result.routers}
        if errors or any(lost.values()) or not all(port.up for port in result.ports):
            self._applied = None
        for network_id, error in errors.items():
            if self._errors.get(network_id) != error:
                log.warning("network %s cannot be wired on this host, will try again: %s", network_id, error)
        self._errors = errors
        given_up = self._failures.count(wish, errors)
        if errors:  # most are mended in a moment; what is not is looked at in the ordinary time
            asyncio.get_running_loop().call_later(self._failures.again_s(), self.loop.hint)
        up = [port.port_id for port in result.ports if port.up]
        down = {port.port_id: port.reason for port in result.ports if not port.up}
        if up or down:
            await self._l2.call(ctx, SERVER_TOPIC, "port_states", host=self._host, up=up, down=down)
        if given_up:
            await self._l2.call(ctx, SERVER_TOPIC, "wiring_failed", host=self._host, port_ids=given_up)
        if self._l3 is not None:
            await self._l3.report(ctx, routers, lost)

    async def _simulate_wiring(self, ctx: Context) -> None:
        if self._l3 is not None:
            await self._l3.report(ctx, await self._l3.wish(ctx, None), {})
        but = self._host if self._wires is not None else None
        waiting = await self._l2.call(ctx, SERVER_TOPIC, "unwired_ports", but_host=but)
        if waiting:
            await self._l2.call(ctx, SERVER_TOPIC, "port_states", host=self._host, up=waiting, down={}, any_host=True)

    async def report_state(self, ctx: Context) -> None:
        """The agents' heartbeats, when due."""
        if time.monotonic() - self._heartbeat < self._heartbeat_s and self._heartbeat:
            return
        agents: list[tuple[Bus, str, dict[str, Any]]] = [
            (self._l2, "Linux bridge agent", {
                "any_host": self._simulate, "tunnel_types": ["vxlan"], "l2_population": bool(self._underlay),
                "tunneling_ip": self._underlay or None})]
        if self._dhcp is not None:
            agents.append((self._dhcp, "DHCP agent", {"dhcp_driver": "dnsmasq"}))
        if self._l3 is not None:
            agents.append((self._l3.bus, "L3 agent", {"agent_mode": "legacy", **self._l3.counts}))
        for bus, kind, more in agents:
            configurations = {**more, "simulated": self._wires is None}
            await bus.call(ctx, SERVER_TOPIC, "report_state", agent_type=kind, binary=bus.part, topic_name=AGENT_TOPIC,
                           host=self._host, started_at=self._started_at, configurations=configurations)
        self._heartbeat = time.monotonic()
