"""Something that looks again and again while other work goes on."""

from __future__ import annotations

import abc
import threading
from typing import Self


class Beside(threading.Thread, abc.ABC):
    """Calls `look` every `every_s` seconds within its `with`, or from `start` to `stop`."""

    def __init__(self, name: str, every_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self._every_s = every_s
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            self.look()

    @abc.abstractmethod
    def look(self) -> None:
        """Once.  Not from two threads."""
