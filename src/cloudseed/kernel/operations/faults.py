"""The points at which a process may be killed, so that tests can do it, at every one of them.

Points are named `operation:step:moment`.  The engine passes `before` (the effect), `after` (it, but before the
record) and `recorded` for every step and `undo-before`, `undo-after` for every undo.  Code that is durable
without being an operation (one transaction and a reconciler's hint) declares its own points.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

_armed: Callable[[str], None] | None = None
_declared: dict[str, None] = {}


class Killed(BaseException):
    """The process "died" here, for tests within one process.  Nothing may catch it."""


def declare_points(operation: str, steps: Iterable[str], moments: Iterable[str]) -> None:
    """Make `operation:step:moment` known to the generated tests."""
    for step in steps:
        for moment in moments:
            _declared[f"{operation}:{step}:{moment}"] = None


def declared() -> list[str]:
    return list(_declared)


def arm(hook: Callable[[str], None] | None) -> None:
    """Call `hook(name)` at every point; None disarms."""
    global _armed
    _armed = hook


def fault_point(name: str) -> None:
    """Die here if a test says so.  Costs one comparison otherwise."""
    if _armed is not None:
        _armed(name)


def arm_from_environment() -> None:
    """CLOUDSEED_KILL_AT=operation:step:moment ends the process there, as kill -9 would."""
    wanted = os.environ.get("CLOUDSEED_KILL_AT")
    if wanted:

        def die(name: str) -> None:
            if name == wanted:
                sys.stderr.write(f"killed at {name}\n")
                sys.stderr.flush()
                os._exit(137)

        arm(die)
