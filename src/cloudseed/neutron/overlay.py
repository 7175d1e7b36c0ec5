"""Where each port of a network is, for hosts that share it: the forwarding entries of their tunnels.

An agent that has an address among the hosts says so in its heartbeat (`tunneling_ip`, as upstream's agents do); the
other hosts of its ports' networks are told of that address.  It stays true of an agent that is silent: a doubt about
an agent is no doubt about its guests.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import agents, events, models

ports = models.ports
waiting = models.port_bindings
DHCP_OWNER = "network:dhcp"
# built once: building a statement costs more than running it
_AGENTS = sa.select(models.agents.c.host, models.agents.c.configurations).where(
    models.agents.c.agent_type == agents.L2)
_AGENT = _AGENTS.where(models.agents.c.host == sa.bindparam("this"))


async def tunnels(tx: Tx) -> dict[str, str]:
    """The underlay address of each host that has one."""
    rows = await tx.all(_AGENTS)
    return {row.host: str(row.configurations["tunneling_ip"]) for row in rows
            if row.configurations.get("tunneling_ip")}


async def has_tunnel(tx: Tx, host: str) -> bool:
    """Whether `tunnels` would have this host: asked at each look of each host."""
    row = await tx.first(_AGENT, {"this": host})
    return row is not None and bool(row.configurations.get("tunneling_ip"))


def waiting_on(host: str) -> list[sa.ColumnElement[bool]]:
    """Bindings that wait on a host for a server to arrive: wired there, but not sent to."""
    return [waiting.c.host == host, waiting.c.vif_type == "bridge"]


@functools.lru_cache(256)
def _newly(host: str) -> sa.Select[Any]:
    return sa.select(waiting.c.port_id).where(*waiting_on(host), sa.not_(waiting.c.wired))


async def newly_wired(tx: Tx, host: str, up: Sequence[str]) -> list[str]:
    """Ports of which a host says, for the first time, that they are wired where a server may arrive."""
    rows = await tx.scalars(_newly(host))
    return sorted(set(rows) & set(up))


async def note_wired(tx: Tx, host: str, port_ids: Sequence[str]) -> None:
    """Remember it, and owe nova the news."""
    if port_ids:
        await tx.execute(sa.update(waiting).where(waiting.c.host == host, waiting.c.port_id.in_(port_ids))
                         .values(wired=True))
        await tx.execute(sa.update(ports).where(ports.c.id.in_(port_ids), ports.c.device_id != "")
                         .values(plug_event=events.PLUGGED, status_since=time.time()))


def networks_with_guests(host: str) -> sa.CompoundSelect[Any]:
    """Ids of the networks that guests' ports are on which a host must wire."""
    return sa.union(
        sa.select(ports.c.network_id).where(
            ports.c.host == host, ports.c.vif_type == "bridge", ports.c.device_owner.like("compute:%")),
        sa.select(ports.c.network_id).join(waiting, waiting.c.port_id == ports.c.id).where(*waiting_on(host)))


async def router_hosts(tx: Tx, network_ids: Sequence[str]) -> dict[str, str]:
    """The host of each router's port on these networks: its router's, from the moment that it is given to it."""
    bound, inner, routers = models.router_bindings, models.router_ports, models.routers
    legs = sa.union_all(
        sa.select(inner.c.port_id, inner.c.router_id),
        sa.select(routers.c.gateway_port_id, routers.c.id).where(routers.c.gateway_port_id.is_not(None))).subquery()
    rows = await tx.all(
        sa.select(legs.c.port_id, bound.c.host).join(bound, bound.c.router_id == legs.c.router_id)
        .join(ports, ports.c.id == legs.c.port_id).where(ports.c.network_id.in_(network_ids), bound.c.host != ""))
    return {row.port_id: row.host for row in rows}


def remotes(rows: Sequence[Any], fixed: dict[str, list[dict[str, str]]], host: str, addresses: dict[str, str],
            routers: dict[str, str]) -> list[dict[str, Any]]:
    """RemoteEnd records, as plain objects, of a network's ports (`rows`) that are on other hosts.

    `addresses`: of the hosts; `routers`: the host of each router's port.
    """
    found = []
    for row in rows:
        router = row.id in routers
        if router:
            where = routers[row.id]
        elif row.device_owner == DHCP_OWNER or (row.vif_type == "bridge" and row.device_owner.startswith("compute:")):
            where = row.host
        else:
            continue
        if where != host and where in addresses:
            found.append({"mac_address": row.mac_address, "underlay": addresses[where],
                          "ip_addresses": [each["ip_address"] for each in fixed.get(row.id, ())],
                          **({"router": True} if router else {})})
    return found
