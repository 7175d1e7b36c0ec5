"""Whether anybody can be heard over the broker now, told to those who judge silence (kernel/hearing.py)."""

from __future__ import annotations

import asyncio

from cloudseed.kernel.bus import Listener, Listeners


class Ear:
    """At first deaf: there is no connection yet."""

    def __init__(self) -> None:
        self._listeners = Listeners(deaf=True)
        self._heard_at = 0.0  # by the loop's clock

    def watch(self, listener: Listener) -> None:
        self._listeners.add(listener)

    def heard(self) -> None:
        """The broker has just said something."""
        self._heard_at = asyncio.get_running_loop().time()

    @property
    def silence_s(self) -> float:
        """For how long it has not; 0 when nobody wants to know."""
        return asyncio.get_running_loop().time() - self._heard_at if self._listeners else 0.0

    def back(self) -> None:
        """There is a connection."""
        self.heard()
        self._listeners.hear()

    def lost(self) -> None:
        """There is none, and it may have been dead since its last word."""
        self._listeners.lose(self.silence_s)
