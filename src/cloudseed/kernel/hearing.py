"""From when on silence means that somebody is down.

Who was not listening cannot say that nobody spoke: after a stand-still of the process that hears reports (it was
killed, its database was away) every host would count as down until it reports again, and work that goes on at that
moment would be given up.  So for as long as a part may be silent, who spoke before the stand-still still counts as up.
"""

from __future__ import annotations

from collections.abc import Callable


class Hearing:
    """`now`: the clock of all who judge, in seconds; `down_s`: after how long without a word a part is down."""

    def __init__(self, now: Callable[[], float], down_s: float) -> None:
        self._now = now
        self._down_s = down_s
        self._began: float | None = None
        self._latest = 0.0

    def begin(self, latest: float) -> None:
        """This process hears from now on; the latest word that anybody heard of any part was at `latest`."""
        self._began = self._now()
        self._latest = min(latest, self._began)

    def since(self) -> float:
        """Who spoke later than this is up."""
        now = self._now()
        if self._began is not None and self._latest and now < self._began + self._down_s:
            return min(now, self._latest) - self._down_s
        return now - self._down_s
