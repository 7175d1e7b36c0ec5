"""What the host process can be asked, and what it answers: the wire records.

One frame is four bytes of length (big endian) and that many bytes of msgpack.  A caller sends `Request`
frames and gets one `Reply` for each, matched by `id`, in any order; after `Watch`, replies with an `event`
come too.  Every command is safe to send twice: it states the wish, the host process finds what is already so.

Ids (`server_id`, `network_id`, `volume_id`, ...) are UUIDs in their canonical form of 36 characters.  Paths are
computed from ids by `paths.py`, never taken from a caller, except where a field says so.  Sizes are bytes
unless the name says MiB or GiB.  Wrong records are refused with `HostError("invalid", ...)`.
"""

from __future__ import annotations

import msgspec

from cloudseed.host.records.base import (
    Command,
    Record,
)
from cloudseed.host.records.consoles import OpenConsole
from cloudseed.host.records.disks import (
    CopyDisk,
    CopyStatus,
    CreateDisk,
    DiskInfo,
    DiskSpec,
    DropCopy,
    DropKeptDisks,
    GetDisk,
    ImageInfo,
    ImportImage,
    KeepDisks,
    ListImages,
    RemoveDisk,
    RemoveImage,
    ResizeDisk,
    RestoreDisks,
)
from cloudseed.host.records.facts import (
    GetFacts,
    GetInventory,
    HostFacts,
    InventoryReport,
    Purge,
    Watch,
)
from cloudseed.host.records.machines import (
    AttachDisk,
    AttachInterface,
    ClaimMachine,
    DetachDisk,
    DetachInterface,
    EnsureMachine,
    ListMachines,
    MachineInfo,
    MachineSpec,
    NicSpec,
    PauseMachine,
    RemoveMachine,
    StopMachine,
    SuspendMachine,
    WriteConfigDrive,
)
from cloudseed.host.records.moves import (
    Door,
    GetSending,
    HurryMachine,
    ReceiveDisks,
    ReceiveMachine,
    RunMachine,
    SendDisks,
    SendMachine,
    SendStatus,
    SettleDisks,
    TakeBack,
)
from cloudseed.host.records.networks import (
    AddressPair,
    BandwidthWish,
    DhcpOption,
    DhcpPort,
    ExternalWish,
    FixedIp,
    HostRoute,
    NetworkStatus,
    NetworkWish,
    PacketRateWish,
    PortStatus,
    PortWish,
    QosWish,
    RemoteEnd,
    RuleWish,
    SubnetWish,
)
from cloudseed.host.records.routers import (
    Advertisement,
    FloatingWish,
    ForwardingWish,
    RouterLeg,
    RouterStatus,
    RouterWish,
)
from cloudseed.host.records.volumes import (
    ByteSource,
    CreateSnapshot,
    CreateVolume,
    DeleteSnapshot,
    DeleteVolume,
    ExportInfo,
    ExportVolume,
    ExtendVolume,
    ListVolumes,
    PackVolume,
    ReadVolume,
    RemovePack,
    RevertVolume,
    SnapshotInfo,
    UnexportVolume,
    VolumeInfo,
    VolumePiece,
    VolumesReport,
    VolumeWay,
    WriteVolume,
)
from cloudseed.host.records.wiring import ApplyNetworks, ApplyResult

__all__ = [
    "MAX_FRAME_BYTES",
    "AddressPair",
    "Advertisement",
    "AnyCommand",
    "AnyEvent",
    "ApplyNetworks",
    "ApplyResult",
    "AttachDisk",
    "AttachInterface",
    "BandwidthWish",
    "ByteSource",
    "ClaimMachine",
    "Command",
    "CopyDisk",
    "CopyStatus",
    "CreateDisk",
    "CreateSnapshot",
    "CreateVolume",
    "DeleteSnapshot",
    "DeleteVolume",
    "DetachDisk",
    "DetachInterface",
    "DhcpOption",
    "DhcpPort",
    "DiskInfo",
    "DiskSpec",
    "Door",
    "DropCopy",
    "DropKeptDisks",
    "EnsureMachine",
    "ExportInfo",
    "ExportVolume",
    "ExtendVolume",
    "ExternalWish",
    "Failure",
    "FixedIp",
    "FloatingWish",
    "ForwardingWish",
    "GetDisk",
    "GetFacts",
    "GetInventory",
    "GetSending",
    "HostFacts",
    "HostRoute",
    "HurryMachine",
    "ImageInfo",
    "ImportImage",
    "InventoryReport",
    "KeepDisks",
    "ListImages",
    "ListMachines",
    "ListVolumes",
    "MachineExited",
    "MachineInfo",
    "MachineSpec",
    "NetworkStatus",
    "NetworkWish",
    "NicSpec",
    "OpenConsole",
    "PackVolume",
    "PacketRateWish",
    "PauseMachine",
    "PortStatus",
    "PortWish",
    "Purge",
    "QosWish",
    "ReadVolume",
    "ReceiveDisks",
    "ReceiveMachine",
    "Record",
    "RemoteEnd",
    "RemoveDisk",
    "RemoveImage",
    "RemoveMachine",
    "RemovePack",
    "Reply",
    "Request",
    "ResizeDisk",
    "RestoreDisks",
    "RevertVolume",
    "RouterLeg",
    "RouterStatus",
    "RouterWish",
    "RuleWish",
    "RunMachine",
    "SendDisks",
    "SendMachine",
    "SendStatus",
    "SettleDisks",
    "SnapshotInfo",
    "StopMachine",
    "SubnetWish",
    "SuspendMachine",
    "TakeBack",
    "UnexportVolume",
    "VolumeInfo",
    "VolumePiece",
    "VolumeWay",
    "VolumesReport",
    "Watch",
    "WriteConfigDrive",
    "WriteVolume",
]

MAX_FRAME_BYTES = 32 * 1024 * 1024

AnyCommand = (
    GetFacts | GetInventory | Purge | ApplyNetworks
    | OpenConsole
    | EnsureMachine | StopMachine | PauseMachine | SuspendMachine | RemoveMachine | ListMachines | ClaimMachine
    | AttachInterface | DetachInterface | AttachDisk | DetachDisk
    | KeepDisks | RestoreDisks | DropKeptDisks
    | CreateDisk | ResizeDisk | RemoveDisk | GetDisk | CopyDisk | DropCopy | WriteConfigDrive
    | ImportImage | ListImages | RemoveImage | Watch
    | ReceiveDisks | SettleDisks | ReceiveMachine | SendDisks | SendMachine | GetSending | HurryMachine | TakeBack
    | RunMachine
    | CreateVolume | DeleteVolume | ExtendVolume | ListVolumes | ExportVolume | UnexportVolume
    | CreateSnapshot | DeleteSnapshot | RevertVolume | ReadVolume | WriteVolume | PackVolume | RemovePack
)  # fmt: skip


class MachineExited(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A machine's process ended.

    `reason` is QEMU's own word where it gave one (`guest-shutdown`, `guest-panic`, `host-signal`,
    `host-qmp-quit`), `stopped` or `removed` when this process ended it, else `crashed`.
    """

    server_id: str
    reason: str


AnyEvent = MachineExited


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One command from a caller; `id` is the caller's, above zero."""

    id: int
    command: AnyCommand


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A HostError on the wire."""

    code: str
    message: str


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to the request of that `id`, or, with id 0, an event."""

    id: int
    result: msgspec.Raw = msgspec.Raw(b"\xc0")  # msgpack's nil
    error: Failure | None = None
    event: AnyEvent | None = None
