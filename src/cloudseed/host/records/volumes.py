"""Volumes: records and commands.

A volume is a file of bytes that this host keeps and exports to machines; a snapshot is another such file, a copy
of one moment.  Both are named by their ids alone.  A volume is *exported* once for each attachment: a machine's
disk of kind `volume` names volume and attachment, and its QEMU reaches that export only.
"""

from __future__ import annotations

from typing import Literal

from cloudseed.host.records.base import Command, Record


class VolumeWay(Record, frozen=True, kw_only=True):
    """How another host reaches an export: through the gate there, with a ticket that is good for that host alone."""

    address: str
    port: int
    ticket: str


class ExportInfo(Record, frozen=True, kw_only=True):
    """One attachment's way to its volume.  `running`: the storage daemon behind it is there now.  `peer`: the address
    of the host whose attachment it is, if it is another's; `way` is told to those who ask for the export.
    """

    attachment_id: str
    read_only: bool
    running: bool
    path: str  # of the NBD socket, which only the host process may name
    peer: str = ""
    way: VolumeWay | None = None


class VolumeInfo(Record, frozen=True, kw_only=True):
    """A volume: `size_bytes` as a guest sees it, `allocated_bytes` on this host."""

    volume_id: str
    size_bytes: int
    allocated_bytes: int
    exports: list[ExportInfo] = []


class SnapshotInfo(Record, frozen=True, kw_only=True):
    """A snapshot; it stands on its own, whatever becomes of its volume."""

    snapshot_id: str
    size_bytes: int
    allocated_bytes: int


class VolumesReport(Record, frozen=True, kw_only=True):
    """All volumes of this host, and the file system that they lie on."""

    volumes: list[VolumeInfo]
    snapshots: list[SnapshotInfo]
    packs: list[str]
    total_bytes: int
    free_bytes: int


class VolumePiece(Record, frozen=True, kw_only=True):
    """Bytes from `offset` on: either `data`, or `zero_bytes` of zeros that were never written; neither at the end."""

    offset: int
    data: bytes = b""
    zero_bytes: int = 0


class ByteSource(Record, frozen=True, kw_only=True):
    """Where bytes come from: a volume or snapshot by id, a base image of the cache by key, a pack by its id."""

    kind: Literal["volume", "snapshot", "image", "pack"]
    id: str


class CreateVolume(Command, frozen=True, kw_only=True):
    """Make a volume: of zeros, or a copy of `source` with zeros up to `size_bytes`. -> VolumeInfo

    One that exists is kept as it is.  A size below the source's is invalid.  A volume that is exported is copied
    as it is at one moment.
    """

    volume_id: str
    size_bytes: int
    source: ByteSource | None = None


class DeleteVolume(Command, frozen=True, kw_only=True):
    """Remove a volume; `conflict` while it is exported; nothing there is fine. -> None"""

    volume_id: str


class ExtendVolume(Command, frozen=True, kw_only=True):
    """Grow a volume (never shrinks), exported or not; for a running machine follow with ResizeDisk. -> VolumeInfo"""

    volume_id: str
    size_bytes: int


class CreateSnapshot(Command, frozen=True, kw_only=True):
    """Copy a volume as it is at one moment, exported or not; a snapshot that exists is kept. -> SnapshotInfo"""

    snapshot_id: str
    volume_id: str


class DeleteSnapshot(Command, frozen=True, kw_only=True):
    """Remove a snapshot; nothing there is fine. -> None"""

    snapshot_id: str


class RevertVolume(Command, frozen=True, kw_only=True):
    """Give a volume a snapshot's bytes and keep its size; `conflict` while it is exported. -> VolumeInfo"""

    volume_id: str
    snapshot_id: str


class ExportVolume(Command, frozen=True, kw_only=True):
    """Export a volume for an attachment, from now on and after each reboot. -> ExportInfo

    `conflict` when the attachment has an export of the other mode.  `peer`: the address of the host whose machine
    gets it, when that is another than this.
    """

    volume_id: str
    attachment_id: str
    read_only: bool = False
    peer: str = ""


class UnexportVolume(Command, frozen=True, kw_only=True):
    """End an attachment's export, even under a machine that still uses it; none there is fine. -> None"""

    volume_id: str
    attachment_id: str


class ListVolumes(Command, frozen=True, kw_only=True):
    """-> VolumesReport"""


class ReadVolume(Command, frozen=True, kw_only=True):
    """Read up to `length` bytes (16 MiB at most); `conflict` for a volume that is exported for writing: take a
    snapshot and read that. -> VolumePiece"""

    source: ByteSource
    offset: int
    length: int


class WriteVolume(Command, frozen=True, kw_only=True):
    """Write `data`, or zeros, at `offset`; `conflict` while the volume is exported. -> None

    `sync`: return when all that was written is on the disk.
    """

    volume_id: str
    offset: int
    data: bytes = b""
    zero_bytes: int = 0
    sync: bool = False


class PackVolume(Command, frozen=True, kw_only=True):
    """Make a qcow2 file of a volume or snapshot, to be read by ReadVolume (kind `pack`); one there is kept. -> int

    Returns the file's length.  `conflict` while the volume is exported for writing.
    """

    pack_id: str
    source: ByteSource


class RemovePack(Command, frozen=True, kw_only=True):
    """Remove what PackVolume made; nothing there is fine. -> None"""

    pack_id: str
