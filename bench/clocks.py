"""Clocks of processes that are wrong, and may be set while they run, by Debian's faketime."""

from __future__ import annotations

from pathlib import Path

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)  # Debian: faketime


class Clock:
    """What a process takes for the time, by a file that says how far it is off.

    On a busy machine a sleep of such a process may fail (EINVAL): faketime's own, which no wrong clock does.
    """

    def __init__(self, file: Path) -> None:
        if FAKETIME is None:
            raise RuntimeError("needs the package faketime")
        self._file = file
        self.set("+0")

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that goes by it."""
        return {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def set(self, off: str) -> None:
        """That far from the machine's own, such as +1h."""
        new = self._file.with_suffix(".new")
        new.write_text(off + "\n")
        new.chmod(0o644)
        new.rename(self._file)
