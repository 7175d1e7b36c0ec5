"""Agents: who wires which host, and whether it lives: whether its last heartbeat is recent (`Neutron.alive_since`)."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.last_words import LastWords
from cloudseed.neutron import access, listing, models
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.converters import boolean
from cloudseed.neutron.errors import AgentNotFound
from cloudseed.neutron.server import Neutron

table = models.agents
L2 = "Linux bridge agent"
DHCP = "DHCP agent"
L3 = "L3 agent"


def _spec(since: float) -> listing.Spec:
    def alive(values: list[str], ctx: Context) -> sa.ColumnElement[bool]:
        lives = table.c.heartbeat_at > since
        return sa.or_(*[lives if boolean(value) else sa.not_(lives) for value in values])

    return listing.spec(table, AgentNotFound, special={"alive": alive})


SPEC = _spec(0.0)  # what can be asked for; each list judges by its own moment


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def last_words(neutron: Neutron) -> LastWords:
    """Of agents: their heartbeats."""
    return LastWords(neutron.db, neutron.hearing, table.c.heartbeat_at)


def is_alive(row: Any, since: float) -> bool:
    return bool(row.heartbeat_at > since)


def record(row: Any, since: float) -> dict[str, Any]:
    return {
        "id": row.id, "agent_type": row.agent_type, "binary": row.binary, "topic": row.topic, "host": row.host,
        "availability_zone": row.availability_zone, "admin_state_up": row.admin_state_up, "alive": is_alive(row, since),
        "description": row.description, "configurations": row.configurations, "created_at": _time(row.created_at),
        "started_at": _time(row.started_at), "heartbeat_timestamp": _time(row.heartbeat_at),
        "resources_synced": None}


async def list_agents(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    """All agents; none for who may not see them."""
    if not neutron.policy.check("get_agent", ctx.identity):
        return []
    async with neutron.db.read() as tx:
        since = neutron.alive_since()
        return [record(row, since) for row in await listing.page(tx, sa.select(table), _spec(since), query, ctx)]


async def load(neutron: Neutron, ctx: Context, tx: Tx, agent_id: str) -> Any:
    row = await tx.first(sa.select(table).where(table.c.id == agent_id))
    if row is None or not neutron.policy.check("get_agent", ctx.identity):
        raise AgentNotFound(id=agent_id)
    return row


async def get_agent(neutron: Neutron, ctx: Context, agent_id: str) -> dict[str, Any]:
    async with neutron.db.read() as tx:
        return record(await load(neutron, ctx, tx, agent_id), neutron.alive_since())


async def update_agent(neutron: Neutron, ctx: Context, agent_id: str, wish: Wish) -> dict[str, Any]:
    """An operator's description, and whether new ports may be bound to the agent."""
    async with neutron.db.write() as tx:
        await load(neutron, ctx, tx, agent_id)
        access.authorize(neutron, ctx, "update_agent", {}, wish.values)
        await tx.execute(sa.update(table).where(table.c.id == agent_id).values(**wish.values))
        return record(await load(neutron, ctx, tx, agent_id), neutron.alive_since())


async def delete_agent(neutron: Neutron, ctx: Context, agent_id: str, expected: int | None = None) -> None:
    """Forget an agent; one that lives reports itself again."""
    async with neutron.db.write() as tx:
        await load(neutron, ctx, tx, agent_id)
        access.authorize(neutron, ctx, "delete_agent", {})
        await tx.execute(sa.delete(table).where(table.c.id == agent_id))


# built once: building a statement costs more than running it
_LIVING = sa.select(table.c.configurations).where(
    table.c.agent_type == L2, table.c.admin_state_up, table.c.heartbeat_at > sa.bindparam("since"))
_LIVING_ON = sa.select(table.c.host).where(
    table.c.agent_type == L2, table.c.admin_state_up, table.c.heartbeat_at > sa.bindparam("since"),
    table.c.host.in_(sa.bindparam("hosts", expanding=True)))


# ---- what agents say, over the bus

async def report_state(neutron: Neutron, agent_type: str, binary: str, topic: str, host: str, started_at: float,
                       configurations: dict[str, Any]) -> None:
    """A heartbeat; the first one registers the agent."""
    moment = neutron.db.now()  # never a clock of the agent's
    if agent_type == L2:
        neutron.wiring_hosts[host] = bool(configurations.get("any_host"))
    changes = {"heartbeat_at": moment, "started_at": started_at, "configurations": configurations, "binary": binary}
    async with neutron.db.write() as tx:
        found = await tx.execute(sa.update(table).where(table.c.agent_type == agent_type, table.c.host == host)
                                 .values(**changes))
        if found.rowcount == 0:
            await tx.execute(sa.insert(table).values(
                id=str(uuid.uuid4()), agent_type=agent_type, topic=topic, host=host, created_at=moment,
                availability_zone="nova" if agent_type in (DHCP, L3) else "", admin_state_up=True, description=None,
                **changes))


async def can_bind(neutron: Neutron, tx: Tx, hosts: set[str]) -> set[str]:
    """Those of `hosts` on which a living agent would wire a port.

    An agent that only simulates wiring (`configurations` says so) does it for every host without one of its own.
    """
    since = neutron.alive_since()
    own = set(await tx.scalars(_LIVING_ON, {"since": since, "hosts": list(hosts)}))
    if own == hosts:
        return own
    others = await tx.scalars(_LIVING, {"since": since})
    return set(hosts) if any(configurations.get("any_host") for configurations in others) else own
