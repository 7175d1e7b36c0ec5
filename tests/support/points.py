"""Where a running cloud's work is to stand still, told by files (kernel/operations/faults.py)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cloudseed.cli.processes import CONTROL_UID


class Points:
    """`environment` goes to the cloud's processes; the control process's user may rename in the directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(directory, CONTROL_UID, CONTROL_UID)

    @property
    def environment(self) -> dict[str, str]:
        return {"CLOUDSEED_STAND_AT": str(self._directory)}

    def arm(self, name: str) -> None:
        """Who comes to that point first stands there, and nothing else of the cloud does."""
        (self._directory / name).touch()

    def arm_still(self, name: str) -> None:
        """As `arm`, but the whole process stands still: within a transaction, where all others would wait for it."""
        (self._directory / f"{name}.still").touch()

    def missing(self, names: Iterable[str]) -> list[str]:
        """At which of the points nobody stands."""
        return [name for name in names if not any(
            (self._directory / f"{name}{kind}.reached").exists() for kind in ("", ".still"))]

    def release(self) -> None:
        """Whoever stands goes on, and nobody will stand."""
        for path in self._directory.iterdir():
            path.unlink(missing_ok=True)
