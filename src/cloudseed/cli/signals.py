"""Commands that have a cloud of their own remove it however they are asked to end."""

from __future__ import annotations

import signal
from types import FrameType


def end_in_order() -> None:
    """From now on SIGTERM and SIGINT end the process by SystemExit (128 and the signal's number), so that what was
    started is removed; SIGINT also where a shell's `&` made it be ignored."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # once is enough: the removal is not cut short
    raise SystemExit(128 + number)
