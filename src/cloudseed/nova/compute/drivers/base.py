"""What a hypervisor driver must do.  Every method may be called twice; one caller works on a server at a time.

Drivers raise kernel errors: `Unavailable` or `Timeout` (unknown: ask again), `BuildAborted` (this server can be
built nowhere), `HostFailed` (not here).  A machine has only two states, running or not; what the user wants is
not known here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cloudseed.host.records import Door as HostDoor
from cloudseed.nova.compute.consoles import ConsoleAddress, ConsoleKind
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.network_info import Vif
from cloudseed.nova.compute.spec import ServerSpec


class DriverFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the hypervisor has.  `memory_mib` in MiB, `disk_gib` in GiB; `traits` under os-traits' names."""

    hypervisor_type: str
    hypervisor_version: int
    vcpus: int
    memory_mib: int
    disk_gib: int
    boot_id: str  # changes when the host's machines have all ended with the host
    traits: list[str]
    reserved_memory_mib: int = 0
    details: dict[str, Any] = {}  # cpu_info, free disk, machine types, ...
    problems: list[str] = []  # what the host lacks to run machines and networks, each with its remedy
    network_errors: dict[str, str] = {}  # why networks (by id) could not be wired when that was tried last


class CachedImage(msgspec.Struct, frozen=True, kw_only=True):
    """A base image that lies in the host's cache."""

    key: str
    format: str
    size_bytes: int


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that the host knows.  `started_at`: Unix time by the host's clock, null when it does not run.  `start`
    names the start that it runs since; no other start has that name, whatever the clock is set to."""

    server_id: str
    running: bool
    paused: bool = False  # it runs, and its guest stands still
    suspended: bool = False  # it is off, and its memory is kept: the next start goes on
    started_at: float | None = None
    start: str = ""


class MachineExit(msgspec.Struct, frozen=True):
    """A machine ended: `reason` is guest-shutdown, crashed, stopped, ..."""

    server_id: str
    reason: str


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """Where a machine that moves is expected: `ticket` is what its sender must show there, once a connection."""

    address: str
    port: int
    ticket: str


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a live migration is, in bytes."""

    memory_total_bytes: int = 0
    memory_processed_bytes: int = 0
    memory_remaining_bytes: int = 0
    disk_total_bytes: int = 0
    disk_processed_bytes: int = 0
    disk_remaining_bytes: int = 0


