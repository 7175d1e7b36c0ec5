"""What a host's routers shall be, and what became of them: the server's side of the L3 agent's conversation.

`router_wish` is computed from the database each time, with a number of statements that does not depend on how many
routers, ports or addresses there are.  `router_states` takes what the host reports.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import listing, models, qos_types
from cloudseed.neutron.server import Neutron

log = logging.getLogger(__name__)
bindings, ports, fips = models.router_bindings, models.ports, models.floatingips
inner, everybody = models.router_ports, models.routers
allocations, forwardings = models.ip_allocations, models.port_forwardings
Wish = dict[str, Any]


def hosted(host: str) -> sa.Select[tuple[str]]:
    """Ids of the routers that a host must wire."""
    return sa.select(bindings.c.router_id).where(bindings.c.host == host)


def legs_on(host: str) -> sa.CompoundSelect[Any]:
    """(port, router) of the legs of these routers, inner ones and gateways."""
    return sa.union_all(
        sa.select(inner.c.port_id, inner.c.router_id).where(inner.c.router_id.in_(hosted(host))),
        sa.select(everybody.c.gateway_port_id, everybody.c.id).where(
            everybody.c.id.in_(hosted(host)), everybody.c.gateway_port_id.is_not(None)))


async def legs_by_network(tx: Tx, host: str) -> dict[str, list[str]]:
    """Ids of the routers' ports that a host must wire, by network."""
    legs = legs_on(host).subquery()
    found: dict[str, list[str]] = {}
    for port_id, network_id in await tx.all(
            sa.select(ports.c.id, ports.c.network_id).join(legs, legs.c.port_id == ports.c.id).order_by(ports.c.id)):
        found.setdefault(network_id, []).append(port_id)
    return found


def external_wish(network: Any, subnets: list[Any], taken: set[str]) -> Wish | None:
    """The host's own end of an external network: the gateways of its subnets, but for those that a port has."""
    if not network.external or not network.admin_state_up:
        return None
    return {"addresses": [f"{subnet.gateway_ip}/{ipaddress.ip_network(subnet.cidr).prefixlen}" for subnet in subnets
                          if subnet.gateway_ip and subnet.gateway_ip not in taken
                          and ipaddress.ip_address(subnet.gateway_ip) in ipaddress.ip_network(subnet.cidr)]}


class RouterWiring:
    """The L3 agent's handlers of the topic `neutron-server`."""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    def handlers(self) -> dict[str, Any]:
        return {"router_wish": self.router_wish, "router_states": self.router_states}

    async def router_wish(self, ctx: Context, host: str) -> list[Wish]:
        """RouterWish records as plain objects."""
        async with self._neutron.db.read() as tx:
            rows = await tx.all(sa.select(everybody).where(everybody.c.id.in_(hosted(host))).order_by(everybody.c.id))
            if not rows:
                return []
            legs = legs_on(host).subquery()
            its = await tx.all(
                sa.select(ports.c.id, ports.c.network_id, ports.c.mac_address, ports.c.admin_state_up,
                          legs.c.router_id, models.networks.c.mtu)
                .join(legs, legs.c.port_id == ports.c.id)
                .join(models.networks, models.networks.c.id == ports.c.network_id).order_by(ports.c.id))
            subnets = await listing.by_ids(tx, sa.select(models.subnets).order_by(models.subnets.c.created_at),
                                           models.subnets.c.network_id, sorted({leg.network_id for leg in its}))
            addresses = await listing.by_ids(tx, sa.select(allocations).order_by(allocations.c.position),
                                             allocations.c.port_id, [leg.id for leg in its])
            floating = await listing.by_ids(tx, sa.select(fips).order_by(fips.c.created_at, fips.c.id),
                                            fips.c.router_id, [row.id for row in rows])
            led = await listing.by_ids(tx, sa.select(forwardings).order_by(forwardings.c.id),
                                       forwardings.c.floatingip_id, [fip.id for fip in floating])
            limits = await qos_types.wishes(tx, [fip.qos_policy_id for fip in floating])
        return [_wish(row, [leg for leg in its if leg.router_id == row.id], subnets, addresses,
                      [fip for fip in floating if fip.router_id == row.id], led, limits) for row in rows]

    async def router_states(self, ctx: Context, host: str, wired: list[str], failed: dict[str, str],
                            up: list[str], floating: list[str]) -> int:
        """A host's report: routers that are wired or failed (why), ports and floating addresses that work.

        Returns how many rows changed.  What the host does not name of its routers is down.
        """
        async with self._neutron.db.read() as tx:
            if not await _changes(tx, host, wired, failed, up, floating):
                return 0
        async with self._neutron.db.write() as tx:
            changes = await _changes(tx, host, wired, failed, up, floating)
            for router_id, error in changes.get("routers", ()):
                await tx.execute(sa.update(bindings).where(bindings.c.router_id == router_id).values(error=error))
                if error:
                    log.warning("%s: router %s cannot be wired on %s: %s", ctx.request_id, router_id, host, error)
            for port_id, status in changes.get("ports", ()):
                binding = {"host": host, "vif_type": "bridge"} if status == "ACTIVE" else {}
                await tx.execute(sa.update(ports).where(ports.c.id == port_id).values(
                    status=status, status_since=time.time(), **binding))
            for fip_id, status in changes.get("floating", ()):
                await tx.execute(sa.update(fips).where(fips.c.id == fip_id).values(status=status))
        return sum(map(len, changes.values()))


