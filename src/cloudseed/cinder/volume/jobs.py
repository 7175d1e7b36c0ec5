"""Work that may be asked for again while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Jobs:
    """Work by name, in tasks of their own: whoever asks for what is under way waits for that."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[Any]] = {}

    async def join(self, name: str, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """The result of the work of that name, begun unless it is under way."""
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.create_task(begin(), name=name)
            task.add_done_callback(lambda done: self._ended(name, done))
        return await asyncio.shield(task)

    async def settled(self, name: str) -> None:
        """Wait until the work of that name, if there is any, has ended: what undoes it must not overtake it."""
        task = self._running.get(name)
        if task is not None:
            await asyncio.wait({task})

    def _ended(self, name: str, task: asyncio.Task[Any]) -> None:
        self._running.pop(name, None)
        if not task.cancelled():
            task.exception()  # whoever waits has it; it may be that nobody does any more

    async def stop(self) -> None:
        """Give up what is under way; it is asked for again."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
