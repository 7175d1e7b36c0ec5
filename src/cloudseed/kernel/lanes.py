"""Heavy work on a stream's pieces, in order and beside the event loop: hashing, writing.

A lane keeps a few pieces waiting for its worker thread, so that the thread goes from one to the next without the
event loop in between: on a busy machine each turn through the loop costs as much as hashing a piece.  The pieces that
wait are limited in number, and so is memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Piece = TypeVar("Piece")
WAITING = 4  # pieces
TURN = 16  # pieces after which the thread is given back, for others who wait for one


class Lane(Generic[Piece]):
    """Calls `work(piece)` for each piece, one after the other.  Belongs to one task of one event loop; `close` it."""

    def __init__(self, work: Callable[[Piece], None]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Piece] = deque()  # the loop appends, the thread takes: each is atomic
        self._running: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._moved = asyncio.Event()
        self._blocked = False  # somebody waits for `_moved`

    async def put(self, piece: Piece) -> None:
        """Have `piece` worked on; waits while too many do.  Raises what the work on an earlier one raised."""
        await self._wait_until(WAITING - 1)
        self._waiting.append(piece)
        self._run()

    async def finish(self) -> None:
        """Wait until all work is done.  Raises what it raised."""
        await self._wait_until(0)
        while self._running is not None:
            await asyncio.wait({self._running})
            self._ended()
        self._raise()

    async def close(self) -> None:
        """Drop what waits; when this returns nothing runs."""
        self._waiting.clear()
        if self._running is not None:
            await asyncio.wait({self._running})

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    async def _wait_until(self, most: int) -> None:
        """Until at most `most` pieces wait; from then on the thread says so only at half of what may wait."""
        self._raise()
        while len(self._waiting) > most:
            self._moved.clear()
            self._blocked = True
            await self._moved.wait()
            self._raise()

    def _run(self) -> None:
        if self._running is None and self._waiting:
            self._running = self._loop.run_in_executor(None, self._take)
            self._running.add_done_callback(self._ended)

    def _take(self) -> None:
        for _ in range(TURN):
            try:
                piece = self._waiting.popleft()
            except IndexError:
                return
            if self._blocked and len(self._waiting) <= WAITING // 2:
                self._blocked = False
                self._loop.call_soon_threadsafe(self._moved.set)
            self._work(piece)

    def _ended(self, _: object = None) -> None:
        if self._running is None or not self._running.done():
            return
        running, self._running = self._running, None
        self._error = self._error or running.exception()
        if self._error is not None:
            self._waiting.clear()
        self._run()  # what came while the thread was leaving
        self._moved.set()