async def _changes(tx: Tx, host: str, wired: list[str], failed: dict[str, str], up: list[str],
                   floating: list[str]) -> dict[str, list[tuple[str, str]]]:
    """Which rows of this host's routers are not yet what the report says: (id, new value) by kind."""
    found: dict[str, list[tuple[str, str]]] = {}
    truth = {**dict.fromkeys(wired, ""), **failed}
    for router_id, error in await tx.all(sa.select(bindings.c.router_id, bindings.c.error)
                                         .where(bindings.c.host == host)):
        if router_id in truth and truth[router_id] != error:
            found.setdefault("routers", []).append((router_id, truth[router_id]))
    legs = legs_on(host).subquery()
    working = set(up)
    for port_id, status in await tx.all(
            sa.select(ports.c.id, ports.c.status).join(legs, legs.c.port_id == ports.c.id)):
        wanted = "ACTIVE" if port_id in working else "DOWN"
        if status != wanted:
            found.setdefault("ports", []).append((port_id, wanted))
    shown = set(floating)
    for fip_id, status in await tx.all(sa.select(fips.c.id, fips.c.status).where(
            fips.c.router_id.in_(hosted(host)))):
        wanted = "ACTIVE" if fip_id in shown else "DOWN"
        if status != wanted:
            found.setdefault("floating", []).append((fip_id, wanted))
    return found


def _wish(row: Any, legs: list[Any], subnets: list[Any], addresses: list[Any], floating: list[Any],
          led: list[Any], limits: dict[str, Wish]) -> Wish:
    by_id = {subnet.id: subnet for subnet in subnets}
    held: dict[str, list[Any]] = {}
    for address in addresses:
        held.setdefault(address.port_id, []).append(address)

    def leg(port: Any) -> Wish:
        mine = [(a.ip_address, by_id[a.subnet_id]) for a in held.get(port.id, ()) if a.subnet_id in by_id]
        announced = [subnet for _, subnet in mine if subnet.ip_version == 6 and subnet.ipv6_ra_mode
                     and port.id != row.gateway_port_id and row.admin_state_up]
        return {"port_id": port.id, "network_id": port.network_id, "mac_address": port.mac_address, "mtu": port.mtu,
                "addresses": [f"{ip}/{ipaddress.ip_network(subnet.cidr).prefixlen}" for ip, subnet in mine],
                "advertisements": [{"prefix": subnet.cidr, "mode": subnet.ipv6_ra_mode,
                                    "dns_nameservers": subnet.dns_nameservers} for subnet in announced]}

    gateway = next((port for port in legs if port.id == row.gateway_port_id), None)
    outside = [subnet for subnet in subnets if gateway is not None and subnet.network_id == gateway.network_id]
    own = {a.subnet_id for a in held.get(gateway.id, ())} if gateway is not None else set()
    return {
        # one that its administrator took down keeps its links, whose ports are up, and passes nothing on
        "router_id": row.id, "forwards": row.admin_state_up,
        "legs": [leg(port) for port in legs if port is not gateway and port.admin_state_up],
        "gateway": leg(gateway) if gateway is not None else None, "enable_snat": row.enable_snat,
        "next_hops": [subnet.gateway_ip for subnet in outside if subnet.id in own and subnet.gateway_ip],
        "onlink": [subnet.cidr for subnet in outside if subnet.id not in own], "routes": row.routes,
        "floating": [{"floatingip_id": fip.id, "floating_ip": fip.floating_ip_address,
                      "fixed_ip": fip.fixed_ip_address, **limits.get(fip.qos_policy_id, {})} for fip in floating
                     if fip.fixed_ip_address and row.admin_state_up],
        "forwardings": [{"floatingip_id": fip.id, "floating_ip": fip.floating_ip_address, "protocol": each.protocol,
                         "floating_port": each.external_port, "fixed_ip": each.internal_ip_address,
                         "fixed_port": each.internal_port,
                         "count": each.external_last - each.external_port + 1,
                         "into_one": each.internal_port == each.internal_last}
                        for fip in floating for each in led if each.floatingip_id == fip.id and row.admin_state_up]}
