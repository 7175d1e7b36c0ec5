"""The scheduler's door: `select_destination` and `release` on the topic `scheduler`.

    candidates from placement ─▶ filters ─▶ weighers ─▶ claim the best; lost the race: the next, then look again

Work on one server is one at a time, so a release never overtakes the claim that it is to undo.  A server that
holds a claim already (the scheduler died before it could answer) keeps it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.context import Context
from cloudseed.nova.compute.spec import decode_spec
from cloudseed.nova.scheduler import filters, weighers
from cloudseed.nova.scheduler.claims import Claims
from cloudseed.nova.scheduler.columns import HostPicture
from cloudseed.nova.scheduler.errors import NoValidHost
from cloudseed.nova.scheduler.request import Request, make_request

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)
ROUNDS = 3  # times to look at placement's candidates anew after losing every race
CLAIMS_PER_ROUND = 10
PICTURE_S = 10.0  # how long a picture may live though its mark has not changed


class _ServerLock:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class Scheduler:
    """Chooses and claims; topic `scheduler`."""

    def __init__(self, nova: Nova) -> None:
        self._bus = nova.scheduler_bus
        self._claims = Claims(nova.scheduler_session)
        self._locks: dict[str, _ServerLock] = {}
        self._mark: list[Any] | None = None
        self._looked_at = 0.0
        self._picture = HostPicture([])
        self._random = random.Random()  # noqa: S311 - spreads load, guards nothing

    async def start(self) -> None:
        """Listen on the topic `scheduler`."""
        self._bus.serve("scheduler", {
            "select_destination": self._select, "release": self._release, "hold": self._hold,
            "give_back": self._give_back})

    async def _select(self, ctx: Context, server_id: str, spec: dict[str, Any], destination: dict[str, Any] | None,
                      hints: dict[str, Any] | None, group: dict[str, Any] | None,
                      excluded: list[str]) -> dict[str, Any]:
        """A claimed host for the server: {"host", "node", "node_id"}.  NoValidHost says why there is none."""
        request = make_request(decode_spec(spec), destination, group, excluded, hints)
        async with _Held(self._locks, server_id):
            return await self._select_locked(ctx, request)

    async def _select_locked(self, ctx: Context, request: Request) -> dict[str, Any]:
        outcome = "Every host was taken by others at the same time."
        for _ in range(ROUNDS):
            picture = await self._look(ctx)
            found = await self._passing(ctx, request, picture)
            held = await self._claims.present(ctx, request.server_id)
            for node_id in held["allocations"]:
                host = picture.knows(node_id)
                if host is not None and host not in request.excluded:
                    return {"host": host, "node": host, "node_id": node_id}
            if isinstance(found, NoValidHost):
                raise found
            by_node, passed = found
            for row in weighers.ranked(passed.hosts, self._random, request.group)[:CLAIMS_PER_ROUND]:
                node_id = passed.hosts.node_ids[row]
                if node_id in by_node and await self._claims.claim(ctx, request, by_node[node_id],
                                                                   held.get("consumer_generation")):
                    return {"host": passed.hosts.hosts[row], "node": passed.hosts.nodes[row], "node_id": node_id}
        raise NoValidHost(reason=outcome)

    async def _passing(self, ctx: Context, request: Request,
                       picture: HostPicture) -> tuple[dict[str, Any], filters.Filtered] | NoValidHost:
        """Candidates, by node, and those of their hosts that pass every filter; or why there is none."""
        node_id = picture.node_of(request.host, request.node)
        for limit in request.limits():
            found = await self._claims.candidates(ctx, request, limit, node_id)
            offered = found["allocation_requests"]
            if not offered:
                return NoValidHost(reason=_nothing_offered(request, picture))
            passed = filters.apply(picture.candidates(found["provider_summaries"]), request)
            if len(passed.hosts) or limit is None or len(offered) < limit or node_id is not None:
                break
        if not len(passed.hosts):
            return NoValidHost(reason=passed.explain())
        return {next(iter(option["allocations"])): option["allocations"] for option in reversed(offered)}, passed

    async def _look(self, ctx: Context) -> HostPicture:
        """The picture of all hosts, as of now."""
        now = time.monotonic()
        known = self._mark if now - self._looked_at < PICTURE_S else None
        answer = await self._bus.call(ctx, "conductor", "hosts", timeout_s=10.0, known=known)
        if answer["hosts"] is not None:
            self._looked_at = now
            self._mark, self._picture = answer["mark"], HostPicture(answer["hosts"])
        return self._picture

    async def _release(self, ctx: Context, server_id: str) -> None:
        """Give a server's claim back.  Safe twice."""
        async with _Held(self._locks, server_id):
            await self._claims.release(ctx, server_id)

    async def _hold(self, ctx: Context, server_id: str, migration_id: str) -> None:
        """What the server has claimed becomes its migration's, so that it can claim anew.  Safe twice: when the
        migration holds something already, what the server has is its new claim."""
        async with _Held(self._locks, server_id):
            if not (await self._claims.present(ctx, migration_id))["allocations"]:
                await self._claims.move(ctx, server_id, migration_id, ("INSTANCE", "MIGRATION"))

    async def _give_back(self, ctx: Context, server_id: str, migration_id: str) -> None:
        """What the migration holds is the server's again, and its new claim is gone.  Safe twice."""
        async with _Held(self._locks, server_id):
            await self._claims.move(ctx, migration_id, server_id, ("MIGRATION", "INSTANCE"))


class _Held:
    """`async with`: the only one that works on this server."""

    def __init__(self, locks: dict[str, _ServerLock], server_id: str) -> None:
        self._locks = locks
        self._server_id = server_id
        self._entry = locks.setdefault(server_id, _ServerLock())

    async def __aenter__(self) -> None:
        self._entry.users += 1
        try:
            await self._entry.lock.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._entry.lock.release()
        self._leave()

    def _leave(self) -> None:
        self._entry.users -= 1
        if not self._entry.users:
            self._locks.pop(self._server_id, None)


def _nothing_offered(request: Request, picture: HostPicture) -> str:
    traits = f" with traits {', '.join(sorted(request.required))}" if request.required else ""
    without = f" without {', '.join(sorted(request.forbidden))}" if request.forbidden else ""
    asked = request.host or request.node
    who = f"host {asked}, which was asked for, is" if asked else f"all of the {len(picture)} known hosts are"
    return (f"Placement offers no host with {request.amounts()} free{traits}{without}: "
            f"{who} too full or too small for it, or lack{'s' if asked else ''} a trait.")
