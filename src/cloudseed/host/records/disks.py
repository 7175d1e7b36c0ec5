"""Disks of machines, and the cache of images under them: records and commands."""

from __future__ import annotations

from typing import Literal

from cloudseed.host.records.base import Command, Record
from cloudseed.host.records.volumes import VolumeWay


class DiskSpec(Record, frozen=True, kw_only=True):
    """A disk of a machine; the order in `MachineSpec.disks` is the order in which the guest sees them.

    `kind` says where its bytes are: `overlay` is `machines/<server>/<name>.qcow2` made by `CreateDisk`;
    `config_drive` is `machines/<server>/config.iso` (read-only cdrom) made by `WriteConfigDrive`; `volume` is the
    export of `volume_id` for `attachment_id`, made by `ExportVolume`.  `format` is the overlay's: a volume is always
    raw bytes; one of another host is reached by `way`.  `serial` is what a guest sees as the disk's serial number.
    """

    name: str
    kind: Literal["overlay", "config_drive", "volume"] = "overlay"
    format: Literal["qcow2", "raw"] = "qcow2"
    bus: Literal["virtio", "scsi", "ide", "sata", "usb"] = "virtio"
    volume_id: str = ""
    attachment_id: str = ""
    way: VolumeWay | None = None
    serial: str = ""
    read_only: bool = False
    cdrom: bool = False  # the guest sees a CD drive; then `bus` is ide, sata or scsi
    boot_index: int | None = None


class DiskInfo(Record, frozen=True, kw_only=True):
    """What qemu-img says of a disk: `size_bytes` as a guest sees it, `allocated_bytes` on this host."""

    name: str
    format: str
    size_bytes: int
    allocated_bytes: int
    backing: str | None = None


class ImageInfo(Record, frozen=True, kw_only=True):
    """A base image of the cache.  `size_bytes` is its virtual size, `file_bytes` its length on the host."""

    key: str
    format: Literal["qcow2", "raw"]
    size_bytes: int
    file_bytes: int


class CreateDisk(Command, frozen=True, kw_only=True):
    """Make `machines/<server>/<name>.qcow2`; one that exists with the same backing is kept. -> DiskInfo

    `size_bytes` may be 0 with a backing image: the image's own size.  A size below the image's is invalid.
    `owner` is kept with a machine that has none yet: computes that share a host know their own by it.
    """

    server_id: str
    name: str
    size_bytes: int
    backing: str | None = None  # key of an image in the cache
    backing_format: Literal["qcow2", "raw"] | None = None
    owner: str = ""


class ResizeDisk(Command, frozen=True, kw_only=True):
    """Grow a disk (never shrinks); a running machine sees the new size. -> DiskInfo

    A volume has been grown by `ExtendVolume` before: this tells the machine.
    """

    server_id: str
    name: str
    size_bytes: int


class KeepDisks(Command, frozen=True, kw_only=True):
    """Copy the overlays of a machine that is off, to have them back; kept already is fine. -> None"""

    server_id: str


class RestoreDisks(Command, frozen=True, kw_only=True):
    """Give a machine that is off its kept overlays back, and no others; nothing kept is fine. -> None"""

    server_id: str


class DropKeptDisks(Command, frozen=True, kw_only=True):
    """Remove the kept overlays; nothing kept is fine. -> None"""

    server_id: str


class RemoveDisk(Command, frozen=True, kw_only=True):
    """Remove a disk that no running machine uses; nothing there is fine. -> None"""

    server_id: str
    name: str


class CopyStatus(Record, frozen=True, kw_only=True):
    """How far a copy is.  `done`: `outgoing/<key>` is whole."""

    done: bool
    copied_bytes: int
    total_bytes: int


class CopyDisk(Command, frozen=True, kw_only=True):
    """Copy a disk as it is now, flat, as qcow2 into `outgoing/<key>`. -> CopyStatus

    Answers when the copy has begun, which fixes the instant that it shows; asked again, it tells how far it is, or
    why it failed.  `key` is a UUID.
    """

    server_id: str
    name: str
    key: str


class DropCopy(Command, frozen=True, kw_only=True):
    """Give a copy up and remove its file; nothing there is fine. -> None"""

    server_id: str
    key: str


class GetDisk(Command, frozen=True, kw_only=True):
    """-> DiskInfo"""

    server_id: str
    name: str


class ImportImage(Command, frozen=True, kw_only=True):
    """Check the file `<state>/images/incoming/<source>` and move it into the cache as `key`. -> ImageInfo

    `key` is up to 128 letters, digits, `.`, `_`, `-`.  An image of that key that is already there wins, and
    the source is removed.  Refused as `invalid`: a file that is not of the stated format, or one that refers
    to other files (backing or data file, CVE-2024-32498).
    """

    key: str
    source: str
    format: Literal["qcow2", "raw"]


class ListImages(Command, frozen=True, kw_only=True):
    """-> list[ImageInfo]"""


class RemoveImage(Command, frozen=True, kw_only=True):
    """Remove a base image; refused as `conflict` while a disk stands on it. -> None"""

    key: str
