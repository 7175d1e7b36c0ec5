"""The service's own object: what its domain functions stand on."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import logging
from collections.abc import Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any

from cloudseed.kernel.bus import Bus
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Database
from cloudseed.kernel.hearing import Hearing
from cloudseed.kernel.http.client import ServiceSession
from cloudseed.kernel.policy import Policy

log = logging.getLogger(__name__)
SERVER_TOPIC = "neutron-server"
AGENT_TOPIC = "neutron-agent"


def now() -> str:
    """This moment as the API writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Neutron:
    """neutron-server.  `background`: work that outlives its request, ended with the service.  `wiring_hosts`: those
    whose agents this process has heard of, each with whether it wires for others too."""

    db: Database
    policy: Policy
    session: ServiceSession
    bus: Bus
    region: str = "RegionOne"
    agent_down_s: float = 75.0  # upstream's agent_down_time
    background: set[asyncio.Task[Any]] = field(default_factory=set)
    wiring_hosts: dict[str, bool] = field(default_factory=dict)
    hearing: Hearing = field(init=False)

    def __post_init__(self) -> None:
        self.hearing = Hearing(self.db.now, self.agent_down_s)

    def alive_since(self) -> float:
        """An agent whose last word is later than this lives; both by the clock of those who share the database."""
        return self.hearing.since()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work` beside the request, outside its context: the request's answer does not wait for it."""
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self.background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed: a bug", exc_info=error)

    async def look_again(self, ctx: Context, hosts: Collection[str] | None = None) -> None:
        """Tell the agents, of `hosts` or of all, that something they wire may have changed.  A hint: losing it delays,
        loses nothing."""
        if hosts is None:
            await self.bus.fanout(ctx, AGENT_TOPIC, "look_again")
            return
        for host in sorted(hosts):
            await self.bus.cast(ctx, f"{AGENT_TOPIC}.{host}", "look_again")

    async def stop(self) -> None:
        for task in list(self.background):
            task.cancel()
        if self.background:
            await asyncio.wait(self.background, timeout=5)
