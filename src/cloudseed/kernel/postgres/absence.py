"""For how long the database has been away, told to those who judge silence (kernel/hearing.py): what reports say
cannot be written meanwhile."""

from __future__ import annotations

import time

from cloudseed.kernel.bus import Listener, Listeners

# from this long on it is told: whoever reported before, and does so again afterwards, was not silent for much longer
AWAY_S = 2.0


class Absence:
    def __init__(self) -> None:
        self._listeners = Listeners()
        self._since: float | None = None

    def watch(self, listener: Listener) -> None:
        self._listeners.add(listener)

    def go_on(self) -> None:
        """Nothing could be begun, just now."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._since >= AWAY_S:
            self._listeners.lose(now - self._since)

    def end(self) -> None:
        """Something was begun."""
        if self._since is not None:
            self._since = None
            self._listeners.hear()
