"""What a backup is made of, in the container of its owner's account:

    volume_<volume id>/backup_<backup id>/00001, 00002, ...   data of the volume, compressed with zlib
    volume_<volume id>/backup_<backup id>/sha256file          32 bytes for each block of the volume, in order
    volume_<volume id>/backup_<backup id>/metadata            JSON, `Manifest`; written last: without it there is none

A volume is looked at in blocks of 1 MiB.  A full backup holds the blocks that are not all zeros; an incremental one
those whose hash is not its parent's.  Objects are runs of such blocks of up to 32 MiB, each with its own SHA-256, so
that damage is found before it is written to a volume.
"""

from __future__ import annotations

import hashlib

import msgspec

BLOCK_BYTES = 1024**2
OBJECT_BYTES = 32 * BLOCK_BYTES
HASH_BYTES = 32
VERSION = "1.0"


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


def prefix(volume_id: str, backup_id: str) -> str:
    """What the names of a backup's objects begin with."""
    return f"volume_{volume_id}/backup_{backup_id}/"


def zero_hash(length: int = BLOCK_BYTES) -> bytes:
    """The hash of a block of zeros."""
    return hashlib.sha256(bytes(length)).digest()


def blocks(size_bytes: int) -> int:
    """How many blocks a volume has; its last may be shorter."""
    return -(-size_bytes // BLOCK_BYTES)
