"""What a host shall wire, and what became of it: the server's side of the agents' conversation over the bus.

`host_wish` is everything a host needs, computed from the database each time: the networks with ports bound to
it, all addresses that DHCP knows there, security groups resolved into rules on addresses.  `port_states` takes
what the host reports; a port's status follows, and with it what nova is owed.
"""

from __future__ import annotations

import functools
import logging
import time
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.periodic import Loop
from cloudseed.neutron import (
    agents,
    events,
    ipam,
    listing,
    models,
    overlay,
    port_records,
    qos_types,
    router_scheduling,
    router_wiring,
    rule_wishes,
    service_ports,
)
from cloudseed.neutron.errors import IpAddressGenerationFailure
from cloudseed.neutron.port_records import DNS_DOMAIN, generated_hostname
from cloudseed.neutron.server import Neutron, now

log = logging.getLogger(__name__)
ports = models.ports
allocations = models.ip_allocations
DHCP_OWNER = overlay.DHCP_OWNER
DHCP_LEASE_S = 86_400  # upstream's dhcp_lease_duration


def dhcp_device_id(host: str, network_id: str) -> str:
    """The device id of the DHCP port that a host has on a network, as upstream's agents name it."""
    return f"dhcp{uuid.uuid5(uuid.NAMESPACE_DNS, host.split('.')[0])}-{network_id}"

# built once: building a statement costs more than running it
_UNWIRED = sa.select(ports.c.id).where(
    ports.c.vif_type == "bridge", ports.c.host != sa.bindparam("but"), ports.c.device_owner.like("compute:%"),
    sa.or_(sa.and_(ports.c.admin_state_up, ports.c.status != "ACTIVE"),
           sa.and_(sa.not_(ports.c.admin_state_up), ports.c.status == "ACTIVE")))
_STATES = sa.select(ports.c.id, ports.c.device_id, ports.c.device_owner, ports.c.status, ports.c.host, ports.c.vif_type,
                    ports.c.admin_state_up).where(listing.among(ports.c.id))


