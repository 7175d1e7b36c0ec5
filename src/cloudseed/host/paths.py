"""Where things are: every path and name of the host process, computed from ids and nothing else.

Both sides use it: the host process to make the files, the control process to connect to a machine's sockets
and to read its console.  Nothing here touches the disk.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from cloudseed.host.errors import HostError

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_DISK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
_CLOUD_NAME = re.compile(r"[a-z][a-z0-9]{0,7}\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")


def check_uuid(value: str, what: str) -> str:
    """The id itself, in canonical form; `invalid` when it is no UUID of 36 characters."""
    try:
        if str(uuid.UUID(value)) == value:
            return value
    except (ValueError, AttributeError):
        pass
    raise HostError("invalid", f"{what} must be a UUID in lower case with dashes, not {value[:64]!r}")


def check_key(value: str, what: str) -> str:
    """An image key: letters, digits, dot, underscore, dash; no leading dot, at most 128."""
    if _KEY.match(value) and not value.endswith(".info") and value != "incoming":
        return value
    allowed = "1 to 128 letters, digits, '.', '_' or '-', not ending in .info"
    raise HostError("invalid", f"{what} must be {allowed}, not {value[:64]!r}")


def check_disk_name(value: str) -> str:
    """A disk's name, which becomes a file name and a QEMU node name."""
    if _DISK_NAME.match(value):
        return value
    raise HostError("invalid", f"a disk name must be 1 to 64 letters, digits, '_' or '-', not {value[:64]!r}")


def check_cloud_name(value: str) -> str:
    """The cloud's short name: it starts every namespace's name, so it is at most 8 characters."""
    if _CLOUD_NAME.match(value):
        return value
    allowed = "1 to 8 lower-case letters and digits"
    raise HostError("invalid", f"the cloud's name must be {allowed}, not {value[:64]!r}")


def check_mac(value: str, what: str) -> str:
    """A MAC address in lower case with colons."""
    if _MAC.match(value):
        return value
    raise HostError("invalid", f"{what} must be a MAC address such as fa:16:3e:00:00:01, not {value[:64]!r}")


def check_ip(value: str, what: str) -> str:
    """An IPv4 or IPv6 address, normalized."""
    try:
        return str(ipaddress.ip_address(_without_zone(value)))
    except ValueError:
        raise HostError("invalid", f"{what} must be an IP address, not {value[:64]!r}") from None


def check_cidr(value: str, what: str) -> str:
    """A network in CIDR notation, normalized; a plain address becomes its /32 or /128."""
    try:
        return str(ipaddress.ip_network(_without_zone(value), strict=False))
    except ValueError:
        raise HostError("invalid", f"{what} must be a CIDR such as 10.0.0.0/24, not {value[:64]!r}") from None


def _without_zone(value: str) -> str:
    """Python takes any text as an IPv6 address's zone, even lines, which would end in nft's and dnsmasq's files."""
    if "%" in value:
        raise ValueError("an address with a zone")
    return value


def namespace_name(cloud: str, network_id: str) -> str:
    """The network namespace of a network: `<cloud>-net-<first 12 hex digits of its id>`."""
    return f"{cloud}-net-{network_id.replace('-', '')[:12]}"


def tap_name(port_id: str) -> str:
    """The tap of a port, named as neutron names it: `tap` and the first 11 characters of the id."""
    return f"tap{port_id[:11]}"


def router_namespace(cloud: str, router_id: str) -> str:
    """The network namespace of a router: `<cloud>-rtr-<first 12 hex digits of its id>`."""
    return f"{cloud}-rtr-{router_id.replace('-', '')[:12]}"


def leg_name(port_id: str) -> str:
    """The end of a router's link that lies in the network's namespace."""
    return f"leg{port_id[:11]}"


def router_link_name(port_id: str, gateway: bool) -> str:
    """The end that lies in the router's namespace, named as neutron names it."""
    return f"{'qg' if gateway else 'qr'}-{port_id[:11]}"


