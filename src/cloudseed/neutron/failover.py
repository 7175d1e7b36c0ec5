"""Routers of an L3 agent that is silent go to one that lives.

Silence is judged by heartbeats as this cloud received them, by the database's clock.  But when nobody was heard,
because the database, the broker or this process stood still, the first who is heard again must not get everybody's
routers: so an agent has to be silent for a while in which this process looked on without a pause and nobody else came
back.

The silent host may live and route on, cut off from us alone; the new one announces itself on the provider's segment,
and the tunnels' entries of all hosts that hear us lead to it (docs/operations.md).  When the old host is back, its
wish has the router no more, which it drops before it wires anything.

Several servers may do this at once: a router moves from a host only if it is still there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.periodic import Loop
from cloudseed.neutron import agents, models, router_scheduling
from cloudseed.neutron.server import Neutron

log = logging.getLogger(__name__)
table = models.router_bindings


class RouterFailover:
    """`down_s`: after how long without a heartbeat an agent counts as silent."""

    def __init__(self, neutron: Neutron, down_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._neutron = neutron
        self._clock = clock
        self._last_words = agents.last_words(neutron)
        self._grace_s = down_s / 3
        self._silent: dict[str, float] = {}  # host -> since when it was seen silent
        self._living: set[str] = set()
        self._looked = clock()
        self.loop = Loop("neutron: routers of silent agents", self.sync_routers, down_s / 6)

    async def sync_routers(self) -> None:
        """One look; moves what has been without an agent for long enough."""
        await self._last_words.bring_back()
        async with self._neutron.db.read() as tx:
            used = set(await tx.scalars(sa.select(table.c.host).where(table.c.host != "").distinct()))
            living = await router_scheduling.living_hosts(self._neutron, tx)
        moment = self._clock()
        if moment - self._looked > self._grace_s or living - self._living:
            self._silent.clear()
        self._looked, self._living = moment, living
        self._silent = {host: self._silent.get(host, moment) for host in used - living}
        lost = [host for host, since in self._silent.items() if moment - since >= self._grace_s]
        if lost and living:
            await self._move(lost)

    async def _move(self, lost: list[str]) -> None:
        moved: list[tuple[str, str, str]] = []
        async with self._neutron.db.write() as tx:
            load = await router_scheduling.loads(self._neutron, tx)
            for host in lost:
                if host in await router_scheduling.living_hosts(self._neutron, tx) or not load:
                    continue
                for router_id in list(await tx.scalars(
                        sa.select(table.c.router_id).where(table.c.host == host).order_by(table.c.router_id))):
                    new = min(load, key=lambda name: load[name])
                    load[new] += 1
                    await tx.execute(sa.update(table).where(table.c.router_id == router_id, table.c.host == host)
                                     .values(host=new, error=""))
                    await router_scheduling.unwire(tx, router_id)
                    moved.append((router_id, host, new))
        for router_id, host, new in moved:
            log.warning("router %s went from %s, whose %s is silent, to %s", router_id, host, agents.L3, new)
        if moved:
            await self._neutron.look_again(Context())
