"""User ids for processes of ours that must not be able to touch one another: each gets one that nobody has."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cloudseed.host.errors import HostError

UID_BASE = 60800
_UID_COUNT = 4000


class Users:
    """Hands out user ids without an account."""

    def __init__(self) -> None:
        self._reserving = threading.Lock()
        self._reserved: set[int] = set()

    @contextmanager
    def reserve(self) -> Iterator[int]:
        """A user id that no process of this system has, kept until the new process has it."""
        with self._reserving:
            # in this order: who gives a reservation back while we look at /proc has a process there by then
            reserved = set(self._reserved)
            used = reserved | _used_uids()
            uid = next((n for n in range(UID_BASE, UID_BASE + _UID_COUNT) if n not in used), None)
            if uid is None:
                raise HostError("failed", f"all {_UID_COUNT} user ids for machines and volumes are in use")
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
