"""Fernet keys on disk, as keystone keeps them, so that tokens outlive a restart and keys can be replaced.

A repository is a directory (mode 0700) of files named by numbers: 0 is *staged* (accepted, not yet used), the
highest is *primary* (encrypts), the others are *secondary* (still accepted).  Rotation promotes the staged key
to primary, stages a new one and drops the oldest beyond `keep`.  A token lives at least `keep - 2` rotations.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

KEEP = 3


class BadToken(ValueError):
    """Not encrypted with any key that we still have."""


class KeyRing:
    """Keys by number: 0 is staged, the highest is primary; see above."""

    _primary: Fernet
    _all: MultiFernet

    def _use(self, keys: Mapping[int, bytes]) -> None:
        fernets = [Fernet(keys[number]) for number in sorted(keys, reverse=True)]
        self._primary, self._all = fernets[0], MultiFernet(fernets)

    def encrypt(self, data: bytes) -> bytes:
        return self._primary.encrypt(data)

    def decrypt(self, data: bytes) -> bytes:
        """What was encrypted with any of the keys.  Raises BadToken."""
        try:
            return self._all.decrypt(data)
        except (InvalidToken, TypeError, ValueError) as exc:
            raise BadToken() from exc


class KeyRepository(KeyRing):
    """The keys in `directory`, made on first use."""

    def __init__(self, directory: Path, *, keep: int = KEEP) -> None:
        self._directory = directory
        self._keep = keep
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._numbers():
            self._write(1, Fernet.generate_key())
        if 0 not in self._numbers():  # a new repository, or a rotation that was killed midway
            self._write(0, Fernet.generate_key())
        self.load()

    def _numbers(self) -> list[int]:
        return sorted(int(path.name) for path in self._directory.iterdir() if path.name.isdigit())

    def _write(self, number: int, key: bytes) -> None:
        temporary = self._directory / f".{number}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._directory / str(number))

    def load(self) -> None:
        """Read the keys again: another process may have rotated them."""
        self._use({number: (self._directory / str(number)).read_bytes().strip() for number in self._numbers()})

    def rotate(self) -> int:
        """Replace the primary key by the staged one.  Returns the new primary's number."""
        numbers = self._numbers()
        promoted = numbers[-1] + 1
        (self._directory / "0").rename(self._directory / str(promoted))
        self._write(0, Fernet.generate_key())
        kept = self._numbers()
        for number in kept[1:max(1, len(kept) - self._keep + 1)]:
            (self._directory / str(number)).unlink()
        self.load()
        return promoted
