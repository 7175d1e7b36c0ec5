"""The bytes of volumes and snapshots: sparse raw files, one each, new for each owner.

Raw files, since nothing in them can be misread: what a guest wrote is never a header to us.  A snapshot, and a
volume made of one, is a copy of its own (shared by the file system where that can share), so that nothing depends
on anything and deleting is unlinking.  A copy carries over data and leaves holes; what nobody wrote reads as zeros,
because it is a hole of a new file: no byte of a deleted volume is ever seen again.

A file under its own name is complete and synced; one that is being made ends in `.new` and is removed at the
host process's next start.  Images are converted by qemu-img as a user of its own, which can read the image, write
the new file and nothing else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from cloudseed.host import binaries, disks, processes
from cloudseed.host.errors import HostError, from_os_error
from cloudseed.host.paths import StatePaths
from cloudseed.host.records import SnapshotInfo, VolumePiece
from cloudseed.host.users import Users

SECTOR = 512
MAX_VOLUME_BYTES = 64 * 1024**4
MAX_PIECE_BYTES = 16 * 1024**2
_STEP = 16 * 1024**2
_FICLONE = 0x40049409
_PUNCH_HOLE, _KEEP_SIZE = 0x02, 0x01
_CONVERT_CPU_S = 3600


class Stopped(Exception):
    """The host process ends: the copy is given up, and made anew when it is asked for again."""


def prepare(paths: StatePaths) -> None:
    """Make the directories, which only root may enter, and remove what was left half made."""
    for directory in (paths.volumes, paths.snapshots, paths.packs):
        if directory.is_symlink():
            raise HostError("failed", f"{directory} is a symbolic link: remove it")
        directory.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(directory, 0, 0)
        directory.chmod(0o700)
    for half in [*paths.volumes.glob("*/*.new"), *paths.snapshots.glob("*.new"), *paths.packs.glob("*.new")]:
        half.unlink(missing_ok=True)
    for copy in paths.volumes.glob("*/*/copy"):
        copy.unlink(missing_ok=True)
    for directory in paths.volumes.iterdir():
        if directory not in (paths.snapshots, paths.packs) and not (directory / "data").exists():
            shutil.rmtree(directory, ignore_errors=True)


def volume_ids(paths: StatePaths) -> list[str]:
    """The volumes that are here."""
    return sorted(path.parent.name for path in paths.volumes.glob("*/data"))


def snapshot_ids(paths: StatePaths) -> list[str]:
    """The snapshots that are here."""
    return _names(paths.snapshots)


def pack_ids(paths: StatePaths) -> list[str]:
    """The packs that are here."""
    return _names(paths.packs)


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*") if path.suffix != ".new")


def sizes(path: Path, what: str) -> tuple[int, int]:
    """Length and allocated bytes of a file; `not_found` when it is not there."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise HostError("not_found", f"{what} is not on this host") from None
    return status.st_size, status.st_blocks * 512


def snapshot_info(paths: StatePaths, snapshot_id: str) -> SnapshotInfo:
    """What is known of a snapshot; `not_found` when there is none."""
    size, allocated = sizes(paths.snapshot(snapshot_id), f"snapshot {snapshot_id}")
    return SnapshotInfo(snapshot_id=snapshot_id, size_bytes=size, allocated_bytes=allocated)


def check_size(size_bytes: int, what: str) -> None:
    """`invalid` unless it is a whole number of sectors that a volume can have."""
    if size_bytes % SECTOR or not 0 < size_bytes <= MAX_VOLUME_BYTES:
        raise HostError("invalid", f"{what} must have a multiple of {SECTOR} bytes up to 64 TiB, not {size_bytes}")


