"""Guest images that Cloudseed builds itself: `tiny` and `debian`.

Why it exists: the demo, the tests and the benchmarks need a guest that boots in seconds without hardware
virtualization, needs no download from a third party and behaves as a cloud's guest should.  It is put
together from the Debian packages that the machine's own apt trusts, unpacked and never installed.

`debian` is a whole Debian with cloud-init, for trying what real guests do: installed by debootstrap and apt into a
directory, behind a change of root, and nothing of it on the machine itself.

Read first: `tiny.py` (what is in the image), `cache.py`, `debian.py`, then by need: `packages.py` (from apt to unpacked
files), `root_tree.py` (the guest's root file system), `kernel_modules.py`, `elf.py`, `cpio.py` (its parts),
`disk.py` (partitions, boot loader, file systems).  The guest's own scripts are in `tiny_root/` and
`tiny_initramfs/`, at the paths where the guest has them.
"""

from __future__ import annotations

from cloudseed.guest_images.cache import CachedImage, list_cached
from cloudseed.guest_images.debian import build_debian
from cloudseed.guest_images.errors import BuildError
from cloudseed.guest_images.tiny import build_tiny, build_tiny_async

__all__ = ["BuildError", "CachedImage", "build_debian", "build_tiny", "build_tiny_async", "list_cached"]
