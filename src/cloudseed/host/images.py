"""The cache of base images: files that machines' disks stand on, read-only and shared.

An image is there when its `.info` file is, which is written last.  A file enters through `images/incoming/`,
and only if qemu-img, told the format, finds that it refers to no other file: an image that names a backing or a
data file would show its owner a file of this host (CVE-2024-32498).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import Literal

import msgspec

from cloudseed.host import disks, processes
from cloudseed.host.errors import HostError, from_os_error
from cloudseed.host.paths import StatePaths, check_key
from cloudseed.host.records import ImageInfo


def sweep(paths: StatePaths) -> None:
    """Before anything is asked for: remove what a killed predecessor had no time to say of that it is an image, or had
    said already that it is none."""
    for path in paths.images.glob("*"):
        if path.is_file() and not path.with_name(f"{path.name.removesuffix('.info')}.info").exists():
            path.unlink(missing_ok=True)


def import_image(paths: StatePaths, key: str, source: str, format: Literal["qcow2", "raw"]) -> ImageInfo:
    """Check the incoming file and move it into the cache; an image of that key that is there already wins."""
    incoming = paths.incoming / check_key(source, "the source")
    target = paths.image(key)
    try:
        present = disks.image_info(paths, key)
        incoming.unlink(missing_ok=True)
        return present
    except HostError as exc:
        if exc.code != "not_found":
            raise
    try:
        descriptor = os.open(incoming, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise HostError("not_found", f"there is no file {source} in images/incoming") from None
    except OSError as exc:
        raise HostError("invalid", f"images/incoming/{source} is no plain file: {exc.strerror}") from exc
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise HostError("invalid", f"images/incoming/{source} is no plain file")
        if os.geteuid() == 0:
            os.fchown(descriptor, 0, 0)
        os.fchmod(descriptor, 0o444)  # for qemu-img, which is not root; nobody else may pass the directory
        _check_unwritten(descriptor, source)
        facts = disks.inspect(descriptor, source, format)
        for what, other in (("backing file", facts.backing_filename), ("data file", facts.data_file)):
            if other:
                raise HostError("invalid", f"{source} refers to a {what}, {other[:80]!r}: flatten it first")
        os.fchmod(descriptor, 0o400)
        os.fsync(descriptor)
        os.replace(incoming, target)
        moved = os.stat(target, follow_symlinks=False)
        if (moved.st_dev, moved.st_ino) != (status.st_dev, status.st_ino):
            target.unlink()
            raise HostError("invalid", f"images/incoming/{source} was replaced while it was inspected")
        info = ImageInfo(key=key, format=format, size_bytes=facts.virtual_size, file_bytes=status.st_size)
        processes.replace_file(paths.image_info(key), msgspec.json.encode(info))
        _sync_directory(paths)
    except OSError as exc:
        raise from_os_error(exc, f"importing image {key}") from exc
    finally:
        os.close(descriptor)
    return info


def _check_unwritten(descriptor: int, source: str) -> None:
    """`invalid` while somebody has the file, which is root's by now, still open for writing: a lease would tell."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as exc:
        if exc.errno == errno.EAGAIN:
            raise HostError("invalid", f"images/incoming/{source} is still open for writing: close it first") from exc
        # a file system without leases


def list_images(paths: StatePaths) -> list[ImageInfo]:
    """All cached images, by key."""
    if not paths.images.is_dir():
        return []
    keys = sorted(path.name.removesuffix(".info") for path in paths.images.glob("*.info"))
    return [disks.image_info(paths, key) for key in keys]


def remove_image(paths: StatePaths, key: str) -> None:
    """Remove an image that no disk stands on; nothing there is fine."""
    users = disks.backing_keys(paths).get(key)
    if users:
        raise HostError("conflict", f"image {key} is in use by {len(users)} disks, such as {users[0]}")
    paths.image_info(key).unlink(missing_ok=True)
    paths.image(key).unlink(missing_ok=True)


def _sync_directory(paths: StatePaths) -> None:
    descriptor = os.open(paths.images, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