def external_link_name(cloud: str, network_id: str) -> str:
    """The host's own end of an external network: the only link of ours outside our namespaces."""
    return f"{cloud}-x{network_id.replace('-', '')[:5]}"


@dataclass(frozen=True)
class MachinePaths:
    """The files of one machine.  The control process may connect to the sockets and read the console."""

    directory: Path

    @property
    def console_log(self) -> Path:
        """What the guest wrote to its serial port; cut to its latest part when it grows past 1 MiB."""
        return self.directory / "console.log"

    @property
    def qmp_socket(self) -> Path:
        """QMP for the control process (the host process has a monitor of its own)."""
        return self.directory / "qmp.sock"

    @property
    def host_qmp_socket(self) -> Path:
        """QMP for the host process alone."""
        return self.directory / "host.sock"

    @property
    def serial_socket(self) -> Path:
        """The serial port, both ways, one client at a time."""
        return self.directory / "serial.sock"

    @property
    def agent_socket(self) -> Path:
        """The port of the guest's agent, of machines that have one."""
        return self.directory / "agent.sock"

    @property
    def vnc_directory(self) -> Path:
        """The only directory that the machine's own user may write to."""
        return self.directory / "vnc"

    @property
    def vnc_socket(self) -> Path:
        """RFB."""
        return self.vnc_directory / "vnc.sock"

    @property
    def copier_socket(self) -> Path:
        """QMP of the QEMU that copies a disk while the machine is off."""
        return self.directory / "copier.sock"

    @property
    def config_drive(self) -> Path:
        return self.directory / "config.iso"

    @property
    def spec(self) -> Path:
        return self.directory / "spec.json"

    @property
    def nvram(self) -> Path:
        """UEFI's variables; they outlive every stop of the machine."""
        return self.directory / "nvram.fd"

    @property
    def kept(self) -> Path:
        """The disks as they were before a resize; see `kept_disks.py`."""
        return self.directory / "kept"

    @property
    def owner(self) -> Path:
        """The compute that had the machine made, of those that share this host."""
        return self.directory / "owner"

    @property
    def pid(self) -> Path:
        """pid, start time in clock ticks and boot id, so that no other process is taken for it."""
        return self.directory / "pid"

    @property
    def memory(self) -> Path:
        """The memory of a suspended machine, whole."""
        return self.directory / "memory"

    @property
    def memory_new(self) -> Path:
        """It, while it is written."""
        return self.directory / "memory.new"

    @property
    def memory_layout(self) -> Path:
        """What a machine must be like to read it."""
        return self.directory / "memory.json"

    @property
    def qemu_log(self) -> Path:
        """QEMU's standard error of its latest start."""
        return self.directory / "qemu.log"

    @property
    def volumes(self) -> Path:
        """Sockets of the volumes that this machine may reach, which its QEMU gets open as a directory."""
        return self.directory / "volumes"

    def volume_socket(self, attachment_id: str) -> Path:
        """Another name of the socket of the attachment's export."""
        return self.volumes / f"{check_uuid(attachment_id, 'attachment_id')}.sock"

    @property
    def arriving(self) -> Path:
        """Files that come from another host, until they are whole."""
        return self.directory / "arriving"

    def way_socket(self, name: str) -> Path:
        """Where its QEMU finds the way to another host, for a disk or its memory; beside its volumes' sockets."""
        return self.volumes / f"way-{check_disk_name(name)}.sock"

    def disk(self, name: str) -> Path:
        """The overlay disk of that name."""
        return self.directory / f"{check_disk_name(name)}.qcow2"


@dataclass(frozen=True)
class ExporterPaths:
    """The files of one storage daemon.  Only root may pass the volume's directory above."""

    directory: Path

    @property
    def nbd_socket(self) -> Path:
        return self.directory / "nbd.sock"

    @property
    def qmp_socket(self) -> Path:
        return self.directory / "qmp.sock"

    @property
    def pid(self) -> Path:
        return self.directory / "pid"

    @property
    def log(self) -> Path:
        """The daemon's standard error of its latest start."""
        return self.directory / "log"

    @property
    def copy(self) -> Path:
        """Where the daemon writes a copy of its volume."""
        return self.directory / "copy"


