"""Whether anybody can be heard over the broker now, told to those who judge silence (kernel/hearing.py)."""

from __future__ import annotations

import asyncio

from cloudseed.kernel.bus import Listener


class Ear:
    """At first deaf: there is no connection yet."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._deaf = True
        self._heard_at = 0.0  # by the loop's clock

    def watch(self, listener: Listener) -> None:
        self._listeners.append(listener)
        if self._deaf:
            listener.lose(0.0)

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
        if self._deaf:
            self._deaf = False
            for listener in self._listeners:
                listener.hear()

    def lost(self) -> None:
        """There is none, and it may have been dead since its last word."""
        if not self._deaf:
            self._deaf = True
            for listener in self._listeners:
                listener.lose(self.silence_s)
