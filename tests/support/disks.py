"""Disks without a byte left."""

from __future__ import annotations

from pathlib import Path

_MIB = 1 << 20


def fill(filler: Path) -> None:
    """Leave no byte."""
    with filler.open("wb", buffering=0) as file:
        for size in (_MIB, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
