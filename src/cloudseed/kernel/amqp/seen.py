"""The messages that this process took: a second copy of one joins the first and gets the same answer.

Copies are normal.  The broker delivers again what was not acknowledged when a connection broke, and a caller that
lost its connection sends again what it still waits for.  The memory is bounded by number and by size of answers;
work under way is never forgotten.  What is older than that, or was taken by a process that has died, is handled
again: handlers must bear it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

MAX_MESSAGES = 4096
MAX_BYTES = 16 << 20  # answers are a list of a host's servers at most, usually a few hundred bytes


class Seen:
    """Tasks by message id, the oldest finished ones forgotten first."""

    def __init__(self, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._running: dict[str, asyncio.Task[bytes]] = {}
        self._answers: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._running) + len(self._answers)

    @property
    def running(self) -> list[asyncio.Task[bytes]]:
        return list(self._running.values())

    async def once(self, message_id: str, begin: Callable[[], asyncio.Task[bytes]]) -> bytes:
        """The answer to a message: of the copy that came before, or of the task that `begin` starts.

        Whoever waits here may be cancelled without ending the work.
        """
        if (answer := self._answers.get(message_id)) is not None:
            return answer
        task = self._running.get(message_id)
        if task is None:
            task = self._running[message_id] = begin()
            task.add_done_callback(lambda done: self._keep(message_id, done))
        return await asyncio.shield(task)

    def _keep(self, message_id: str, task: asyncio.Task[bytes]) -> None:
        del self._running[message_id]
        if task.cancelled() or task.exception() is not None:
            return  # not handled: the next copy begins anew
        answer = self._answers[message_id] = task.result()
        self._bytes += len(answer)
        while len(self._answers) > self._max_messages or (self._bytes > self._max_bytes and len(self._answers) > 1):
            _, oldest = self._answers.popitem(last=False)
            self._bytes -= len(oldest)
