"""The tiny guest image: a disk that boots to a login prompt in seconds, and the cache that keeps it.

What the guest does is told by its scripts in `tiny_root/`; in short: DHCP on every network card that is or
appears, a login prompt on the serial console and on the screen, an SSH server with the keys of the config drive
or the metadata service, user data that starts with `#!`, a clean end at the power button, and a root file system
that grows to the disk and keeps what is written.

The cache's key is the packages' digests and this package's own sources: a new kernel or a changed script gives
a new image, nothing else does.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from cloudseed.guest_images import cache, cpio, disk, root_tree
from cloudseed.guest_images.cache import Progress
from cloudseed.guest_images.errors import BuildError
from cloudseed.guest_images.packages import Package, apt_state_key, download, resolve, unpack

# From these the image and the tools that make it come; their libraries follow.
PACKAGES = ("busybox-static", "dropbear-bin", "e2fsprogs", "mtools", "syslinux", "syslinux-common", "util-linux")
# Stands for the kernel package of the day.  The "cloud" flavour is the one without drivers for real hardware.
KERNEL_METAPACKAGE = "linux-image-cloud-amd64"

def build_tiny(cache_dir: Path, progress: Progress = lambda step: None) -> Path:
    """The tiny image's qcow2 file in the cache, built when it is not there yet.

    `progress` is called with a few words as each step begins.  Blocks for about 10 s and the download when something is
    to be built (use `build_tiny_async` in a loop).  Raises BuildError with what to do.  When a new build is due but its
    packages cannot be had (no network), the newest image of the same sources is returned.
    """
    images = cache_dir / "guest-images"
    images.mkdir(parents=True, exist_ok=True)
    with cache.lock(images, progress):
        progress("asking apt for package versions")
        packages = _resolve_once(images / "resolved.json")
        sources = source_key()
        target = images / f"tiny-{sources}-{package_key(packages)}.qcow2"
        if target.exists():
            return target
        progress(f"downloading {len(packages)} Debian packages")
        try:
            files = download(packages, images / "packages")
        except BuildError:
            older = sorted(images.glob(f"tiny-{sources}-*.qcow2"), key=lambda path: path.stat().st_mtime)
            if not older:
                raise
            progress("no download: using the image built before")
            return older[-1]
        with tempfile.TemporaryDirectory(prefix="build-", dir=images) as name:
            _build(Path(name), files, target, progress)
        _forget_old(images, packages)
        return target


async def build_tiny_async(cache_dir: Path, progress: Progress = lambda step: None) -> Path:
    """`build_tiny` in a thread of its own; `progress` is called in that thread."""
    return await asyncio.to_thread(build_tiny, cache_dir, progress)


def source_key() -> str:
    """A digest of all files of ours that the image depends on."""
    return cache.source_key(others=("debian",))


def package_key(packages: list[Package]) -> str:
    """A digest of the packages that an image is made from."""
    return hashlib.sha256("\n".join(package.sha256 for package in packages).encode()).hexdigest()[:12]


def _resolve_once(remembered: Path) -> list[Package]:
    """The packages, remembered for as long as apt's own data stay the same: asking apt takes seconds."""
    key = cache.digest(apt_state_key() + " ".join(PACKAGES))
    try:
        known = json.loads(remembered.read_text())
        if known["key"] == key:
            return [Package(**{**fields, "depends": tuple(fields["depends"])}) for fields in known["packages"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, torn, or of another version of this program: ask again
    packages = resolve(PACKAGES, [KERNEL_METAPACKAGE], follow=_is_building_material)
    temporary = remembered.with_suffix(".new")
    temporary.write_text(json.dumps({"key": key, "packages": [asdict(package) for package in packages]}))
    temporary.rename(remembered)
    return packages


def _is_building_material(name: str) -> bool:
    return name.startswith(("lib", "zlib", "linux-image-"))


def _build(work: Path, files: list[Path], target: Path, progress: Progress) -> None:
    unpacked = work / "unpacked"
    progress("unpacking")
    unpack(files, unpacked)
    progress("putting the guest's files together")
    root = root_tree.root(unpacked)
    initramfs = cpio.archive(root_tree.initramfs(unpacked))
    progress("writing the disk")
    raw = disk.make(unpacked, work, initramfs, root)
    finished = work / "finished.qcow2"
    disk.to_qcow2(raw, finished)
    cache.publish(finished, target)


def _forget_old(images: Path, packages: list[Package]) -> None:
    """Remove downloads that no image will be made from again, and all but the newest few images."""
    wanted = {package.file_name for package in packages}
    for path in (images / "packages").glob("*.deb"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)
    cache.forget_old(images, "tiny")