@dataclass(frozen=True)
class VolumePaths:
    """The files of one volume."""

    directory: Path

    @property
    def data(self) -> Path:
        """Its bytes.  The volume exists when this does."""
        return self.directory / "data"

    @property
    def exports(self) -> Path:
        """The attachments that it is exported for: {id: read only} as JSON."""
        return self.directory / "exports.json"

    @property
    def peers(self) -> Path:
        """Of those, the attachments of other hosts: see `volume_gate.py`."""
        return self.directory / "peers.json"

    def exporter(self, read_only: bool) -> ExporterPaths:
        """Readers and writers have a daemon each, so that a reader's cannot write whatever becomes of it."""
        return ExporterPaths(self.directory / ("ro" if read_only else "rw"))


@dataclass(frozen=True)
class StatePaths:
    """The state directory, as `--state` names it."""

    root: Path

    @property
    def machines(self) -> Path:
        return self.root / "machines"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def incoming(self) -> Path:
        """Where the control process puts images that are to be imported."""
        return self.images / "incoming"

    @property
    def outgoing(self) -> Path:
        """Copies of disks on their way out, which the control process may read."""
        return self.root / "outgoing"

    def outgoing_copy(self, key: str) -> Path:
        """The copy of that key, a UUID, once it is whole."""
        return self.outgoing / check_uuid(key, "the copy's key")

    @property
    def tls(self) -> Path:
        """Root's alone: this host's certificate and key, and the certificate of the cloud's authority."""
        return self.root / "tls"

    @property
    def dhcp(self) -> Path:
        return self.root / "dhcp"

    @property
    def volumes(self) -> Path:
        """Root's alone: a directory for each volume."""
        return self.root / "volumes"

    @property
    def snapshots(self) -> Path:
        """A file for each snapshot."""
        return self.volumes / "snapshots"

    @property
    def packs(self) -> Path:
        """Volumes as qcow2 files, on their way to be images."""
        return self.volumes / "packs"

    @property
    def metadata_socket(self) -> Path:
        """Where the control process answers guests' questions to 169.254.169.254; see `metadata.py`."""
        return self.root / "control" / "metadata.sock"

    @property
    def cache(self) -> Path:
        """Results of probes."""
        return self.root / "host-cache"

    @property
    def routers(self) -> Path:
        return self.root / "routers"

    def router(self, router_id: str) -> Path:
        """The files of a router's advertisements."""
        return self.routers / check_uuid(router_id, "router_id")

    def machine(self, server_id: str) -> MachinePaths:
        """The files of that server; `invalid` when the id is no UUID."""
        return MachinePaths(self.machines / check_uuid(server_id, "server_id"))

    def volume(self, volume_id: str) -> VolumePaths:
        """The files of that volume; `invalid` when the id is no UUID."""
        return VolumePaths(self.volumes / check_uuid(volume_id, "volume_id"))

    def snapshot(self, snapshot_id: str) -> Path:
        """The bytes of that snapshot."""
        return self.snapshots / check_uuid(snapshot_id, "snapshot_id")

    def pack(self, pack_id: str) -> Path:
        """The qcow2 file of that id."""
        return self.packs / check_uuid(pack_id, "pack_id")

    def image(self, key: str) -> Path:
        """The base image of that key."""
        return self.images / check_key(key, "image key")

    def image_info(self, key: str) -> Path:
        """What is known of it: an ImageInfo as JSON.  Written last, so without it the image is not there."""
        return self.images / (check_key(key, "image key") + ".info")

    def network(self, network_id: str) -> Path:
        """DHCP's files of a network."""
        return self.dhcp / check_uuid(network_id, "network_id")
