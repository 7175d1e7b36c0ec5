"""Loops that keep something true: woken by a timer and by hints, they read the whole wish each time.

A hint carries nothing: whoever wants a loop to look again calls `hint()`; a burst of hints is one run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from cloudseed import points
from cloudseed.kernel.errors import Unavailable

log = logging.getLogger(__name__)
FIRST_RETRY_S = 1.0  # after a run that failed because somebody was away; doubled up to the interval


class Loop:
    """Runs `work` every `interval_s` seconds and soon after each `hint`; errors are logged, the next run retries.

    That somebody is away is logged once, and again when it is another or for another reason, or has been back."""

    def __init__(
        self, name: str, work: Callable[[], Awaitable[None]], interval_s: float, *, first_delay_s: float = 0.0
    ) -> None:
        self.name = name
        self._work = work
        self._interval_s = interval_s
        self._first_delay_s = first_delay_s
        self._wake = asyncio.Event()
        self._runs = 0
        self._waiters: list[asyncio.Future[None]] = []

    def hint(self) -> None:
        """Look again soon."""
        self._wake.set()

    async def run_soon(self) -> None:
        """As `hint`, and return when a run that began after this call has ended."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        self._wake.set()
        await future

    async def run(self) -> None:
        """The loop itself, for ever; its owner cancels it."""
        if self._first_delay_s:
            await self._sleep(self._first_delay_s)
        retry_s, away = FIRST_RETRY_S, ""
        while True:
            self._wake.clear()
            pause_s = self._interval_s
            waiters, self._waiters = self._waiters, []
            points.begin(self.name)
            try:
                await self._work()
            except asyncio.CancelledError as exc:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    for waiter in waiters:
                        waiter.cancel()
                    raise
                # not we: something that the work waited for was cancelled, and the loop must not end with it
                log.warning("%s failed, will run again: what it waited for was cancelled", self.name, exc_info=exc)
            except Unavailable as exc:  # somebody is away: it says who, and where we were says nothing
                pause_s, retry_s = min(retry_s, self._interval_s), retry_s * 2
                log.log(logging.DEBUG if away == exc.message else logging.WARNING,
                        "%s failed, will run again, the next time in %g s: %s", self.name, pause_s, exc.message)
                away = exc.message
            except Exception as exc:
                log.warning("%s failed, will run again: %s", self.name, exc, exc_info=exc)
            else:
                if away:
                    log.info("%s goes on", self.name)
                retry_s, away = FIRST_RETRY_S, ""
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            await self._sleep(pause_s)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
