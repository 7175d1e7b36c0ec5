"""Bytes on the local disk: immutable files, named by a random id, under `<root>/objects/<2 hex>/`.

What `receive` returns is on disk for good; what it does not return leaves nothing: an interrupted upload's file
is removed at once, a killed process's at the next start (`sweep_incoming`).  A file belongs to exactly one row;
a copy is a hard link under a name of its own.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cloudseed.kernel.files import FileReader, sync_directory, write_file


class StoredFile(NamedTuple):
    """A file that is durable: its name, its size in bytes and the hex MD5 of its bytes."""

    name: str
    size: int
    md5: str


class FileStore:
    """The files below `root` (made when missing)."""

    def __init__(self, root: Path) -> None:
        self._objects = root / "objects"
        self._incoming = root / "incoming"
        self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.spool = self._incoming  # for nameless temporary files on the same disk
        for number in range(256):
            (self._objects / f"{number:02x}").mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        return self._objects / name[:2] / name

    async def receive(self, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Store what `chunks` yields.  Raises NoSpace, and whatever `chunks` raises; then nothing is left."""
        name = str(uuid.uuid4())
        written = await write_file(chunks, self._incoming / name, self.path(name))
        return StoredFile(name, written.size, written.md5)

    async def link(self, name: str) -> str:
        """Another name for the same bytes, durable: a copy without copying.  Raises FileNotFoundError."""
        new = str(uuid.uuid4())

        def work() -> None:
            os.link(self.path(name), self.path(new))
            sync_directory(self.path(new).parent)

        await asyncio.to_thread(work)
        return new

    def open(self, name: str, start: int, length: int) -> FileReader:
        """A reader of `length` bytes from `start`.  It sees the file even when that is removed meanwhile."""
        return FileReader(self.path(name), start, length)

    async def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are gone already do not matter."""
        paths = [self.path(name) for name in names]

        def work() -> None:
            for path in paths:
                path.unlink(missing_ok=True)

        await asyncio.to_thread(work)

    def sweep_incoming(self) -> int:
        """Remove temporary files of uploads that no process carries on; call before serving.  Returns how many."""
        left = list(self._incoming.iterdir())
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def batches(self) -> Iterator[list[tuple[str, float]]]:
        """All stored files as (name, mtime), a folder at a time."""
        for folder in sorted(self._objects.iterdir()):
            found = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    try:
                        found.append((entry.name, entry.stat(follow_symlinks=False).st_mtime))
                    except FileNotFoundError:
                        continue
            if found:
                yield found

    def incoming(self) -> list[str]:
        return [path.name for path in self._incoming.iterdir()]
