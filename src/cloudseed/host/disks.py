"""The disks of machines: qcow2 overlays, made by qemu-img and read back from their own headers.

qemu-img runs with limits on memory and processor time, and every call states the format: what a tenant wrote
into a disk never decides how the disk is read.  It has no rights but to the one file that it is given.

An overlay's backing image is one of the cache.  Which one stands in a file of ours beside the overlay, written
before the overlay is there: the overlay's own header is in the machine's hands, and a QEMU that was broken out of
could name another tenant's image in it.  A header that says anything else is refused.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import msgspec

from cloudseed.host import binaries, processes
from cloudseed.host.errors import HostError, from_os_error
from cloudseed.host.paths import StatePaths, check_disk_name
from cloudseed.host.records import DiskInfo, ImageInfo

_MAX_DISK_BYTES = 64 * 1024**4
_HEADER = struct.Struct(">4sIQIIQ")  # magic, version, backing offset, backing length, cluster bits, size
_FEATURES_AT, _DATA_FILE = 72, 1 << 2  # incompatible features of version 3
_NOBODY = 65534


def create(
    paths: StatePaths, server_id: str, name: str, size_bytes: int, backing: str | None, format: str | None
) -> DiskInfo:
    """Make the overlay, or keep the one that stands on the same image and is no smaller than asked."""
    machine = paths.machine(server_id)
    target = machine.disk(name)
    if not 0 <= size_bytes <= _MAX_DISK_BYTES:
        raise HostError("invalid", f"the size of disk {name} must be 0 to {_MAX_DISK_BYTES} bytes")
    image = image_info(paths, backing) if backing is not None else None
    if image is None and size_bytes == 0:
        raise HostError("invalid", f"disk {name} needs a size or an image to stand on")
    if image is not None:
        if format is not None and format != image.format:
            raise HostError("invalid", f"image {image.key} is {image.format}, not {format}")
        if 0 < size_bytes < image.size_bytes:
            message = (
                f"disk {name} of {size_bytes} bytes is smaller than its image's {image.size_bytes} bytes:"
                " choose a larger flavor"
            )
            raise HostError("invalid", message)
    if target.exists():
        present = read(paths, server_id, name)
        if present.backing == backing and present.size_bytes >= size_bytes:
            return present
        raise HostError("conflict", f"server {server_id} has a disk {name} of another image already")
    temporary = target.with_name(target.name + ".new")
    temporary.unlink(missing_ok=True)
    options = ["-o", "lazy_refcounts=off"]
    if image is not None:
        options += ["-u", "-b", str(paths.image(image.key)), "-F", image.format]  # -u: do not open it
    size = max(size_bytes, image.size_bytes if image else 0)
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # sizes are whole sectors for a guest
            argv = ["create", "-q", "-f", "qcow2", *options, f"/proc/self/fd/{descriptor}", str(-(-size // 512) * 512)]
            _change(descriptor, argv, f"making disk {name} of server {server_id}")
        finally:
            os.close(descriptor)
        processes.replace_file(backing_record(target), (backing or "").encode(), mode=0o600)
        os.replace(temporary, target)
    except OSError as exc:
        raise from_os_error(exc, f"making disk {name} of server {server_id}") from exc
    finally:
        temporary.unlink(missing_ok=True)
    return read(paths, server_id, name)


def backing_record(disk: Path) -> Path:
    """The file that says on which image an overlay stands: its key, or nothing."""
    return disk.with_suffix(".backing")


def resize_file(paths: StatePaths, server_id: str, name: str, size_bytes: int) -> DiskInfo:
    """Grow the overlay of a machine that is not running."""
    present = read(paths, server_id, name)
    check_growth(present, size_bytes)
    path = paths.machine(server_id).disk(name)
    backing_key(paths, path)
    if size_bytes > present.size_bytes:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            # what it stands on is never shorter than it was: growing needs none of it
            file = {"driver": "file", "filename": f"/proc/self/fd/{descriptor}"}
            alone = "json:" + json.dumps({"driver": "qcow2", "backing": None, "file": file})
            argv = ["resize", "-q", alone, str(size_bytes)]
            _change(descriptor, argv, f"resizing disk {name} of server {server_id}")
        finally:
            os.close(descriptor)
    return read(paths, server_id, name)


def rebase(disk: Path, backing: str | None, format: str | None) -> None:
    """Have the header of an overlay that no machine uses name another backing file; neither is opened."""
    descriptor = os.open(disk, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        argv = ["rebase", "-q", "-u", "-f", "qcow2", "-b", backing or "", *(["-F", format] if format else [])]
        _change(descriptor, [*argv, f"/proc/self/fd/{descriptor}"], f"giving {disk.name} another backing file")
    finally:
        os.close(descriptor)


def _change(descriptor: int, argv: Sequence[str], doing: str) -> None:
    """Run qemu-img as nobody on an open file, which is nobody's for that time."""
    owner = os.fstat(descriptor)
    os.fchown(descriptor, _NOBODY, _NOBODY)
    try:
        qemu_img(argv, doing, nobody_with=descriptor)
    finally:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def check_growth(present: DiskInfo, size_bytes: int) -> None:
    """`invalid` unless the size is a whole number of sectors, not below the present one."""
    if size_bytes % 512 or not present.size_bytes <= size_bytes <= _MAX_DISK_BYTES:
        message = (
            f"disk {present.name} of {present.size_bytes} bytes can grow to a multiple of 512 bytes,"
            f" not become {size_bytes} bytes"
        )
        raise HostError("invalid", message)


