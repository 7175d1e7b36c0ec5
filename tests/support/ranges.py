"""Address ranges that a test uses, kept on this machine: what nobody holds is refused here instead of sent away."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_in_place(*cidrs: str) -> Iterator[None]:
    """A route of last resort under each range, taken away again; a bridge's own route goes before it."""
    laid = []
    try:
        for cidr in cidrs:
            done = subprocess.run(["ip", "route", "add", "unreachable", cidr, "metric", "4294967295"],
                                  capture_output=True, text=True)
            if done.returncode == 0:
                laid.append(cidr)
            elif "File exists" not in done.stderr:  # another test's, which lives as long as that
                raise RuntimeError(f"no route under {cidr}: {done.stderr}")
        yield
    finally:
        for cidr in laid:
            subprocess.run(["ip", "route", "del", "unreachable", cidr, "metric", "4294967295"], check=True)
