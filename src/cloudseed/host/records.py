"""What the host process can be asked, and what it answers: the wire records.

One frame is four bytes of length (big endian) and that many bytes of msgpack.  A caller sends `Request`
frames and gets one `Reply` for each, matched by `id`, in any order; after `Watch`, replies with an `event`
come too.  Every command is safe to send twice: it states the wish, the host process finds what is already so.

Ids (`server_id`, `network_id`, `port_id`, ...) are UUIDs in their canonical form of 36 characters.  Paths are
computed from ids by `paths.py`, never taken from a caller, except where a field says so.  Sizes are bytes
unless the name says MiB or GiB.  Wrong records are refused with `HostError("invalid", ...)`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_FRAME_BYTES = 32 * 1024 * 1024


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the values inside commands and answers: frozen, and an unknown field is an error."""


# ---- networks


class HostRoute(Record, frozen=True, kw_only=True):
    """A static route that DHCP hands to guests (option 121)."""

    destination: str  # CIDR
    nexthop: str  # address


class SubnetWish(Record, frozen=True, kw_only=True):
    """One subnet of a network, as DHCP must present it."""

    subnet_id: str
    cidr: str
    gateway_ip: str | None = None
    dns_nameservers: list[str] = []
    host_routes: list[HostRoute] = []
    enable_dhcp: bool = True


class FixedIp(Record, frozen=True, kw_only=True):
    """An address of a port on one subnet."""

    subnet_id: str
    ip_address: str


class AddressPair(Record, frozen=True, kw_only=True):
    """Another source (address or CIDR, and MAC; the port's own MAC when null) that a port may send from."""

    ip_address: str
    mac_address: str | None = None


class RuleWish(Record, frozen=True, kw_only=True):
    """One security group rule, resolved: remote groups are already lists of addresses.

    `protocol` is null (any), a name (tcp, udp, icmp, icmpv6, ...) or a number as text.  For ICMP the type and
    code are in `port_range_min` and `port_range_max`, as in neutron's API.  `remote_cidrs` null means any
    address; an empty list means no address at all (a remote group without members).
    """

    direction: Literal["ingress", "egress"]
    ethertype: Literal["IPv4", "IPv6"] = "IPv4"
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_cidrs: list[str] | None = None


class PortWish(Record, frozen=True, kw_only=True):
    """One port of a network.  Every port is known to DHCP; one that is `local` also gets a tap and its rules.

    `admin_state_up` false keeps the tap but passes no frame.  Without `port_security_enabled` the port has
    neither anti-spoofing nor rules.  `device_id` is informational.
    """

    port_id: str
    mac_address: str
    fixed_ips: list[FixedIp] = []
    hostname: str | None = None
    device_id: str = ""
    local: bool = False
    admin_state_up: bool = True
    port_security_enabled: bool = True
    allowed_address_pairs: list[AddressPair] = []
    rules: list[RuleWish] = []


class DhcpPort(Record, frozen=True, kw_only=True):
    """The address under which DHCP, DNS and metadata answer in a network."""

    port_id: str
    mac_address: str
    fixed_ips: list[FixedIp]


class NetworkWish(Record, frozen=True, kw_only=True):
    """All that one network needs on this host: a namespace with a bridge, taps, DHCP and a firewall."""

    network_id: str
    mtu: int = 1500
    subnets: list[SubnetWish] = []
    dhcp_port: DhcpPort | None = None  # null: no DHCP here
    ports: list[PortWish] = []
    dns_domain: str = "openstacklocal"
    dhcp_lease_s: int = 86400


class PortStatus(Record, frozen=True, kw_only=True):
    """What became of one local port: `up` when its tap is plugged, ruled and allowed to pass frames.

    It does not wait for the guest: a tap without a running machine is up.  `reason` says why not.
    """

    port_id: str
    up: bool
    reason: str = ""


