"""Logs that others write, kept short: a guest's console, and what QEMU and dnsmasq say.

What a guest can make grow must not fill the host's disk.  All are opened for appending by those who write them, so
a log that is cut is written on at its new end.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cloudseed.host.paths import StatePaths

MAX_BYTES = 1024 * 1024
KEEP_BYTES = 512 * 1024


def trim(paths: StatePaths) -> None:
    """Cut every log that is longer than MAX_BYTES to its latest KEEP_BYTES."""
    patterns = ((paths.machines, "*/console.log"), (paths.machines, "*/qemu.log"), (paths.dhcp, "*/dnsmasq.log"),
                (paths.routers, "*/radvd.log"))
    for directory, pattern in patterns:
        for path in directory.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size > MAX_BYTES:
                    _cut(path)


def _cut(path: Path) -> None:
    with open(path, "rb+", buffering=0) as file:
        file.seek(-KEEP_BYTES, os.SEEK_END)
        kept = file.read()
        file.truncate(0)
    # appended, since the writer may have written between
    with open(path, "ab", buffering=0) as file:
        file.write(kept)
