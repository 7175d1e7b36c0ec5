"""How the control process speaks with the host process: one async method for each command.

The connection is made when first needed and again after a loss.  A command whose connection is lost while it
waits is not sent again behind the caller's back: it raises `unavailable`, and since every command is safe to
repeat, the caller's reconciler does.  A `timeout` means that the outcome is unknown, not that it failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar, cast

import msgspec

from cloudseed import points
from cloudseed.host import records
from cloudseed.host.errors import Code, HostError
from cloudseed.host.move_client import MoveClient
from cloudseed.host.records import (
    ApplyResult,
    CopyStatus,
    DiskInfo,
    DiskSpec,
    Door,
    HostFacts,
    ImageInfo,
    InventoryReport,
    MachineExited,
    MachineInfo,
    MachineSpec,
    NetworkWish,
    NicSpec,
    RouterWish,
)
from cloudseed.host.volume_client import VolumeClient
from cloudseed.host.wire import connect, frame, read_frame

_T = TypeVar("_T")


class HostClient(VolumeClient, MoveClient):
    """A client of the host process that listens on `socket_path`; one per event loop, `close` it at the end.

    Every method raises HostError.  `timeout_s` bounds ordinary commands; those that copy or convert data
    (`import_image`, `create_disk`, `resize_disk`, `purge`) get at least ten minutes.
    """

    def __init__(self, socket_path: Path, timeout_s: float = 60.0) -> None:
        self._path = Path(socket_path)
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._lock = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[records.Reply]] = {}

    # ---- facts

    async def get_facts(self) -> HostFacts:
        """What the host has: processors, memory, disk, acceleration, and what is missing."""
        return await self._ask(records.GetFacts(), HostFacts)

    async def get_inventory(self) -> InventoryReport:
        """All on the host that carries our name."""
        return await self._ask(records.GetInventory(), InventoryReport)

    async def purge(self) -> None:
        """Remove all on the host that carries our name."""
        await self._tell(records.Purge(), self._long())

    # ---- networks

    async def apply_networks(
        self, networks: Sequence[NetworkWish], *, full: bool, routers: Sequence[RouterWish] = ()
    ) -> ApplyResult:
        """Make these networks and routers so; with `full` they are all that shall be."""
        command = records.ApplyNetworks(networks=list(networks), routers=list(routers), full=full)
        return await self._ask(command, ApplyResult, max(self._timeout_s, 120.0))

    # ---- machines

    async def ensure_machine(self, spec: MachineSpec) -> MachineInfo:
        """Start the machine unless it runs already."""
        return await self._ask(records.EnsureMachine(spec=spec), MachineInfo, self._long())

    async def stop_machine(self, server_id: str, *, hard: bool = False) -> None:
        """Press the power button (soft, returns at once) or end the process (hard, returns when gone)."""
        await self._tell(records.StopMachine(server_id=server_id, hard=hard))

    async def open_console(self, server_id: str, kind: Literal["novnc", "serial"], peer: str) -> Door:
        """A way to a machine's console for one viewer at another address."""
        return await self._ask(records.OpenConsole(server_id=server_id, kind=kind, peer=peer), Door)

    async def pause_machine(self, server_id: str, *, paused: bool) -> None:
        """Stop the guest's processors, or let them go on."""
        await self._tell(records.PauseMachine(server_id=server_id, paused=paused))

    async def suspend_machine(self, server_id: str) -> None:
        """Write the machine's memory to disk and end its process."""
        await self._tell(records.SuspendMachine(server_id=server_id), self._long())

    async def remove_machine(self, server_id: str) -> None:
        """End the process and remove the machine's files."""
        await self._tell(records.RemoveMachine(server_id=server_id))

    async def list_machines(self) -> list[MachineInfo]:
        """Every machine that has files here, running or not."""
        return await self._ask(records.ListMachines(), list[MachineInfo])

    async def claim_machine(self, server_id: str, owner: str = "") -> None:
        """Keep a place for a machine that boots from a volume."""
        await self._tell(records.ClaimMachine(server_id=server_id, owner=owner))

    async def attach_interface(self, server_id: str, nic: NicSpec) -> None:
        """Plug a card into a running machine."""
        await self._tell(records.AttachInterface(server_id=server_id, nic=nic))

    async def detach_interface(self, server_id: str, port_id: str) -> None:
        """Unplug a card; `timeout` or `conflict` when the guest does not let go."""
        await self._tell(records.DetachInterface(server_id=server_id, port_id=port_id))

    async def attach_disk(self, server_id: str, disk: DiskSpec) -> None:
        """Plug a disk into a running machine."""
        await self._tell(records.AttachDisk(server_id=server_id, disk=disk))

    async def detach_disk(self, server_id: str, name: str) -> None:
        """Unplug a disk; `timeout` or `conflict` when the guest does not let go."""
        await self._tell(records.DetachDisk(server_id=server_id, name=name))

    # ---- disks and images

    async def create_disk(
        self,
        server_id: str,
        name: str,
        size_bytes: int,
        backing: str | None = None,
        backing_format: Literal["qcow2", "raw"] | None = None,
        owner: str = "",
    ) -> DiskInfo:
        """Make a machine's disk, empty or on top of a cached image."""
        command = records.CreateDisk(
            server_id=server_id,
            name=name,
            size_bytes=size_bytes,
            backing=backing,
            backing_format=backing_format,
            owner=owner,
        )
        return await self._ask(command, DiskInfo, self._long())

    async def resize_disk(self, server_id: str, name: str, size_bytes: int) -> DiskInfo:
        """Grow a machine's disk."""
        command = records.ResizeDisk(server_id=server_id, name=name, size_bytes=size_bytes)
        return await self._ask(command, DiskInfo, self._long())

    async def keep_disks(self, server_id: str) -> None:
        """Copy the disks of a machine that is off, to have them back."""
        await self._tell(records.KeepDisks(server_id=server_id), self._long())

    async def restore_disks(self, server_id: str) -> None:
        """Give a machine that is off its kept disks back."""
        await self._tell(records.RestoreDisks(server_id=server_id), self._long())

    async def drop_kept_disks(self, server_id: str) -> None:
        """Remove the kept disks."""
        await self._tell(records.DropKeptDisks(server_id=server_id), self._long())

    async def remove_disk(self, server_id: str, name: str) -> None:
        """Remove a machine's disk."""
        await self._tell(records.RemoveDisk(server_id=server_id, name=name))

    async def get_disk(self, server_id: str, name: str) -> DiskInfo:
        """What is known of a machine's disk; `not_found` when there is none."""
        return await self._ask(records.GetDisk(server_id=server_id, name=name), DiskInfo)

    async def copy_disk(self, server_id: str, name: str, key: str) -> CopyStatus:
        """Begin a flat copy of a disk as it is now into `outgoing/<key>`, or see how far it is."""
        return await self._ask(records.CopyDisk(server_id=server_id, name=name, key=key), CopyStatus)

    async def drop_copy(self, server_id: str, key: str) -> None:
        """Give a copy up and remove its file."""
        await self._tell(records.DropCopy(server_id=server_id, key=key))

    async def write_config_drive(self, server_id: str, files: dict[str, bytes]) -> None:
        """Write the machine's config drive."""
        await self._tell(records.WriteConfigDrive(server_id=server_id, files=files))

    async def import_image(self, key: str, source: str, format: Literal["qcow2", "raw"]) -> ImageInfo:
        """Check `images/incoming/<source>` and move it into the cache of base images as `key`."""
        command = records.ImportImage(key=key, source=source, format=format)
        return await self._ask(command, ImageInfo, self._long())

    async def list_images(self) -> list[ImageInfo]:
        """The cache of base images."""
        return await self._ask(records.ListImages(), list[ImageInfo])

    async def remove_image(self, key: str) -> None:
        """Remove a base image; `conflict` while a disk stands on it."""
        await self._tell(records.RemoveImage(key=key))

    # ---- events

    async def watch(self) -> AsyncIterator[MachineExited]:
        """Yield machines' exits on a connection of its own; raises `unavailable` when that is lost.

        What happened while nobody watched is not told again: after connecting, ask `list_machines`.
        """
        reader, writer = await self._open()
        try:
            writer.write(frame(_encode(records.Request(id=1, command=records.Watch()))))
            await writer.drain()
            while (body := await read_frame(reader)) is not None:
                reply = _decode(body)
                if reply.error is not None:
                    raise _error(reply.error)
                if reply.event is not None:
                    yield reply.event
            raise HostError("unavailable", "the host process closed the connection: it may be restarting")
        finally:
            await _close(writer)

    async def close(self) -> None:
        """End the connection; commands that wait raise `unavailable`."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None
        if self._writer is not None:
            await _close(self._writer)
            self._writer = None

    # ---- the connection

    def _long(self) -> float:
        return max(self._timeout_s, 600.0)

    async def _ask(self, command: records.AnyCommand, answer: type[_T], timeout_s: float | None = None) -> _T:
        return msgspec.msgpack.decode(await self._exchange(command, timeout_s), type=answer)

    async def _tell(self, command: records.AnyCommand, timeout_s: float | None = None) -> None:
        await self._exchange(command, timeout_s)

    async def _exchange(self, command: records.AnyCommand, timeout_s: float | None) -> msgspec.Raw:
        seconds = timeout_s or self._timeout_s
        waiting: asyncio.Future[records.Reply] = asyncio.get_running_loop().create_future()
        number = next(self._ids)
        name = type(command).__name__
        points.point(f"ask the host process {name}")
        try:
            async with asyncio.timeout(seconds):
                async with self._lock:
                    writer = await self._connected()
                    self._waiting[number] = waiting
                    writer.write(frame(_encode(records.Request(id=number, command=command))))
                await writer.drain()
                reply = await waiting
        except TimeoutError:
            message = f"no answer to {name} within {seconds:.0f} s: its outcome is unknown, ask again"
            raise HostError("timeout", message) from None
        except ConnectionError as exc:
            raise HostError("unavailable", f"the host process was lost during {name}: {exc}") from exc
        finally:
            self._waiting.pop(number, None)
            if waiting.done() and not waiting.cancelled():
                waiting.exception()  # seen, in case the loss was noticed on the way out first
        points.point(f"heard of {name}")
        if reply.error is not None:
            raise _error(reply.error)
        return reply.result

    async def _connected(self) -> asyncio.StreamWriter:
        if self._writer is not None and self._reading is not None and not self._reading.done():
            return self._writer
        await self.close()
        reader, self._writer = await self._open()
        self._reading = asyncio.create_task(self._read(reader), name="host-client")
        return self._writer

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_unix_connection(sock=await connect(self._path))
        except OSError as exc:
            why = exc.strerror or str(exc)
            message = f"no host process answers on {self._path} ({why}): is it running?"
            raise HostError("unavailable", message) from exc

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while (body := await read_frame(reader)) is not None:
                reply = _decode(body)
                future = self._waiting.get(reply.id)
                if future is not None and not future.done():
                    future.set_result(reply)
        finally:
            lost = HostError("unavailable", "the host process closed the connection: it may be restarting")
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(lost)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def _encode(request: records.Request) -> bytes:
    return msgspec.msgpack.encode(request)


def _decode(body: bytes) -> records.Reply:
    return msgspec.msgpack.decode(body, type=records.Reply)


def _error(failure: records.Failure) -> HostError:
    return HostError(cast(Code, failure.code), failure.message)