class NetworkStatus(Record, frozen=True, kw_only=True):
    """What became of one network; `error` is empty, or what failed (its ports are then not up).

    `changed` is false when everything was already as wished.
    """

    network_id: str
    changed: bool
    error: str = ""


class ApplyResult(Record, frozen=True, kw_only=True):
    """The outcome of `ApplyNetworks`: a status for each local port and each network, and what was removed."""

    ports: list[PortStatus]
    networks: list[NetworkStatus]
    removed_namespaces: list[str] = []


# ---- machines


class DiskSpec(Record, frozen=True, kw_only=True):
    """A disk of a machine; the order in `MachineSpec.disks` is the order in which the guest sees them.

    `kind` says where its bytes are: `overlay` is `machines/<server>/<name>.qcow2` made by `CreateDisk`;
    `config_drive` is `machines/<server>/config.iso` (read-only cdrom) made by `WriteConfigDrive`; `file` is
    `path`, which must lie in `<state>/volumes/`; `nbd` is an export `name` on the unix socket `path` in
    `<state>/volumes/`.  `serial` is what a guest sees as the disk's serial number.
    """

    name: str
    kind: Literal["overlay", "config_drive", "file", "nbd"] = "overlay"
    format: Literal["qcow2", "raw"] = "qcow2"
    bus: Literal["virtio", "scsi", "ide", "sata"] = "virtio"
    path: str | None = None
    serial: str = ""
    read_only: bool = False
    boot_index: int | None = None


class NicSpec(Record, frozen=True, kw_only=True):
    """A network card: the tap of `port_id` in the namespace of `network_id` must have been applied before."""

    port_id: str
    network_id: str
    mac_address: str
    model: Literal["virtio", "e1000", "rtl8139"] = "virtio"
    mtu: int = 1500


class MachineSpec(Record, frozen=True, kw_only=True):
    """One machine, whole.  `accel` null lets the probe decide; `cpu_model` null takes the best for it."""

    server_id: str
    name: str
    vcpus: int
    memory_mib: int
    disks: list[DiskSpec] = []
    nics: list[NicSpec] = []
    machine_type: Literal["pc", "q35"] = "pc"
    firmware: Literal["bios", "uefi"] = "bios"
    accel: Literal["kvm", "tcg"] | None = None
    cpu_model: str | None = None
    vga: Literal["std", "virtio", "none"] = "std"


class MachineInfo(Record, frozen=True, kw_only=True):
    """A machine that this host has files or a process of.  `started_at` is seconds since the epoch."""

    server_id: str
    running: bool
    pid: int | None = None
    started_at: float | None = None
    cpu_seconds: float = 0.0
    rss_bytes: int = 0


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


class HostFacts(Record, frozen=True, kw_only=True):
    """What this host has.  `memory_mib` total and available; disk of the state directory, in GiB."""

    hostname: str
    kernel: str
    architecture: str
    cpus: int
    cpu_model: str
    memory_mib: int
    memory_available_mib: int
    disk_total_gib: float
    disk_free_gib: float
    qemu_version: str | None  # null: qemu is not installed
    accel: Literal["kvm", "tcg"]
    accel_reason: str
    boot_id: str
    name: str
    problems: list[str] = []  # what is missing to run machines and networks, each with its remedy


class InventoryReport(Record, frozen=True, kw_only=True):
    """All that exists on this host and carries our name, read from the system and not from a wish."""

    namespaces: list[str]
    networks: dict[str, str]  # namespace -> network id, as far as known
    taps: dict[str, list[str]]  # namespace -> tap names
    dnsmasq_pids: dict[str, int]  # network id -> pid
    machine_pids: dict[str, int]  # server id -> pid
    machines: list[str]  # server ids that have a directory
    images: list[str]
    files: list[str]  # every file below machines/, images/ and dhcp/, relative to the state directory
    strays: list[str] = []  # processes of ours that no spec file explains: "pid command"


# ---- commands


