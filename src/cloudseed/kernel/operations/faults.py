"""The points at which a process may be killed, so that tests can do it, at every one of them.

Points are named `operation:step:moment`.  The engine passes `before` (the effect), `after` (it, but before the
record) and `recorded` for every step and `undo-before`, `undo-after` for every undo.  Code that is durable
without being an operation (one transaction and a reconciler's hint) declares its own points.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

_LOOK_S = 0.01
_armed: Callable[[str], None] | None = None
_gate: Callable[[str], Awaitable[None]] | None = None
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


async def pass_point(name: str) -> None:
    """As `fault_point`, of code that may also be made to wait here while the rest of the process goes on."""
    fault_point(name)
    if _gate is not None:
        await _gate(name)


def arm_from_environment() -> None:
    """CLOUDSEED_KILL_AT=operation:step:moment ends the process there, as kill -9 would.

    CLOUDSEED_STAND_AT=DIRECTORY makes whoever comes first to a point whose name a file there has stand still: it
    renames the file to `NAME.reached` and goes on when that is gone.  So a running cloud is told where to stand.
    """
    wanted, directory = os.environ.get("CLOUDSEED_KILL_AT"), os.environ.get("CLOUDSEED_STAND_AT")
    if wanted:

        def die(name: str) -> None:
            if name == wanted:
                sys.stderr.write(f"killed at {name}\n")
                sys.stderr.flush()
                os._exit(137)

        arm(die)
    if directory:
        _stand_by_files(Path(directory))


def _stand_by_files(directory: Path) -> None:
    global _gate

    def take(name: str) -> Path | None:
        """The file to wait for; None when nobody is to stand here."""
        reached = directory / f"{name}.reached"
        try:
            (directory / name).rename(reached)
        except FileNotFoundError:
            return None
        return reached

    def stop(name: str) -> None:
        """Within a transaction: nothing else of the process may go on, or it would wait for that."""
        reached = take(f"{name}.still")
        while reached is not None and reached.exists():
            time.sleep(_LOOK_S)

    async def wait(name: str) -> None:
        reached = take(name)
        while reached is not None and reached.exists():  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(_LOOK_S)

    arm(stop)
    _gate = wait
