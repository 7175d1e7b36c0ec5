"""Streams to files that are durable, and files to streams: what services that keep bytes stand on.

`write_file` returns when the bytes are on disk for good: written to a temporary file on the target's file
system, fsynced, renamed, the directory fsynced.  When it raises, nothing is left but what a killed process had
in its temporary file.  Hashing and disk work run in worker threads on pieces of about a MiB, of which a few
may wait, so memory is flat and the loop is free.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import NamedTuple

from cloudseed.kernel.errors import NoSpace
from cloudseed.kernel.lanes import Lane

PIECE = 1 << 20
WRITEBACK = 16 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Written(NamedTuple):
    """What `write_file` wrote: its size in bytes and the hex MD5 of it."""

    size: int
    md5: str


async def write_file(chunks: AsyncIterator[bytes], temporary: Path, target: Path) -> Written:
    """Write what `chunks` yields to `target`.  Raises NoSpace, and whatever `chunks` raises."""
    writer = _Writer(temporary, target)
    writing = Lane(writer.write)
    try:
        batch: list[bytes] = []
        held = 0
        async for chunk in chunks:
            batch.append(chunk)
            held += len(chunk)
            if held >= PIECE:
                await writing.put(batch)
                batch, held = [], 0
        await writing.finish()
        return await asyncio.to_thread(writer.finish, batch)
    except BaseException as exc:
        await asyncio.shield(asyncio.to_thread(writer.abort))
        if isinstance(exc, OSError) and exc.errno in _FULL:
            raise NoSpace(
                "There is no space left on the disk; nothing was stored. Free some space and try again.",
                detail=str(exc),
            ) from exc
        raise
    finally:
        await writing.close()


class _Writer:
    """The disk's side of one file.  Methods run in threads; the lock orders them against `abort`."""

    def __init__(self, temporary: Path, target: Path) -> None:
        self._temporary = temporary
        self._target = target
        self._lock = threading.Lock()
        self._fd = -1
        self._aborted = False
        self._renamed = False
        self._size = 0
        self._started = 0  # bytes whose way to the disk has begun
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
                view = view[os.write(self._fd, view) :]
            self._size += len(data)
            if self._size - self._started >= WRITEBACK:
                # Linux starts writing dirty pages out on this advice (and keeps them, since they are busy): the
                # disk works while the bytes come, and the fsync at the end has little left to do
                os.posix_fadvise(self._fd, self._started, self._size - self._started, os.POSIX_FADV_DONTNEED)
                self._started = self._size

    def finish(self, batch: list[bytes]) -> Written:
        self.write(batch or [b""])
        with self._lock:
            if self._aborted:
                raise OSError(errno.ECANCELED, "the upload was aborted")
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            os.rename(self._temporary, self._target)
            self._renamed = True
            sync_directory(self._target.parent)
            return Written(self._size, self._md5.hexdigest())

    def abort(self) -> None:
        with self._lock:
            self._aborted = True
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            self._temporary.unlink(missing_ok=True)
            if self._renamed:
                self._target.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or removed in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class FileReader:
    """An async iterator over `length` bytes of a file from `start`, one piece read ahead; `close` it when done.

    It holds the file open, so it reads on when the file is removed meanwhile.  Raises FileNotFoundError at once,
    and OSError when the file ends early.
    """

    def __init__(self, path: Path, start: int, length: int) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._at = start
        self._left = length
        self._ahead: asyncio.Future[bytes] | None = None
        self._expected = 0

    def _read_on(self) -> None:
        size = self._expected = min(PIECE, self._left)
        if size:
            self._ahead = asyncio.get_running_loop().run_in_executor(None, os.pread, self._fd, size, self._at)
            self._at += size
            self._left -= size

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
        """Let go of the file."""
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


class ClosingStream:
    """A generator as an answer's stream: falcon closes it at once when the client leaves, not when the garbage
    collector comes, so its files and connections are let go."""

    def __init__(self, source: AsyncGenerator[bytes, None]) -> None:
        self._source = source

    def __aiter__(self) -> ClosingStream:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._source)

    async def close(self) -> None:
        await self._source.aclose()
