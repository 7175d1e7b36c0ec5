"""A machine's memory on disk: written when it is suspended, read when it goes on.

    running ──suspend──▶ memory.new ──▶ memory, process ended ──start──▶ loaded, memory removed, running

`memory` exists only when it is whole and the guest has not run since: it appears after the last byte, and goes
before the guest's processors run again.  A kill in between leaves either a guest that runs or one that can be
taken up again, never one that could be taken up twice.  Beside it lies what the file does not say and a machine
must have to read it: its type by its versioned name, and the place of each device on its buses.  That stays until the
guest runs: alone, it says that somebody was killed who had yet to let it go on.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

import msgspec

from cloudseed.host import processes
from cloudseed.host.errors import HostError
from cloudseed.host.paths import MachinePaths
from cloudseed.host.qmp import QmpMonitor

_LIMIT_S = 540.0  # for writing or reading it: less than a caller waits
_POLL_S = 0.05
_FD_NAME = "memory"
_PLACES = ("bus", "addr", "channel", "scsi-id", "lun")
_PLACE = re.compile(r"[a-z0-9][a-z0-9.]{0,31}")
_MACHINE_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine must be like to read its memory: `places` are device id -> properties that
    say where it is."""

    machine_type: str
    places: dict[str, dict[str, Any]]


def is_suspended(machine: MachinePaths) -> bool:
    """Whether the machine's memory lies on disk."""
    return machine.memory.exists()


def is_going_on(machine: MachinePaths) -> bool:
    """Whether its memory was read or could not be kept, and nobody has let the guest go on since."""
    return machine.memory_layout.exists() and not is_suspended(machine)


def load_layout(machine: MachinePaths) -> Layout | None:
    """The layout of a suspended machine; None when it is not suspended."""
    if not is_suspended(machine):
        return None
    return msgspec.json.decode(machine.memory_layout.read_bytes(), type=Layout)


def discard(machine: MachinePaths) -> None:
    """Forget the memory: the machine will boot anew."""
    for path in (machine.memory, machine.memory_layout, machine.memory_new):
        path.unlink(missing_ok=True)


async def save(monitor: QmpMonitor, machine: MachinePaths) -> None:
    """Stop the guest and write its memory; the process may be ended afterwards.  It runs on when that fails."""
    status = await monitor.status()
    if status == "postmigrate":
        if not is_suspended(machine):  # killed between the last byte and the name
            await monitor.resume()
            status = await monitor.status()
        else:
            return
    await asyncio.to_thread(discard, machine)
    layout = await layout_of(monitor)
    try:
        if status != "paused":
            await monitor.pause()
        descriptor = os.open(machine.memory_new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            await _clear(monitor)
            await monitor.execute("migrate-set-parameters", {"max-bandwidth": 0})
            await monitor.execute_with_fd("getfd", descriptor, {"fdname": _FD_NAME})
            await monitor.execute("migrate", {"uri": f"fd:{_FD_NAME}"})
            await _until_written(monitor)
            await asyncio.to_thread(os.fsync, descriptor)
        finally:
            os.close(descriptor)
        processes.replace_file(machine.memory_layout, msgspec.json.encode(layout))
        os.replace(machine.memory_new, machine.memory)
    except BaseException:
        if not is_suspended(machine):
            discard(machine)
            if status != "paused":
                await asyncio.shield(monitor.resume())
        raise


async def _until_written(monitor: QmpMonitor) -> None:
    try:
        async with asyncio.timeout(_LIMIT_S):
            while True:
                found = await monitor.execute("query-migrate")
                match found.get("status"):
                    case "completed":
                        return
                    case "failed" | "cancelled":
                        raise HostError("failed", "QEMU could not write the machine's memory: "
                                                  f"{found.get('error-desc') or 'is the disk full?'}")
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        await _clear(monitor)
        raise HostError("failed", f"the machine's memory was not written within {_LIMIT_S:.0f} s") from None
    except BaseException:
        await asyncio.shield(_clear(monitor))
        raise


async def _clear(monitor: QmpMonitor) -> None:
    """End what a killed predecessor began."""
    await monitor.execute("migrate_cancel")
    for _ in range(100):
        if (await monitor.execute("query-migrate")).get("status") not in ("active", "setup", "cancelling"):
            return
        await asyncio.sleep(_POLL_S)


async def finish_restore(monitor: QmpMonitor, machine: MachinePaths) -> None:
    """The machine reads its memory: wait, remove the file, let the guest go on."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            while await monitor.status() == "inmigrate":  # noqa: ASYNC110 - another process tells
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise HostError("failed", f"the machine's memory was not read within {_LIMIT_S:.0f} s") from None
    machine.memory.unlink(missing_ok=True)
    directory = os.open(machine.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        await asyncio.to_thread(os.fsync, directory)
    finally:
        os.close(directory)
    await let_go_on(monitor, machine)


async def let_go_on(monitor: QmpMonitor, machine: MachinePaths) -> None:
    """The last of it, also after a predecessor that was killed before."""
    await monitor.resume()
    discard(machine)


async def layout_of(monitor: QmpMonitor) -> Layout:
    """What another QEMU must be like to go on with this one's guest."""
    return Layout(machine_type=await _machine_type(monitor), places=await _places(monitor))


def check_layout(layout: Layout) -> Layout:
    """`invalid` unless it is one that `layout_of` makes: another host's becomes a part of a command line of ours."""
    good = _MACHINE_TYPE.fullmatch(layout.machine_type) and all(
        name in _PLACES and (isinstance(value, int) or (isinstance(value, str) and _PLACE.fullmatch(value)))
        for place in layout.places.values() for name, value in place.items())
    if not good:
        raise HostError("invalid", "no machine has the layout that another host says")
    return layout


async def _machine_type(monitor: QmpMonitor) -> str:
    """By its versioned name, e.g. pc-i440fx-7.2: another QEMU's `pc` is another machine."""
    name = await monitor.execute("qom-get", {"path": "/machine", "property": "type"})
    short = str(name).removesuffix("-machine")
    if not _MACHINE_TYPE.fullmatch(short):  # it becomes a part of the next QEMU's command line
        raise HostError("failed", f"QEMU names its machine {short[:80]!r}, which is no type of one")
    return short


async def _places(monitor: QmpMonitor) -> dict[str, dict[str, Any]]:
    """Where the devices are that have an id: those that were plugged in later would else lie elsewhere."""
    found: dict[str, dict[str, Any]] = {}
    root = "pcie.0" if "q35" in await _machine_type(monitor) else "pci.0"
    for bus in await monitor.execute("query-pci"):
        _collect(bus["devices"], root, found)
    for item in await monitor.execute("qom-list", {"path": "/machine/peripheral"}):
        if item["type"].startswith("child<scsi-"):
            path = f"/machine/peripheral/{item['name']}"
            found[item["name"]] = {name: await monitor.execute("qom-get", {"path": path, "property": name})
                                   for name in ("channel", "scsi-id", "lun")}
    return found


def _collect(devices: list[dict[str, Any]], bus: str, found: dict[str, dict[str, Any]]) -> None:
    for device in devices:
        name = device.get("qdev_id") or ""
        if name.startswith(("disk-", "nic-")):
            found[name] = {"bus": bus, "addr": f"{device['slot']:#x}.{device['function']:#x}"}
        if "pci_bridge" in device and name:
            _collect(device["pci_bridge"].get("devices", []), name, found)
