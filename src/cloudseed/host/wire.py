"""Frames on the host process's socket: four bytes of length, then msgpack (see `records/`); and unix sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cloudseed.host.records import MAX_FRAME_BYTES


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next frame's bytes, or None at a clean end; a frame beyond the limit raises ValueError."""
    try:
        header = await reader.readexactly(4)
        length = int.from_bytes(header, "big")
        if length > MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def frame(body: bytes) -> bytes:
    """The body with its length before it."""
    return len(body).to_bytes(4, "big") + body


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """An address for a unix socket that fits into the kernel's 107 bytes however long the path is.

    The directory is held open and named through /proc, so state directories may lie as deep as they like.
    """
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


async def connect(path: Path, owner: int | None = None, pid: int | None = None) -> socket.socket:
    """A connected, non-blocking stream socket to a unix socket at any path; OSError when nobody listens.

    PermissionError unless it is user `owner` and process `pid`, when given, who listens: the path's directory may be
    his to change, and root must not speak in his stead to services that trust root.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        with short_address(path) as address:
            await asyncio.get_running_loop().sock_connect(sock, address)
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        listener, user, _ = struct.unpack("3i", data)
        if owner is not None and user != owner:
            raise PermissionError(f"{path} does not lead to a process of user {owner}")
        if pid is not None and listener != pid:
            raise PermissionError(f"{path} does not lead to process {pid}")
    except BaseException:
        sock.close()
        raise
    return sock


def listen(stack: ExitStack, path: Path, owner: tuple[int, int]) -> int:
    """A listening socket at the path that only its owner may connect to."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    stack.callback(sock.close)
    with short_address(path) as address:
        sock.bind(address)
    path.chmod(0o600)
    os.chown(path, *owner)
    sock.listen(4)
    return sock.fileno()