@contextmanager
def making(target: Path, doing: str) -> Iterator[int]:
    """A new, empty file that is `target` once the block has ended well: synced, then renamed."""
    temporary = target.with_name(target.name + ".new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
        sync_directory(target.parent)
    except OSError as exc:
        raise from_os_error(exc, doing) from exc
    finally:
        temporary.unlink(missing_ok=True)


def copy(source: int, target: int, stop: threading.Event) -> None:
    """Copy a whole file into an empty one: shared if the file system can, else data only, holes left as holes."""
    size = os.fstat(source).st_size
    try:
        fcntl.ioctl(target, _FICLONE, source)
        return
    except OSError as exc:
        if exc.errno not in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS):
            raise
    os.ftruncate(target, size)
    for offset, end in data_ranges(source, size):
        while offset < end:
            if stop.is_set():
                raise Stopped
            done = os.copy_file_range(source, target, min(_STEP, end - offset), offset, offset)
            if not done:
                raise OSError(errno.EIO, "a file became shorter while it was copied")
            offset += done


def data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data: (offset, end), in order."""
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:
                return
            raise
        end = min(os.lseek(descriptor, offset, os.SEEK_HOLE), size)
        yield offset, end
        offset = end


def release_zeros(descriptor: int) -> None:
    """Give back the room that is reserved for ranges which read as zeros anyway."""
    size, position = os.fstat(descriptor).st_size, 0
    for offset, end in [*data_ranges(descriptor, size), (size, size)]:
        if offset > position:
            _punch(descriptor, position, offset - position)
        position = end


def convert(image: Path, format: Literal["qcow2", "raw"], target: int, users: Users, stop: threading.Event) -> None:
    """Write an image of the cache as raw bytes into an empty file, whose size is the image's afterwards."""
    source = os.open(image, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if format == "raw":
            copy(source, target, stop)
            return
        size, backing = disks.read_header(image)
        if backing is not None:
            raise HostError("failed", f"image {image.name} of the cache refers to another file")
        os.ftruncate(target, size)
        argv = ["convert", "-q", "-n", "--target-is-zero", "-f", format, "-O", "raw",
                f"/proc/self/fd/{source}", f"/proc/self/fd/{target}"]  # fmt: skip
        if os.geteuid() != 0:
            _qemu_img(argv, f"converting image {image.name}", (source, target), None, stop)
            return
        os.fchmod(source, 0o444)  # nobody else may pass the directory
        with users.reserve() as uid:
            os.fchown(target, uid, uid)
            _qemu_img(argv, f"converting image {image.name}", (source, target), uid, stop)
            os.fchown(target, 0, 0)
    finally:
        os.close(source)


def pack(source: Path, target: Path, stop: threading.Event) -> int:
    """Make a qcow2 file of raw bytes; returns its length.  One that is there is kept."""
    if not target.exists():
        temporary = target.with_name(target.name + ".new")
        try:
            argv = ["convert", "-q", "-f", "raw", "-O", "qcow2", str(source), str(temporary)]
            _qemu_img(argv, f"packing {source.name}", (), None, stop)
            _sync(temporary)
            os.replace(temporary, target)
            sync_directory(target.parent)
        except OSError as exc:
            raise from_os_error(exc, f"packing {source.name}") from exc
        finally:
            temporary.unlink(missing_ok=True)
    return target.stat().st_size


def read(path: Path, what: str, offset: int, length: int) -> VolumePiece:
    """A piece from `offset` on, which ends where data or a hole ends, or after `length` bytes."""
    if offset < 0 or not 0 < length <= MAX_PIECE_BYTES:
        raise HostError("invalid", f"a piece must begin at 0 or above and have 1 to {MAX_PIECE_BYTES} bytes")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise HostError("not_found", f"{what} is not on this host") from None
    try:
        size = os.fstat(descriptor).st_size
        if offset >= size:
            return VolumePiece(offset=offset)
        start, end = next(data_ranges_from(descriptor, offset, size), (size, size))
        if start > offset:
            return VolumePiece(offset=offset, zero_bytes=start - offset)
        return VolumePiece(offset=offset, data=os.pread(descriptor, min(length, end - offset), offset))
    finally:
        os.close(descriptor)


def data_ranges_from(descriptor: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
    """As `data_ranges`, from `offset` on."""
    try:
        start = os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as exc:
        if exc.errno == errno.ENXIO:
            return
        raise
    yield start, min(os.lseek(descriptor, start, os.SEEK_HOLE), size)


def write(path: Path, what: str, offset: int, data: bytes, zero_bytes: int, sync: bool) -> None:
    """Write bytes, or make zeros, within the file."""
    if len(data) > MAX_PIECE_BYTES or zero_bytes < 0 or (data and zero_bytes):
        raise HostError("invalid", f"a piece is up to {MAX_PIECE_BYTES} bytes of data, or zeros")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise HostError("not_found", f"{what} is not on this host") from None
    try:
        if not 0 <= offset <= offset + len(data) + zero_bytes <= os.fstat(descriptor).st_size:
            raise HostError("invalid", f"a piece at {offset} does not lie within {what}")
        view = memoryview(data)
        while view:
            done = os.pwrite(descriptor, view, offset)
            offset, view = offset + done, view[done:]
        if zero_bytes:
            _punch(descriptor, offset, zero_bytes)
        if sync:
            os.fsync(descriptor)
    except OSError as exc:
        raise from_os_error(exc, f"writing to {what}") from exc
    finally:
        os.close(descriptor)


def extend(path: Path, what: str, size_bytes: int) -> None:
    """Grow the file; `invalid` when it is larger already."""
    present = sizes(path, what)[0]
    if size_bytes < present:
        raise HostError("invalid", f"{what} of {present} bytes can grow, not become {size_bytes} bytes")
    if size_bytes > present:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, size_bytes)
            os.fsync(descriptor)
        except OSError as exc:
            raise from_os_error(exc, f"extending {what}") from exc
        finally:
            os.close(descriptor)


def load_exports(paths: StatePaths, volume_id: str) -> dict[str, bool]:
    """The attachments that a volume is exported for, each with whether it only reads."""
    return processes.load_json(paths.volume(volume_id).exports, dict[str, bool]) or {}


def save_exports(paths: StatePaths, volume_id: str, exports: dict[str, bool]) -> None:
    """Keep them, so that they are there again after a reboot."""
    processes.save_json(paths.volume(volume_id).exports, exports)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _punch(descriptor: int, offset: int, length: int) -> None:
    """A hole, which reads as zeros; zeros written out where the file system knows no holes."""
    if fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, offset, length):
        return
    zeros = bytes(1024**2)
    while length:
        done = os.pwrite(descriptor, zeros[: min(length, len(zeros))], offset)
        offset, length = offset + done, length - done


