"""The cache that keeps built images: who may build in it, how an image appears there, what leaves it.

It lies outside of any checkout, and other checkouts may use it too.  An image appears under its name by rename, whole
or not at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

# Images of one kind that stay: more than one, for another checkout may use the same cache.
KEPT_IMAGES = 3

Progress = Callable[[str], None]


@dataclass(frozen=True)
class CachedImage:
    """An image in the cache: its name, its file, its bytes on the disk, and when it was made (Unix time)."""

    name: str
    path: Path
    size_bytes: int
    built_at: float


def list_cached(cache_dir: Path) -> list[CachedImage]:
    """The images in the cache, newest first."""
    found = []
    for path in (cache_dir / "guest-images").glob("*.qcow2"):
        status = path.stat()
        found.append(CachedImage(path.name.partition("-")[0], path, status.st_blocks * 512, status.st_mtime))
    return sorted(found, key=lambda image: image.built_at, reverse=True)


def source_key(others: Iterable[str]) -> str:
    """A digest of this package's files, but for those that only `others` (names of kinds of images) depend on."""
    digest = hashlib.sha256()
    left_out = tuple(f"{name}{end}" for name in others for end in (".py", "_", "/"))
    for path in sorted(HERE.rglob("*")):
        name = str(path.relative_to(HERE))
        if path.is_file() and "__pycache__" not in path.parts and not name.startswith(left_out):
            digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def digest(text: str) -> str:
    """A short digest, for file names."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@contextlib.contextmanager
def lock(images: Path, progress: Progress) -> Iterator[None]:
    """One builder at a time on a cache; the second finds the image ready.  Ends with the process, whatever happens."""
    with (images / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build of an image")
            fcntl.flock(file, fcntl.LOCK_EX)
        # what a killed builder left
        for left in images.glob("build-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def publish(finished: Path, target: Path) -> None:
    """Give a finished image its name, durably."""
    with finished.open("rb") as file:
        os.fsync(file.fileno())
    # other users' QEMU reads it as a backing file
    finished.chmod(0o644)
    finished.rename(target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def forget_old(images: Path, name: str, keep: int = KEPT_IMAGES) -> None:
    """Remove all but the newest few images of a kind."""
    for path in sorted(images.glob(f"{name}-*.qcow2"), key=lambda path: path.stat().st_mtime)[:-keep]:
        path.unlink(missing_ok=True)
