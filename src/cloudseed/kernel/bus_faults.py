"""A bus that does to messages what a network and a broker may do, for tests: the same seed draws the same luck.

Put around any engine: `CLOUDSEED_BUS_FAULTS="seed=7 twice=1 late_s=0.3 lost=0.1 lost_replies=0.2"`, or in a test's
own process.  `twice` is handled twice (the engine's own memory does not see it), as when a process was killed
between doing the work and acknowledging it.  A lost call says Timeout after `patience_s` instead of the caller's
own, so that tests need not wait for minutes: to the caller both are "unknown, ask again".
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from cloudseed.kernel.bus import Engine, Handler, Listener
from cloudseed.kernel.errors import Timeout


class Faults(msgspec.Struct, frozen=True):
    """What happens to messages: chances from 0 to 1, times in seconds."""

    seed: int = 0
    twice: float = 0.0
    late_s: float = 0.0  # each copy by a time of its own from 0 to this, which puts them out of order
    lost: float = 0.0
    lost_replies: float = 0.0  # the work is done, its caller does not hear of it
    patience_s: float = 0.05


def from_environment() -> Faults | None:
    """What CLOUDSEED_BUS_FAULTS says; None when it says nothing."""
    text = os.environ.get("CLOUDSEED_BUS_FAULTS")
    if not text:
        return None
    return msgspec.convert(dict(word.split("=", 1) for word in text.split()), Faults, strict=False)


class UnreliableEngine:
    """Another engine, made worse."""

    def __init__(self, engine: Engine, faults: Faults) -> None:
        self._engine = engine
        self._faults = faults
        self._luck = random.Random(faults.seed)  # noqa: S311  # repeatable is the point
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        await self._engine.start()

    async def settled(self, timeout_s: float = 10.0) -> bool:
        return await self._engine.settled(timeout_s)

    async def drain(self, timeout_s: float = 5.0) -> None:
        """What is still on its way is lost."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._engine.drain(timeout_s)

    async def stop(self) -> None:
        await self.drain()
        await self._engine.stop()

    def serve(self, topic: str, part: str, handlers: Mapping[str, Handler]) -> Callable[[], None]:
        return self._engine.serve(topic, part, handlers)

    def listeners(self, topic: str) -> list[str]:
        return self._engine.listeners(topic)

    def watch(self, listener: Listener) -> None:
        self._engine.watch(listener)

    def _happens(self, chance: float) -> bool:
        return self._luck.random() < chance

    def _later(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        delay = self._luck.random() * self._faults.late_s

        async def wait() -> Any:
            await asyncio.sleep(delay)
            return await work()

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a copy's failure is nobody's

    async def send(self, topic: str, body: bytes, *, everyone: bool) -> None:
        for _ in range(2 if self._happens(self._faults.twice) else 1):
            if not self._happens(self._faults.lost):
                self._later(lambda: self._engine.send(topic, body, everyone=everyone))

    async def send_and_wait(self, topic: str, body: bytes, timeout_s: float) -> bytes:
        faults = self._faults
        twice, lost, unheard = (self._happens(chance) for chance in (faults.twice, faults.lost, faults.lost_replies))
        copies = [] if lost else [self._later(lambda: self._engine.send_and_wait(topic, body, timeout_s))
                                  for _ in range(2 if twice else 1)]
        if lost or unheard:
            await asyncio.sleep(faults.patience_s)
            raise Timeout(f"{topic} did not answer; the outcome is unknown.")
        done, _ = await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        first = done.pop()
        if first.cancelled():
            raise Timeout(f"{topic} stopped; the outcome is unknown.")
        return bytes(first.result())