def _libc_fallocate() -> Callable[[int, int, int, int], bool]:
    import ctypes  # Python has posix_fallocate only, which takes no mode

    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]

    def call(descriptor: int, mode: int, offset: int, length: int) -> bool:
        if libc.fallocate(descriptor, mode, offset, length) == 0:
            return True
        number = ctypes.get_errno()
        if number in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        raise OSError(number, os.strerror(number))

    return call


fallocate = _libc_fallocate()


def _qemu_img(argv: list[str], doing: str, pass_fds: tuple[int, ...], uid: int | None, stop: threading.Event) -> None:
    """Run qemu-img within limits, however long it takes, and end it when the host process ends."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (_CONVERT_CPU_S, _CONVERT_CPU_S))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    process = subprocess.Popen(
        [binaries.find("qemu-img"), *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        pass_fds=pass_fds,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
        preexec_fn=limit,  # only system calls between fork and exec
    )
    with process:
        while True:
            try:
                words = process.communicate(timeout=0.5)[1]
                break
            except subprocess.TimeoutExpired:
                if stop.is_set():
                    process.kill()
                    raise Stopped from None
    if process.returncode:
        text = " / ".join(words.strip().splitlines()[:3])[:400]
        if "No space left" in text:
            raise HostError("no_space", f"no space left on the disk while {doing}: free some, then try again")
        raise HostError("failed", f"qemu-img failed while {doing}: {text}")
