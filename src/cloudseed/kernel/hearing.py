"""From when on silence means that somebody is down.

Who was not listening cannot say that nobody spoke.  After a stand-still of the process that hears reports (it was
killed, its database was away) every host would count as down until it reports again, and work that goes on at that
moment would be given up; while the broker is away nobody can be heard at all, and while the database is away what
is heard cannot be written.  So who spoke before that still counts as up, until it could have spoken again; who was
silent for too long by then stays down.

The same holds when the clock is set forward.  When it is set back, words seem to be of the future: whoever keeps them
(kernel/last_words.py) says that they are of now (`AHEAD_S`), so that who is dead by then is down a little later, not
when the clock has come that far again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# what a host may need to speak again when the broker is back: it tries to connect every 10 s, then has to make queues
# anew, and reports every 10 s
RETURN_S = 30.0
AHEAD_S = 5.0  # a clock that differs by more from what it would say was set


class Hearing:
    """`now`: the clock of all who judge, in seconds; `down_s`: after how long without a word a part is down.

    A bus may tell when it is deaf (kernel/bus.py's Listener), and to `of_database` a database when it is away.
    `steady`: a clock that nobody sets.
    """

    def __init__(self, now: Callable[[], float], down_s: float, steady: Callable[[], float] = time.monotonic) -> None:
        self._clock = now
        self._steady = steady
        self._apart = now() - steady()
        self._down_s = down_s
        self._deaf: set[object] = set()  # those who say so
        self.of_database = _Source(self, down_s)
        self._of_bus = _Source(self, max(down_s, RETURN_S))
        self._until = 0.0  # until then who spoke before `_latest` has time to speak again
        self._latest = 0.0

    def _now(self) -> float:
        now, steady = self._clock(), self._steady()
        expected, self._apart = steady + self._apart, now - steady
        if abs(now - expected) > AHEAD_S:
            self._latest = min(self._latest, expected) if self._deaf or expected < self._until else expected
            self._until = now + max(self._down_s, RETURN_S)
        return now

    def begin(self, latest: float) -> None:
        """This process hears from now on; the latest word that anybody heard of any part was at `latest` (0: none)."""
        now = self._now()
        self._until = now + self._down_s if latest else 0.0
        self._latest = min(latest, now)

    def lose(self, ago_s: float) -> None:
        """Nobody was heard since so long ago, and nobody is until `hear`."""
        self._of_bus.lose(ago_s)

    def hear(self) -> None:
        """They can be heard again, as soon as they are back."""
        self._of_bus.hear()

    def note(self, source: object, deaf: bool, ago_s: float, return_s: float) -> None:
        """By `source` nobody is heard since `ago_s` ago, or again, from those who are back within `return_s`."""
        now = self._now()
        if deaf:
            if not self._deaf and now >= self._until:  # else who had no time to speak since the last time has none now
                self._latest = now - ago_s
            self._deaf.add(source)
        elif source in self._deaf:
            self._until = max(self._until, now + return_s)
            self._deaf.discard(source)

    def since(self) -> float:
        """Who spoke later than this is up."""
        now = self._now()
        return (min(now, self._latest) if self._deaf or now < self._until else now) - self._down_s


class _Source:
    """One reason why nobody can be heard; when it has passed, those who live speak within `return_s`."""

    def __init__(self, hearing: Hearing, return_s: float) -> None:
        self._hearing = hearing
        self._return_s = return_s

    def lose(self, ago_s: float) -> None:
        self._hearing.note(self, True, ago_s, self._return_s)

    def hear(self) -> None:
        self._hearing.note(self, False, 0.0, self._return_s)