def remove(paths: StatePaths, server_id: str, name: str) -> None:
    """Remove the overlay; nothing there is fine."""
    path = paths.machine(server_id).disk(name)
    path.unlink(missing_ok=True)
    backing_record(path).unlink(missing_ok=True)


def read(paths: StatePaths, server_id: str, name: str) -> DiskInfo:
    """What the overlay's own header says; `not_found` when there is none."""
    path = paths.machine(server_id).disk(check_disk_name(name))
    try:
        size, _ = read_header(path)
        key = backing_key(paths, path)
        allocated = path.stat().st_blocks * 512
    except FileNotFoundError:
        raise HostError("not_found", f"server {server_id} has no disk {name} on this host") from None
    return DiskInfo(name=name, format="qcow2", size_bytes=size, allocated_bytes=allocated, backing=key)


def backing_key(paths: StatePaths, disk: Path) -> str | None:
    """The image that an overlay stands on, by our own record; HostError when its header says something else."""
    try:
        key = backing_record(disk).read_text() or None
    except FileNotFoundError:
        raise HostError("failed", f"nothing says on what image {disk.name} stands") from None
    said = read_header(disk)[1]
    if said != (str(paths.image(key)) if key else None):
        raise HostError("failed", f"{disk.name} names another backing file than it was made with: it was tampered with")
    return key


def read_header(path: Path) -> tuple[int, str | None]:
    """Virtual size and backing file of a qcow2 file (QEMU's docs/interop/qcow2)."""
    with open(path, "rb") as file:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size or header[:4] != b"QFI\xfb":
            raise HostError("failed", f"{path.name} is no qcow2 file any more")
        _, version, offset, length, _, size = _HEADER.unpack(header)
        file.seek(_FEATURES_AT)
        if version >= 3 and int.from_bytes(file.read(8), "big") & _DATA_FILE:
            raise HostError("failed", f"{path.name} refers to a data file, as no disk of ours does")
        if not offset:
            return size, None
        file.seek(offset)
        return size, os.fsdecode(file.read(min(length, 1023)))


def backing_keys(paths: StatePaths) -> dict[str, list[str]]:
    """Each cached image that disks stand on, with those disks as `server/file`."""
    found: dict[str, list[str]] = {}
    kept = sorted(paths.machines.glob("*/kept/*.backing"))
    for record in [*sorted(paths.machines.glob("*/*.backing")), *kept] if paths.machines.is_dir() else []:
        try:
            key = record.read_text()
        except FileNotFoundError:
            continue
        if key:
            found.setdefault(key, []).append(f"{record.parent.relative_to(paths.machines)}/{record.stem}.qcow2")
    return found


def image_info(paths: StatePaths, key: str) -> ImageInfo:
    """What is known of a cached image; `not_found` when it is not there."""
    try:
        return msgspec.json.decode(paths.image_info(key).read_bytes(), type=ImageInfo)
    except (FileNotFoundError, msgspec.DecodeError):
        raise HostError("not_found", f"image {key} is not in this host's cache: import it first") from None


class ImageFacts(msgspec.Struct, frozen=True):
    """What `qemu-img info` says, as far as we look at it."""

    virtual_size: int = msgspec.field(name="virtual-size")
    format: str
    backing_filename: str | None = msgspec.field(name="backing-filename", default=None)
    format_specific: dict[str, object] | None = msgspec.field(name="format-specific", default=None)

    @property
    def data_file(self) -> str | None:
        """The file that holds the data of a qcow2 file which only describes it."""
        data = (self.format_specific or {}).get("data")
        name = cast(dict[str, object], data).get("data-file") if isinstance(data, dict) else None
        return str(name) if name else None


def inspect(descriptor: int, name: str, format: Literal["qcow2", "raw"]) -> ImageFacts:
    """What qemu-img, as nobody, says of an open file that it reads as `format`; `invalid` when it is none.

    Everybody must have the right to read the file.  It is named by the descriptor, since its path may lead elsewhere.
    """
    try:
        argv = ["info", "-f", format, "--output=json", f"/proc/self/fd/{descriptor}"]
        text = qemu_img(argv, f"inspecting {name}", nobody_with=descriptor)
        return msgspec.json.decode(text, type=ImageFacts)
    except msgspec.DecodeError as exc:
        raise HostError("failed", f"qemu-img said of {name} what we do not understand: {exc}") from exc
    except HostError as exc:
        if exc.code == "failed":
            raise HostError("invalid", f"{name} is no usable {format} image: {exc.message}") from exc
        raise


def qemu_img(argv: Sequence[str], doing: str, timeout_s: float = 300.0, nobody_with: int | None = None) -> str:
    """Run qemu-img within limits (1 GiB of memory, a minute of processor time) and return what it printed.

    `nobody_with`: run it without any right but to this descriptor, for files that a stranger wrote.
    """

    own_user = nobody_with is None or os.geteuid() != 0  # who is not root need not become nobody

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    program = binaries.find("qemu-img")
    try:
        done = subprocess.run(
            [program, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            pass_fds=() if nobody_with is None else (nobody_with,),
            user=None if own_user else _NOBODY,
            group=None if own_user else _NOBODY,
            extra_groups=None if own_user else [],
            preexec_fn=limit,  # only system calls between fork and exec
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise HostError("failed", f"qemu-img did not end within {timeout_s:.0f} s while {doing}") from exc
    if done.returncode:
        words = " / ".join(done.stderr.strip().splitlines()[:3])[:400]
        if "No space left" in words:
            raise HostError("no_space", f"no space left on the disk while {doing}: free some, then try again")
        raise HostError("failed", f"qemu-img failed while {doing}: {words}")
    return done.stdout
