"""What a backup is made of, in the container of its owner's account:

    volume_<volume id>/backup_<backup id>/00001, 00002, ...   data of the volume, compressed with zlib
    volume_<volume id>/backup_<backup id>/sha256file          32 bytes for each block of the volume, in order
    volume_<volume id>/backup_<backup id>/metadata            JSON, `Manifest`; written last: without it there is none

A volume is looked at in blocks of 1 MiB.  A full backup holds the blocks that are not all zeros; an incremental one
those whose hash is not its parent's.  Objects are runs of such blocks of up to 32 MiB, each with its own SHA-256, so
that damage is found before it is written to a volume.

The objects' owner may write to them as he likes, and who reads them has rights on everybody's: so what is read is
checked (`check`) and limited, a name in it leads nowhere but to the same container, and none makes us hold more than
an object of ours would.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

BLOCK_BYTES = 1024**2
OBJECT_BYTES = 32 * BLOCK_BYTES
HASH_BYTES = 32
VERSION = "1.0"
MAX_VOLUME_BYTES = 64 * 1024**4
MAX_MANIFEST_BYTES = 32 * 1024**2
MAX_HASHES_BYTES = 256 * 1024**2  # of a volume of 8 TiB
MAX_PACKED_BYTES = OBJECT_BYTES + OBJECT_BYTES // 64  # what does not compress grows a little
MAX_PARENTS = 10_000
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_PREFIX = re.compile(f"volume_{_UUID}/backup_{_UUID}/")
_NAME = re.compile("[0-9]{5,8}")


class Extent(msgspec.Struct, frozen=True):
    """A run of blocks: in the object `name`, or all zeros (name empty).  `sha256` is of the data uncompressed."""

    offset: int
    length: int
    name: str = ""
    sha256: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A backup, whole: with its parents' extents, oldest first, it is the volume."""

    version: str = VERSION
    backup_id: str
    volume_id: str
    size_bytes: int
    parent: str | None = None  # the prefix of the parent's objects, in the same container
    compression: str = "zlib"
    extents: list[Extent] = []
    stored_bytes: int = 0


def check(manifest: Manifest, where: str) -> str | None:
    """What is wrong with a manifest that was found below `where`; None: nothing."""
    if prefix(manifest.volume_id, manifest.backup_id) != where:
        return "it is another backup's"
    if manifest.parent is not None and (not _PREFIX.fullmatch(manifest.parent) or manifest.parent == where):
        return "its parent is none of cinder's"
    if not 0 < manifest.size_bytes <= MAX_VOLUME_BYTES:
        return f"a volume has no {manifest.size_bytes} bytes"
    for extent in manifest.extents:
        if extent.name and (not _NAME.fullmatch(extent.name) or extent.length > OBJECT_BYTES + BLOCK_BYTES):
            return "it names an object that is none of its own"
        if not 0 <= extent.offset < manifest.size_bytes or extent.length <= 0:
            return "a part of it lies beyond the volume"
    return None


def prefix(volume_id: str, backup_id: str) -> str:
    """What the names of a backup's objects begin with."""
    return f"volume_{volume_id}/backup_{backup_id}/"


def zero_hash(length: int = BLOCK_BYTES) -> bytes:
    """The hash of a block of zeros."""
    return hashlib.sha256(bytes(length)).digest()


def blocks(size_bytes: int) -> int:
    """How many blocks a volume has; its last may be shorter."""
    return -(-size_bytes // BLOCK_BYTES)
