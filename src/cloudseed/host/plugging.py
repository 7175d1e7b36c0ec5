"""The devices of a running machine over its monitor: what is plugged, a device more, a disk's file closed."""

from __future__ import annotations

import contextlib
from typing import Any

from cloudseed.host import qemu_command
from cloudseed.host.errors import HostError
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import DiskSpec, MachineSpec


async def plugged(monitor: QmpMonitor) -> set[str]:
    """The ids of the devices that the machine has."""
    listed = await monitor.execute("qom-list", {"path": "/machine/peripheral"})
    return {str(item["name"]) for item in listed}


async def add_device(monitor: QmpMonitor, device: dict[str, Any], spec: MachineSpec) -> None:
    """Plug a device in; of a q35 machine, into the first slot that is free."""
    if spec.machine_type == "pc" or "bus" in device:
        await monitor.execute("device_add", device)
        return
    refusal: HostError | None = None
    for bus in qemu_command.hot_plug_buses():
        try:
            await monitor.execute("device_add", {**device, "bus": bus})
            return
        except HostError as exc:
            refusal = exc  # most likely the slot is taken: try the next
    raise refusal or HostError("failed", "the machine has no slot for another device")


async def remove_netdev(monitor: QmpMonitor, port_id: str) -> None:
    """Let go of the tap of a card that is unplugged."""
    name = qemu_command.netdev_id(port_id)
    # the second: QEMU was given the tap, and not told yet what for
    for command, argument in (("netdev_del", "id"), ("closefd", "fdname")):
        with contextlib.suppress(HostError):  # gone already
            await monitor.execute(command, {argument: name})


async def remove_node(monitor: QmpMonitor, disk_name: str) -> None:
    """Close the file of a disk that is unplugged."""
    disk = DiskSpec(name=disk_name)
    with contextlib.suppress(HostError):  # gone already
        await monitor.execute("blockdev-del", {"node-name": qemu_command.node_id(disk_name)})
    for number in qemu_command.fd_sets(disk):
        with contextlib.suppress(HostError):
            await monitor.execute("remove-fd", {"fdset-id": number})