class Driver(Protocol):
    """One host's hypervisor."""

    needs_image: bool  # prepare() wants the image in the host's cache
    copy_format: str  # of what `copy_disk` makes, as glance names formats
    waits_for_plug: bool  # start() needs the ports wired before

    async def facts(self) -> DriverFacts:
        """What the host has now."""
        ...

    async def prepare(self, spec: ServerSpec, image: CachedImage | None, config_drive: dict[str, bytes]) -> None:
        """Make the machine's disks."""
        ...

    async def start(self, spec: ServerSpec, vifs: list[Vif]) -> None:
        """Start the machine unless it runs; its disks were prepared."""
        ...

    async def stop(self, server_id: str, *, hard: bool) -> None:
        """Soft: ask the guest, return at once.  Hard: return when it is off.  Off already is fine."""
        ...

    async def resize_disks(self, spec: ServerSpec) -> None:
        """Give a machine that is off the disks of its new flavor, and keep those that it had."""
        ...

    async def restore_disks(self, server_id: str) -> None:
        """Give a machine that is off the disks back that it had before `resize_disks`."""
        ...

    async def drop_kept_disks(self, server_id: str) -> None:
        """Forget the disks that `resize_disks` kept."""
        ...

    async def receive_disks(self, spec: ServerSpec, image: CachedImage | None,
                            config_drive: dict[str, bytes]) -> Door:
        """Make empty disks for a machine that comes from another host while it is off; its sender fills them through
        the door."""
        ...

    async def send_disks(self, spec: ServerSpec, door: Door) -> None:
        """Fill the disks behind the door with those of a machine that is off here, and stays as it is."""
        ...

    async def settle_disks(self, spec: ServerSpec) -> None:
        """The disks have come: close the door, and give them the sizes that `spec` wants."""
        ...

    async def receive_live(self, spec: ServerSpec, vifs: list[Vif], image: CachedImage | None,
                           config_drive: dict[str, bytes]) -> Door:
        """Make a machine that waits for another host's guest; it stands still until `run_here`."""
        ...

    async def send_live(self, spec: ServerSpec, door: Door) -> None:
        """Send the running guest, with its own disks, through the door.  Returns when all of it is there: it stands
        still here then.  When it raises, or is cancelled, `take_back` makes it go on."""
        ...

    async def run_here(self, spec: ServerSpec, *, paused: bool) -> None:
        """Let a guest that has come go on, unless it is `paused`.  Running already is fine."""
        ...

    async def take_back(self, server_id: str, *, paused: bool) -> None:
        """The guest stays here: stop sending, and let it go on.  Only while it has not run elsewhere."""
        ...

    async def hurry(self, server_id: str) -> None:
        """Let a guest that is being sent stand still, so that the rest of it goes at once."""
        ...

    async def progress(self, server_id: str) -> Progress | None:
        """How far a guest is that is being sent; None for one that is not."""
        ...

    async def attach_interface(self, spec: ServerSpec, vif: Vif) -> None:
        """Plug a card into the machine, which runs; its port is wired.  Plugged already is fine."""
        ...

    async def detach_interface(self, server_id: str, port_id: str) -> None:
        """Unplug a card from the machine, which runs; returns when the guest has let go.  Timeout when it has not
        yet: ask again.  Not plugged is fine."""
        ...

    async def remake(self, spec: ServerSpec, image: CachedImage | None, config_drive: dict[str, bytes]) -> None:
        """End the machine and make its own disks anew; its volumes are left alone."""
        ...

    async def prepare_rescue(self, spec: ServerSpec, image: CachedImage | None,
                             config_drive: dict[str, bytes]) -> None:
        """Make the disk that `spec.rescue` wants, anew, for a machine that is off."""
        ...

    async def drop_rescue(self, spec: ServerSpec, config_drive: dict[str, bytes]) -> None:
        """Remove the rescue disk of a machine that is off; none there is fine."""
        ...

    async def pause(self, server_id: str) -> None:
        """Let the guest stand still.  An error when the machine is off."""
        ...

    async def unpause(self, server_id: str) -> None:
        """Let the guest go on.  An error when the machine is off."""
        ...

    async def suspend(self, server_id: str) -> None:
        """End the machine and keep its memory.  An error when it is off otherwise."""
        ...

    async def remove(self, server_id: str) -> None:
        """End the machine and remove all that `prepare` made."""
        ...

    async def copy_disk(self, spec: ServerSpec, copy_id: str) -> Path:
        """A flat copy of the root disk as it was at one instant after the first call with this `copy_id`, for us to
        read; until `drop_copy`.  Running, paused or off alike.  Cut short, it goes on."""
        ...

    async def drop_copy(self, server_id: str, copy_id: str) -> None:
        """Give the copy up and remove it; nothing there is fine."""
        ...

    async def quiesce(self, spec: ServerSpec) -> None:
        """Let the running guest's file systems stand still until `unquiesce`.  Invalid without an agent, Conflict when
        the agent does not answer."""
        ...

    async def unquiesce(self, server_id: str) -> None:
        """Let them go on; that they never stood still, or that the machine is off, is fine."""
        ...

    async def attach_volume(self, spec: ServerSpec, device: BlockDevice) -> None:
        """Plug a connected volume into the running machine; there already is fine.  A machine that is off gets it
        when it starts."""
        ...

    async def detach_volume(self, spec: ServerSpec, device: BlockDevice) -> None:
        """Unplug a volume; returns when the guest has let go.  Not there, or the machine off, is fine.  Timeout when
        the guest holds on."""
        ...

    async def extend_volume(self, spec: ServerSpec, device: BlockDevice, size_bytes: int) -> None:
        """Show the running guest that a volume has grown."""
        ...

    async def machines(self) -> list[Machine]:
        """Every machine here, running or not."""
        ...

    async def machine(self, server_id: str) -> Machine | None:
        """One machine; None when there is none."""
        ...

    async def console_output(self, server_id: str, lines: int | None) -> str:
        """The last `lines` lines of the serial console (all that is kept when None)."""
        ...

    async def console_door(self, server_id: str, kind: ConsoleKind, peer: str) -> HostDoor | None:
        """A way to that console for one viewer who is at another address; None where viewers come to it as it is."""
        ...

    async def console(self, server_id: str, kind: ConsoleKind) -> ConsoleAddress:
        """Where the running machine's console is.  Raises ConsoleNotReady when it does not run,
        ConsoleTypeUnavailable when it has no such console."""
        ...

    def close(self) -> None:
        """Our process ends: let go of what it holds.  Machines run on."""
        ...

    async def figures(self, server_id: str) -> dict[str, Any]:
        """What a running machine used: {"uptime" s, "cpus": [ns], "disks": [{"name", "read_bytes", ...}],
        "memory_used_mib"}; what is not measured is null or missing."""
        ...

    async def inject_nmi(self, server_id: str) -> None:
        """Send the running machine a non-maskable interrupt."""
        ...

    async def set_password(self, spec: ServerSpec, user: str, password: str) -> None:
        """Set a password within the running guest.  Conflict when it has no agent that does it."""
        ...

    def exits(self) -> AsyncIterator[MachineExit]:
        """Machines' ends, as they happen.  Ends when the source is lost; the caller asks `machines` and comes again."""
        ...