class Command(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True, kw_only=True):
    """Base of everything that can be asked; the class name travels as `type`."""


class GetFacts(Command, frozen=True, kw_only=True):
    """-> HostFacts"""


class GetInventory(Command, frozen=True, kw_only=True):
    """-> InventoryReport"""


class Purge(Command, frozen=True, kw_only=True):
    """Remove every machine, namespace, process and file that carries our name. -> None"""


class ApplyNetworks(Command, frozen=True, kw_only=True):
    """Make these networks so; with `full`, our other namespaces are removed. -> ApplyResult"""

    networks: list[NetworkWish]
    full: bool


class EnsureMachine(Command, frozen=True, kw_only=True):
    """Start the machine unless it runs; its disks and taps must exist. -> MachineInfo"""

    spec: MachineSpec


class StopMachine(Command, frozen=True, kw_only=True):
    """Soft: press the ACPI power button and return at once.  Hard: end the process and wait for it. -> None

    A machine that is not running is already stopped.
    """

    server_id: str
    hard: bool = False


class RemoveMachine(Command, frozen=True, kw_only=True):
    """End the process and remove the machine's directory; nothing there is fine. -> None"""

    server_id: str


class ListMachines(Command, frozen=True, kw_only=True):
    """-> list[MachineInfo]"""


class AttachInterface(Command, frozen=True, kw_only=True):
    """Plug a card into a running machine and its spec; already plugged is fine. -> None"""

    server_id: str
    nic: NicSpec


class DetachInterface(Command, frozen=True, kw_only=True):
    """Unplug the card of `port_id`; returns when the guest has let go.  Not plugged is fine. -> None"""

    server_id: str
    port_id: str


class AttachDisk(Command, frozen=True, kw_only=True):
    """Plug a disk into a running machine and its spec; already plugged is fine. -> None"""

    server_id: str
    disk: DiskSpec


class DetachDisk(Command, frozen=True, kw_only=True):
    """Unplug a disk by name; returns when the guest has let go.  Not plugged is fine. -> None"""

    server_id: str
    name: str


class CreateDisk(Command, frozen=True, kw_only=True):
    """Make `machines/<server>/<name>.qcow2`; one that exists with the same backing is kept. -> DiskInfo

    `size_bytes` may be 0 with a backing image: the image's own size.  A size below the image's is invalid.
    """

    server_id: str
    name: str
    size_bytes: int
    backing: str | None = None  # key of an image in the cache
    backing_format: Literal["qcow2", "raw"] | None = None


class ResizeDisk(Command, frozen=True, kw_only=True):
    """Grow a disk (never shrinks); a running machine sees the new size. -> DiskInfo"""

    server_id: str
    name: str
    size_bytes: int


class RemoveDisk(Command, frozen=True, kw_only=True):
    """Remove a disk that no running machine uses; nothing there is fine. -> None"""

    server_id: str
    name: str


class GetDisk(Command, frozen=True, kw_only=True):
    """-> DiskInfo"""

    server_id: str
    name: str


class WriteConfigDrive(Command, frozen=True, kw_only=True):
    """Write `machines/<server>/config.iso` (ISO 9660 with Joliet and Rock Ridge, label config-2). -> None

    Keys of `files` are relative paths such as `openstack/latest/meta_data.json`.
    """

    server_id: str
    files: dict[str, bytes]


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


class Watch(Command, frozen=True, kw_only=True):
    """From now on this connection also receives `Event` frames. -> None"""


AnyCommand = (
    GetFacts | GetInventory | Purge | ApplyNetworks
    | EnsureMachine | StopMachine | RemoveMachine | ListMachines
    | AttachInterface | DetachInterface | AttachDisk | DetachDisk
    | CreateDisk | ResizeDisk | RemoveDisk | GetDisk | WriteConfigDrive
    | ImportImage | ListImages | RemoveImage | Watch
)  # fmt: skip


# ---- events and frames


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
