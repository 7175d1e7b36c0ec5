"""The routers' part of a host's loop: neutron-l3-agent asks what they shall be and says what came of them."""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.host.records import NetworkWish, RouterWish
from cloudseed.kernel.bus import Bus
from cloudseed.kernel.context import Context

SERVER_TOPIC = "neutron-server"


class RouterPart:
    """`counts`: what the agent last had, for its heartbeat."""

    def __init__(self, host: str, bus: Bus) -> None:
        self._host = host
        self.bus = bus
        self.counts: dict[str, int] = {"routers": 0, "ex_gw_ports": 0, "interfaces": 0, "floating_ips": 0}

    async def wish(self, ctx: Context, networks: list[NetworkWish] | None) -> list[RouterWish]:
        """The routers, with those of their legs that the networks' wish knows too.

        The two are computed one after the other: what came between is in the next look.  Without `networks`,
        nothing is wired here.
        """
        known = {leg for network in networks or () for leg in network.legs}
        if networks is not None and not known and not self.counts["routers"]:
            return []  # what most looks find costs them nothing
        found = msgspec.convert(await self.bus.call(ctx, SERVER_TOPIC, "router_wish", host=self._host),
                                list[RouterWish])
        if networks is not None:
            found = [_with_known_legs(router, known) for router in found]
        self.counts = {
            "routers": len(found), "ex_gw_ports": sum(router.gateway is not None for router in found),
            "interfaces": sum(len(router.legs) for router in found),
            "floating_ips": sum(len(router.floating) for router in found)}
        return found

    async def report(self, ctx: Context, routers: list[RouterWish], errors: dict[str, str]) -> None:
        """What became of them; `errors` by router id, empty for those that are well."""
        if not routers:
            return
        well = [router for router in routers if not errors.get(router.router_id)]
        await self.bus.call(
            ctx, SERVER_TOPIC, "router_states", host=self._host, wired=[router.router_id for router in well],
            failed={router_id: error for router_id, error in errors.items() if error},
            up=[leg.port_id for router in well for leg in _legs(router)],
            floating=sorted({each.floatingip_id for router in well for each in router.floating}
                            | {each.floatingip_id for router in well for each in router.forwardings}))


def _legs(router: RouterWish) -> list[Any]:
    return [*router.legs, *([router.gateway] if router.gateway is not None else [])]


def _with_known_legs(router: RouterWish, known: set[str]) -> RouterWish:
    outside = router.gateway is not None and router.gateway.port_id in known
    changes: dict[str, Any] = {"legs": [leg for leg in router.legs if leg.port_id in known]}
    if not outside:
        changes |= {"gateway": None, "next_hops": [], "onlink": [], "floating": [], "forwardings": []}
    return msgspec.structs.replace(router, **changes)