class Wiring:
    """The handlers of the topic `neutron-server`.  `owed` is woken when nova must hear something."""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron
        self.owed = Loop("neutron: events owed to nova", self._send_owed, 5.0)
        self._flow = Context()  # the flow in which the latest debt arose

    def handlers(self) -> dict[str, Any]:
        return {"report_state": self.report_state, "sync_dhcp_ports": self.sync_dhcp_ports,
                "host_wish": self.host_wish, "unwired_ports": self.unwired_ports, "port_states": self.port_states,
                "wiring_failed": self.wiring_failed}

    async def report_state(self, ctx: Context, agent_type: str, binary: str, topic_name: str, host: str,
                           started_at: float, configurations: dict[str, Any]) -> None:
        """An agent lives; an L3 agent takes the routers that nobody has."""
        await agents.report_state(self._neutron, agent_type, binary, topic_name, host, started_at, configurations)
        if agent_type == agents.L3:
            async with self._neutron.db.write() as tx:
                taken = await router_scheduling.schedule(self._neutron, tx)
            if taken:
                await self._neutron.look_again(ctx)

    # ---- DHCP ports

    async def sync_dhcp_ports(self, ctx: Context, host: str) -> int:
        """Give every network with DHCP subnets its DHCP port with an address on each, and no other network one.

        A host that shares networks with others has one only where it has guests: they are served by their own host.
        Idempotent by the port's device id.  Returns how many ports were changed.
        """
        async with self._neutron.db.read() as tx:
            if not await _dhcp_differences(tx, host):
                return 0
        async with self._neutron.db.write() as tx:
            differences = await _dhcp_differences(tx, host)
            for network_id, (port, wanted) in differences.items():
                await _settle_dhcp_port(tx, host, network_id, port, wanted)
        return len(differences)

    # ---- the wish

    async def host_wish(self, ctx: Context, host: str) -> list[dict[str, Any]]:
        """All networks that `host` shall wire: NetworkWish records as plain objects.

        The number of statements does not depend on the number of networks or ports.
        """
        async with self._neutron.db.read() as tx:
            wanted = overlay.networks_with_guests(host)
            legs = await router_wiring.legs_by_network(tx, host)
            networks = await tx.all(sa.select(models.networks).where(
                models.networks.c.id.in_(wanted) | models.networks.c.id.in_(list(legs))))
            if not networks:
                return []
            ids = [network.id for network in networks]
            subnets = await listing.by_ids(tx, sa.select(models.subnets).order_by(models.subnets.c.created_at),
                                           models.subnets.c.network_id, ids)
            rows = await listing.by_ids(tx, sa.select(ports).order_by(ports.c.id), ports.c.network_id, ids)
            addresses = await listing.by_ids(
                tx, sa.select(allocations).order_by(allocations.c.position), allocations.c.network_id, ids)
            here = {row.id for row in rows if _is_wired_on(row, host)}
            here.update(await tx.scalars(sa.select(overlay.waiting.c.port_id).where(*overlay.waiting_on(host))))
            local = sorted(here)
            rules = await rule_wishes.resolve(tx, local)
            stateless = await rule_wishes.stateless(tx, local)
            policies = {network.id: network.qos_policy_id for network in networks}
            limits = await qos_types.wishes(tx, [row.qos_policy_id or policies[row.network_id] for row in rows
                                                 if row.id in here])
            hosts = await overlay.tunnels(tx)
            routers = await overlay.router_hosts(tx, ids) if host in hosts else {}
        fixed: dict[str, list[dict[str, str]]] = {}
        for address in addresses:
            fixed.setdefault(address.port_id, []).append(
                {"subnet_id": address.subnet_id, "ip_address": address.ip_address})
        found = []
        for network in networks:
            its = [subnet for subnet in subnets if subnet.network_id == network.id]
            on_it = [row for row in rows if row.network_id == network.id]
            taken = {address.ip_address for address in addresses if address.network_id == network.id}
            found.append(_network_wish(network, its, on_it, fixed, rules, here, host, stateless, limits)
                         | {"legs": legs.get(network.id, []),
                            "external": router_wiring.external_wish(network, its, taken)})
            if host in hosts and network.network_type == "vxlan" and not network.external:
                found[-1] |= {"segmentation_id": network.segmentation_id,
                              "remotes": overlay.remotes(on_it, fixed, host, hosts, routers)}
        return found

    async def unwired_ports(self, ctx: Context, but_host: str | None = None) -> list[str]:
        """Bound ports whose status is not what it should be, on whatever host: for an agent that only simulates."""
        async with self._neutron.db.look() as tx:
            return list(await tx.scalars(_UNWIRED, {"but": but_host or ""}))

    # ---- what became of it

    async def wiring_failed(self, ctx: Context, host: str, port_ids: list[str]) -> int:
        """Ports that the host could not wire however often it tried: nova is told, and need not wait for them.

        The host goes on trying; should it succeed, the port's status and its event follow as ever.
        """
        waits = ports.c.id.in_(sa.select(overlay.waiting.c.port_id).where(
            *overlay.waiting_on(host), sa.not_(overlay.waiting.c.wired)))
        async with self._neutron.db.write() as tx:
            found = await tx.execute(sa.update(ports).where(
                ports.c.id.in_(port_ids), sa.and_(ports.c.host == host, ports.c.status != "ACTIVE") | waits,
                ports.c.plug_event.is_(None), ports.c.device_id != "", ports.c.device_owner.like("compute:%"))
                .values(plug_event=events.FAILED))
        self._flow = ctx
        self.owed.hint()
        return int(found.rowcount)

    async def port_states(self, ctx: Context, host: str, up: list[str], down: dict[str, str],
                          any_host: bool = False) -> int:
        """A host's report: ports that are wired, and ports that are not (with the reason).  Returns how many
        changed their status; nova is told of those that are its servers'.

        A port that was bound elsewhere while the host worked is none of this report's business.
        """
        async with self._neutron.db.read() as tx:
            if not await _status_changes(tx, host, up, down, any_host) and not await overlay.newly_wired(tx, host, up):
                return 0
        async with self._neutron.db.write() as tx:
            await overlay.note_wired(tx, host, await overlay.newly_wired(tx, host, up))
            changes = await _status_changes(tx, host, up, down, any_host)
            for status, rows in changes.items():
                await _set_status(tx, rows, status)
        for row in changes.get("DOWN", ()):
            log.warning("%s: port %s is down on %s: %s", ctx.request_id, row.id, host, down.get(row.id) or "its "
                        "administrator took it down")
        self._flow = ctx
        self.owed.hint()
        return sum(map(len, changes.values()))

    async def _send_owed(self) -> None:
        await events.send_owed(self._neutron, self._flow)


