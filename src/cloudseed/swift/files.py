"""Bytes on the local disk: immutable files, named by a random id, under `<root>/objects/<2 hex>/`.

What `receive` returns is on disk for good: written to a temporary file on the same file system, fsynced,
renamed, its directory fsynced.  What it does not return leaves nothing: an interrupted upload's file is
removed at once, a killed process's at the next start (`sweep_incoming`).  A file belongs to exactly one row;
a copy is a hard link under a name of its own.

Hashing and disk work run in worker threads on pieces of a MiB, one piece ahead of the socket, so memory is flat.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cloudseed.kernel.errors import NoSpace

PIECE = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        for number in range(256):
            (self._objects / f"{number:02x}").mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        return self._objects / name[:2] / name

    async def receive(self, chunks: AsyncIterator[bytes]) -> StoredFile:
        """Store what `chunks` yields.  Raises NoSpace, and whatever `chunks` raises; then nothing is left."""
        name = str(uuid.uuid4())
        writer = _Writer(self._incoming / name, self.path(name))
        working: asyncio.Future[None] | None = None
        try:
            batch: list[bytes] = []
            held = 0
            async for chunk in chunks:
                batch.append(chunk)
                held += len(chunk)
                if held >= PIECE:
                    if working is not None:
                        await working
                    working = asyncio.ensure_future(asyncio.to_thread(writer.write, batch))
                    batch, held = [], 0
            if working is not None:
                await working
            return await asyncio.to_thread(writer.finish, batch)
        except BaseException as exc:
            await asyncio.shield(asyncio.to_thread(writer.abort))
            if isinstance(exc, OSError) and exc.errno in _FULL:
                raise NoSpace("There is no space left for the object; nothing was stored. Free some space and "
                              "try again.", detail=str(exc)) from exc
            raise
        finally:
            if working is not None and working.done() and not working.cancelled():
                working.exception()  # seen: the first error is the one that is raised

    async def link(self, name: str) -> str:
        """Another name for the same bytes, durable: a copy without copying.  Raises FileNotFoundError."""
        new = str(uuid.uuid4())

        def work() -> None:
            os.link(self.path(name), self.path(new))
            _sync_directory(self.path(new).parent)

        await asyncio.to_thread(work)
        return new

    def open(self, name: str, start: int, length: int) -> FileReader:
        """A reader of `length` bytes from `start`.  It sees the file even when that is removed meanwhile."""
        return FileReader(os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC), start, length)

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


class _Writer:
    """The disk's side of one upload.  Methods run in threads; the lock orders them against `abort`."""

    def __init__(self, temporary: Path, target: Path) -> None:
        self._temporary = temporary
        self._target = target
        self._lock = threading.Lock()
        self._fd = -1
        self._aborted = False
        self._size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    def write(self, batch: list[bytes]) -> None:
        with self._lock:
            if self._aborted:
                return
            if self._fd < 0:
                self._fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            data = batch[0] if len(batch) == 1 else b"".join(batch)
            self._md5.update(data)
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view):]
            self._size += len(data)

    def finish(self, batch: list[bytes]) -> StoredFile:
        self.write(batch or [b""])
        with self._lock:
            if self._aborted:
                raise OSError(errno.ECANCELED, "the upload was aborted")
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            os.rename(self._temporary, self._target)
            _sync_directory(self._target.parent)
            return StoredFile(self._target.name, self._size, self._md5.hexdigest())

    def abort(self) -> None:
        with self._lock:
            self._aborted = True
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            self._temporary.unlink(missing_ok=True)
            self._target.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class FileReader:
    """An async iterator over a part of an open file, one piece read ahead; `close` it when done."""

    def __init__(self, fd: int, start: int, length: int) -> None:
        self._fd = fd
        self._at = start
        self._left = length
        self._ahead: asyncio.Future[bytes] | None = None
        self._expected = 0

    def _read_on(self) -> None:
        size = self._expected = min(PIECE, self._left)
        if size:
            self._ahead = asyncio.ensure_future(asyncio.to_thread(os.pread, self._fd, size, self._at))
            self._at += size
            self._left -= size
        else:
            self._ahead = None

    def __aiter__(self) -> FileReader:
        return self

    async def __anext__(self) -> bytes:
        if self._ahead is None:
            if not self._left:
                await self.close()
                raise StopAsyncIteration
            self._read_on()
        assert self._ahead is not None
        piece = await asyncio.shield(self._ahead)
        self._ahead = None
        if len(piece) != self._expected:
            await self.close()
            raise OSError(errno.EIO, "a stored file is shorter than its record says")
        self._read_on()
        return piece

    async def close(self) -> None:
        if self._ahead is not None:
            await asyncio.wait({self._ahead})
            self._ahead = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._left = 0

    def __del__(self) -> None:
        if self._fd >= 0:  # an answer whose body nobody read
            os.close(self._fd)
