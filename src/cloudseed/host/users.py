"""User ids for processes of ours that must not be able to touch one another: each gets one that nobody has.

Host processes that share a machine are given a range each: between one's look and its process's start, another would
take the same.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cloudseed.host.errors import HostError

UID_BASE = 60800
UID_COUNT = 4000


class Users:
    """Hands out `count` user ids without an account, from `first` on."""

    def __init__(self, first: int = UID_BASE, count: int = UID_COUNT) -> None:
        self._range = range(first, first + count)
        self._reserving = threading.Lock()
        self._reserved: set[int] = set()

    @contextmanager
    def reserve(self) -> Iterator[int]:
        """A user id that no process of this system has, kept until the new process has it."""
        with self._reserving:
            # in this order: who gives a reservation back while we look at /proc has a process there by then
            reserved = set(self._reserved)
            used = reserved | _used_uids()
            uid = next((n for n in self._range if n not in used), None)
            if uid is None:
                raise HostError("failed", f"all {len(self._range)} user ids for machines and volumes are in use")
            self._reserved.add(uid)
        try:
            yield uid
        finally:
            self._reserved.discard(uid)


def _used_uids() -> set[int]:
    used = set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                used.add(os.stat(f"/proc/{name}").st_uid)
            except FileNotFoundError:
                continue
    return used