async def _status_changes(tx: Tx, host: str, up: list[str], down: dict[str, str],
                          any_host: bool) -> dict[str, list[Any]]:
    """Which ports of a report are not yet what it says."""
    changes: dict[str, list[Any]] = {}
    for status, port_ids in (("ACTIVE", up), ("DOWN", list(down))):
        rows = await listing.cached(tx, _STATES, port_ids) if port_ids else []
        for row in rows:
            truth = status if row.admin_state_up else "DOWN"
            if row.vif_type == "bridge" and row.status != truth and (any_host or row.host == host):
                changes.setdefault(truth, []).append(row)
    return changes


async def _set_status(tx: Tx, rows: Sequence[Any], status: str) -> None:
    name = events.PLUGGED if status == "ACTIVE" else events.UNPLUGGED
    for servers in (True, False):
        ids = [row.id for row in rows if events.is_servers(row) == servers]
        if ids:
            await tx.execute(sa.update(ports).where(ports.c.id.in_(ids)).values(
                status=status, status_since=time.time(), plug_event=name if servers else None, updated_at=now(),
                revision_number=ports.c.revision_number + 1))


def _is_wired_on(row: Any, host: str) -> bool:
    return bool(row.host == host and row.vif_type == "bridge" and row.device_owner.startswith("compute:"))


