"""The files of a machine on their way to another host: as they are, holes left out, and taken only when whole.

For each file a line (`FileHead`), then pieces: offset and length, 8 bytes each, and that many bytes; a piece of no
length ends it.  A head without a name ends them all, and the receiver says `ok` when they are on its disk.

The sender is a host of this cloud and still not trusted with names and places: a disk keeps its name, stands on the
image of that key in our own cache, and its header is written anew to say so.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import struct
from pathlib import Path

import msgspec

from cloudseed.host import disks, processes
from cloudseed.host.errors import HostError, from_os_error
from cloudseed.host.paths import MachinePaths, StatePaths, check_key

_PIECE = struct.Struct(">QQ")
_PIECE_BYTES = 1 << 20
_MAX_BYTES = 64 * 1024**4
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,63}\.qcow2|config\.iso|nvram\.fd)\Z")


class FileHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`backing`: the key of the image that a disk stands on."""

    name: str = ""
    size_bytes: int = 0
    backing: str | None = None


def of_machine(machine: MachinePaths, *, disks_too: bool) -> list[Path]:
    """What goes with a machine: its config drive and firmware's variables, and its disks when it is off."""
    found = [path for path in (machine.config_drive, machine.nvram) if path.exists()]
    return found + (sorted(machine.directory.glob("*.qcow2")) if disks_too else [])


class Progress:
    """Bytes on their way."""

    def __init__(self) -> None:
        self.total = self.done = 0


async def send(paths: StatePaths, files: list[Path], writer: asyncio.StreamWriter, progress: Progress) -> None:
    """Send the files; the receiver's answer is not read here."""
    progress.total = sum(path.stat().st_blocks * 512 for path in files)
    for path in files:
        backing = disks.backing_key(paths, path) if path.suffix == ".qcow2" else None
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            size, at = os.fstat(descriptor).st_size, 0
            head = FileHead(name=path.name, size_bytes=size, backing=backing)
            writer.write(msgspec.json.encode(head) + b"\n")
            while at < size:
                try:
                    start = os.lseek(descriptor, at, os.SEEK_DATA)
                except OSError:
                    break  # nothing but a hole is left
                end = os.lseek(descriptor, start, os.SEEK_HOLE)
                while start < end:
                    piece = await asyncio.to_thread(os.pread, descriptor, min(end - start, _PIECE_BYTES), start)
                    if not piece:
                        raise HostError("conflict", f"{path.name} was cut while it was sent")
                    writer.write(_PIECE.pack(start, len(piece)) + piece)
                    await writer.drain()
                    start += len(piece)
                    progress.done += len(piece)
                at = end
            writer.write(_PIECE.pack(0, 0))
        finally:
            os.close(descriptor)
    writer.write(msgspec.json.encode(FileHead()) + b"\n")
    await writer.drain()


async def receive(paths: StatePaths, server_id: str, reader: asyncio.StreamReader, *, disks_too: bool) -> None:
    """Take the files that `send` sends, all or none, and give them to the machine."""
    machine = paths.machine(server_id)
    arriving = machine.arriving
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir(mode=0o700)
    try:
        heads = []
        while (head := msgspec.json.decode(await reader.readuntil(b"\n"), type=FileHead)).name:
            if not _NAME.match(head.name) or (head.name.endswith(".qcow2") and not disks_too):
                raise HostError("invalid", f"no machine's file is named {head.name[:80]!r}")
            if not 0 <= head.size_bytes <= _MAX_BYTES:
                raise HostError("invalid", f"{head.name} cannot have {head.size_bytes} bytes")
            await _receive_one(arriving / head.name, head.size_bytes, reader)
            heads.append(head)
        for head in heads:
            if head.name.endswith(".qcow2"):
                await asyncio.to_thread(_stand, paths, arriving / head.name, head.backing)
        for head in heads:
            if head.name.endswith(".qcow2"):
                record = disks.backing_record(arriving / head.name)
                os.replace(record, machine.directory / record.name)
            os.replace(arriving / head.name, machine.directory / head.name)
    except OSError as exc:
        raise from_os_error(exc, f"taking the files of server {server_id} from another host") from exc
    finally:
        shutil.rmtree(arriving, ignore_errors=True)


async def _receive_one(path: Path, size: int, reader: asyncio.StreamReader) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
        while True:
            offset, length = _PIECE.unpack(await reader.readexactly(_PIECE.size))
            if not length:
                break
            if length > _PIECE_BYTES or offset + length > size:
                raise HostError("invalid", f"{path.name} of {size} bytes has no place for {length} at {offset}")
            piece = await reader.readexactly(length)
            await asyncio.to_thread(os.pwrite, descriptor, piece, offset)
        await asyncio.to_thread(os.fsync, descriptor)
    finally:
        os.close(descriptor)


def _stand(paths: StatePaths, disk: Path, key: str | None) -> None:
    """Let a disk that has come stand on our own copy of its image."""
    image = disks.image_info(paths, check_key(key, "the image of a disk")) if key is not None else None
    wanted = str(paths.image(image.key)) if image is not None else None
    if disks.read_header(disk)[1] != wanted:
        disks.rebase(disk, wanted, image.format if image is not None else None)
        if disks.read_header(disk)[1] != wanted:
            raise HostError("failed", f"{disk.name} cannot be made to stand on {key}")
    processes.replace_file(disks.backing_record(disk), (key or "").encode(), mode=0o600)
