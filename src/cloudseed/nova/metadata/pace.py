"""How often a guest may ask: what is beyond waits, so that a guest that asks without end costs a share of one core
only.  A boot's burst of questions passes at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable

_MAX_KNOWN = 10_000


class Pace:
    """`burst` questions at once, then `rate` a second, for each source (a leaky bucket)."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1.0 / rate
        self._ahead = burst * self._interval
        self._clock = clock
        self._due: dict[Hashable, float] = {}  # when all that was asked so far would have been asked at `rate`

    def delay(self, source: Hashable) -> float:
        """Count one question; the seconds that it has to wait."""
        now = self._clock()
        if len(self._due) >= _MAX_KNOWN:
            self._due = {known: due for known, due in self._due.items() if due > now}
        due = max(now, self._due.get(source, now)) + self._interval
        self._due[source] = due
        return max(0.0, due - now - self._ahead)

    async def wait(self, source: Hashable) -> None:
        if (seconds := self.delay(source)) > 0:
            await asyncio.sleep(seconds)