def _network_wish(network: Any, subnets: list[Any], rows: list[Any], fixed: dict[str, list[dict[str, str]]],
                  rules: dict[str, list[dict[str, Any]]], here: set[str], host: str, stateless: set[str],
                  limits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    device = dhcp_device_id(host, network.id)
    dhcp = next((row for row in rows if row.device_owner == DHCP_OWNER and row.device_id == device), None)
    domain = network.dns_domain or DNS_DOMAIN
    return {
        "network_id": network.id, "mtu": network.mtu, "dns_domain": domain.rstrip("."), "dhcp_lease_s": DHCP_LEASE_S,
        "subnets": [{"subnet_id": s.id, "cidr": s.cidr, "gateway_ip": s.gateway_ip,
                     "dns_nameservers": s.dns_nameservers, "host_routes": s.host_routes,
                     "enable_dhcp": s.enable_dhcp, "ipv6_address_mode": s.ipv6_address_mode} for s in subnets],
        "dhcp_port": dhcp and {"port_id": dhcp.id, "mac_address": dhcp.mac_address,
                               "fixed_ips": fixed.get(dhcp.id, [])},
        "ports": [_port_wish(row, fixed.get(row.id, []), rules.get(row.id, []), row.id in here, network.admin_state_up)
                  | ({"stateful": False} if row.id in stateless else {})
                  | ({"qos": limits[policy]} if row.device_owner.startswith("compute:") and (
                      policy := row.qos_policy_id or network.qos_policy_id) in limits else {})
                  for row in rows if row.device_owner != DHCP_OWNER]}


def _port_wish(row: Any, fixed: list[dict[str, str]], rules: list[dict[str, Any]], local: bool,
               network_up: bool) -> dict[str, Any]:
    first = next((ip["ip_address"] for ip in fixed if "." in ip["ip_address"]), None)
    name = row.dns_name.split(".")[0] or (generated_hostname(first) if first else None)
    return {"port_id": row.id, "mac_address": row.mac_address, "fixed_ips": fixed, "hostname": name,
            "device_id": row.device_id, "local": local, "admin_state_up": row.admin_state_up and network_up,
            "port_security_enabled": row.port_security_enabled,
            "dhcp_options": [{"name": option["opt_name"], "value": option["opt_value"] or "",
                              "ip_version": option["ip_version"]} for option in row.extra_dhcp_opts],
            "allowed_address_pairs": row.allowed_address_pairs if local else [], "rules": rules}


# ---- DHCP ports: what is there against what should be

async def _dhcp_differences(tx: Tx, host: str) -> dict[str, tuple[Any | None, list[str]]]:
    """Networks whose DHCP port is missing, superfluous, or lacks or exceeds its subnets: (port, its subnets)."""
    shares = await overlay.has_tunnel(tx, host)
    ids = list(await tx.scalars(_needy_networks(host, shares)))
    if not ids:
        return {}
    served = set(await tx.scalars(overlay.networks_with_guests(host))) if shares else set(ids)
    rows = await tx.all(sa.select(models.subnets.c.id, models.subnets.c.network_id).where(
        models.subnets.c.network_id.in_(ids), models.subnets.c.enable_dhcp).order_by(models.subnets.c.created_at))
    held = {row.network_id: row for row in await tx.all(sa.select(ports.c.id, ports.c.network_id, ports.c.mac_address)
                                                        .where(ports.c.network_id.in_(ids), *_dhcp_ports_of(host)))}
    return {network_id: (held.get(network_id), [row.id for row in rows if row.network_id == network_id
                                                and network_id in served])
            for network_id in ids}


def _dhcp_ports_of(host: str) -> list[sa.ColumnElement[bool]]:
    # the prefix of dhcp_device_id: a port that somebody made by hand with this owner is not the agent's
    return [ports.c.device_owner == DHCP_OWNER, ports.c.host == host,
            ports.c.device_id.startswith(dhcp_device_id(host, ""))]


@functools.lru_cache(256)  # each agent asks so at each look: building it costs more than running it
def _needy_networks(host: str, shares: bool) -> sa.CompoundSelect[Any]:
    """Ids of networks for whose DHCP port on `host` something is to be done.

    A subnet with DHCP without an address of the port; an address of it on a subnet without DHCP; a port without
    any address; with `shares`, a port on a network without guests here, which lacks none.  The database finds them,
    so a settled cloud costs one statement.
    """
    subnets = models.subnets
    its = sa.select(sa.literal(1)).where(allocations.c.subnet_id == subnets.c.id, ports.c.id == allocations.c.port_id,
                                         *_dhcp_ports_of(host))
    lacking = sa.select(subnets.c.network_id).where(subnets.c.enable_dhcp, sa.not_(its.exists()))
    exceeding = sa.select(subnets.c.network_id).where(sa.not_(subnets.c.enable_dhcp), its.exists())
    bare = sa.select(ports.c.network_id).where(
        *_dhcp_ports_of(host), sa.not_(sa.exists().where(allocations.c.port_id == ports.c.id)))
    if not shares:
        return sa.union(lacking, exceeding, bare)
    guests = overlay.networks_with_guests(host).subquery()
    here = sa.select(guests.c.network_id)
    idle = sa.select(ports.c.network_id).where(*_dhcp_ports_of(host), ports.c.network_id.not_in(here))
    return sa.union(lacking.where(subnets.c.network_id.in_(here)), exceeding, bare, idle)


async def _settle_dhcp_port(tx: Tx, host: str, network_id: str, port: Any | None, subnet_ids: list[str]) -> None:
    if not subnet_ids:
        if port is not None:
            await tx.execute(sa.delete(ports).where(ports.c.id == port.id))
        return
    wanted = [{"subnet_id": subnet_id} for subnet_id in subnet_ids]
    try:
        if port is None:
            project = await tx.scalar(sa.select(models.networks.c.project_id)
                                      .where(models.networks.c.id == network_id))
            await service_ports.make(tx, network_id, DHCP_OWNER, dhcp_device_id(host, network_id), project, wanted,
                                     host=host, vif_type="bridge", status="ACTIVE")
        else:
            draw = await ipam.Draw.on(tx, network_id)
            held = await port_records.held(tx, port.id)
            await ipam.reassign(tx, network_id, port.id, await draw.addresses(tx, wanted, port.mac_address, DHCP_OWNER,
                                                                             held))
    except IpAddressGenerationFailure:
        return  # the subnet is full: guests keep their addresses, DHCP waits for one
