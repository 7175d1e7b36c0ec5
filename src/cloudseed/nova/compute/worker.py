"""The one task that owns a server on its host: requests and events come into one queue, so nothing races.

    ask ──admission──▶ queue ──▶ perform(work) ──▶ answer to everybody who asked

Work is never cut off inside a driver's or neutron's call; it gives way at its waits (`Work.wait`) when a later
request preempts it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from cloudseed import points
from cloudseed.kernel.context import Context
from cloudseed.nova.compute import admission
from cloudseed.nova.compute.admission import Ask, Kind, Verdict
from cloudseed.nova.compute.errors import Superseded

log = logging.getLogger(__name__)
T = TypeVar("T")
IDLE_S = 20.0  # how long a server's task remembers what it did


class Work:
    """A request while it is worked on."""

    def __init__(self, ctx: Context, server_id: str, ask: Ask, arguments: dict[str, Any]) -> None:
        self.ctx = ctx
        self.server_id = server_id
        self.ask = ask
        self.arguments = arguments
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._preempted = asyncio.Event()

    def preempt(self) -> None:
        self._preempted.set()

    async def wait(self, something: Awaitable[T]) -> T:
        """Await, but raise Superseded as soon as a later request takes over (then `something` is cancelled)."""
        work = asyncio.ensure_future(something)
        stop = asyncio.ensure_future(self._preempted.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            raise Superseded(server_id=self.server_id)
        finally:
            stop.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait({work})

    def check(self) -> None:
        """Raise Superseded when a later request has taken over."""
        if self._preempted.is_set():
            raise Superseded(server_id=self.server_id)


class ServerWorker:
    """A server's task.  It ends by itself when it was idle for a while; `ended` is then called."""

    def __init__(self, server_id: str, perform: Callable[[Work], Awaitable[Any]],
                 ended: Callable[[str], None]) -> None:
        self.server_id = server_id
        self._perform = perform
        self._ended = ended
        self._queue: deque[Work] = deque()
        self._arrived = asyncio.Event()
        self._running: Work | None = None
        self._done: dict[Ask, Any] = {}
        self._undone: set[str] = set()
        self._destroyed = False
        self.task = asyncio.get_running_loop().create_task(self._run(), name=f"server {server_id}",
                                                           context=contextvars.Context())

    def standing(self) -> admission.Standing:
        return admission.Standing(
            running=self._running.ask if self._running else None, waiting=tuple(w.ask for w in self._queue),
            done=frozenset(self._done), undone=frozenset(self._undone), destroyed=self._destroyed)

    async def ask(self, ctx: Context, ask: Ask, arguments: dict[str, Any]) -> Any:
        """Have `ask` done, in its turn; returns its answer or raises its error."""
        decision = admission.admit(self.standing(), ask)
        match decision.verdict:
            case Verdict.REFUSE:
                raise Superseded(f"{ask.kind} of server {self.server_id} is refused: {decision.reason}.")
            case Verdict.JOIN:
                if ask in self._done:
                    return self._done[ask]
                return await asyncio.shield(self._find(ask).answer)
            case Verdict.ACCEPT:
                work = Work(ctx, self.server_id, ask, arguments)
                if ask.kind in admission.UNDOING and ask.operation_id:
                    self._undone.add(ask.operation_id)
                if ask.kind is Kind.DESTROY:
                    self._destroyed = True
                if decision.preempts:
                    for other in (*self._queue, *((self._running,) if self._running else ())):
                        if other.ask.kind not in admission.ENDING:
                            other.preempt()
                self._queue.append(work)
                self._arrived.set()
                # shielded: who gives up waiting does not stop the work
                return await asyncio.shield(work.answer)

    def _find(self, ask: Ask) -> Work:
        if self._running is not None and self._running.ask == ask:
            return self._running
        return next(work for work in self._queue if work.ask == ask)

    async def _run(self) -> None:
        try:
            while True:
                while not self._queue:
                    self._arrived.clear()
                    try:
                        async with asyncio.timeout(IDLE_S):
                            await self._arrived.wait()
                    except TimeoutError:
                        if not self._queue:  # else it came in the very moment in which the time was up
                            return
                work = self._running = self._queue.popleft()
                await self._work(work)
                self._running = None
        finally:
            self._ended(self.server_id)
            for work in (*self._queue, *((self._running,) if self._running else ())):
                work.answer.cancel()

    async def _work(self, work: Work) -> None:
        points.begin(work.ask.kind)
        points.point("begin")
        try:
            work.check()
            result = await self._perform(work)
        except Exception as exc:
            if not work.answer.done():
                work.answer.set_exception(exc)
                work.answer.exception()  # it may be that nobody waits any more
            return
        self._done[work.ask] = result
        if not work.answer.done():
            work.answer.set_result(result)
