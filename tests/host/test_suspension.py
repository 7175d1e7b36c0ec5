"""Pausing, and memory on disk: a guest goes on where it was, with the devices that it had, and only once."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from cloudseed.guest_images import build_tiny
from cloudseed.host import processes
from cloudseed.host.errors import HostError
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import DiskSpec, MachineInfo, MachineSpec
from cloudseed.host.wire import connect
from tests.host.conftest import Host, new_id

pytestmark = pytest.mark.real
MIB = 1024 * 1024


async def booted(host: Host, image_cache: Path, **fields: object) -> MachineSpec:
    """A guest that waits for a login."""
    built = await asyncio.to_thread(build_tiny, image_cache)
    shutil.copy(built, host.paths.incoming / "tiny")
    await host.client.import_image("tiny", "tiny", "qcow2" if built.read_bytes()[:4] == b"QFI\xfb" else "raw")
    server_id = new_id()
    await host.client.create_disk(server_id, "root", 0, "tiny")
    values = {"server_id": server_id, "name": "vm", "vcpus": 1, "memory_mib": 128, "disks": [DiskSpec(name="root")],
              **fields}
    spec = MachineSpec(**values)  # type: ignore[arg-type]
    await host.client.ensure_machine(spec)
    await says(host, server_id, "login:")
    return spec


async def blank(host: Host) -> MachineSpec:
    """A machine without a guest."""
    spec = MachineSpec(server_id=new_id(), name="vm", vcpus=1, memory_mib=32, disks=[DiskSpec(name="root")])
    await host.client.create_disk(spec.server_id, "root", 4 * MIB)
    await host.client.ensure_machine(spec)
    return spec


async def says(host: Host, server_id: str, text: str) -> None:
    log = host.paths.machine(server_id).console_log
    async with asyncio.timeout(90):
        while text not in log.read_text(errors="replace"):
            await asyncio.sleep(0.1)


async def info(host: Host, server_id: str) -> MachineInfo:
    return next(i for i in await host.client.list_machines() if i.server_id == server_id)


async def answers(host: Host, server_id: str) -> bool:
    """Whether the guest's login program answers on the console, as it does when it runs."""
    log = host.paths.machine(server_id).console_log
    before = log.stat().st_size
    _, writer = await asyncio.open_unix_connection(sock=await connect(host.paths.machine(server_id).serial_socket))
    try:
        writer.write(b"\n")
        await writer.drain()
        until = time.monotonic() + 10
        while time.monotonic() < until and log.stat().st_size == before:
            await asyncio.sleep(0.1)
        return log.stat().st_size > before
    finally:
        writer.close()


async def test_a_guest_is_paused_and_goes_on(host: Host, image_cache: Path) -> None:
    server_id = (await booted(host, image_cache)).server_id
    for _ in range(2):
        await host.client.pause_machine(server_id, paused=True)
    assert (await info(host, server_id)).paused
    await host.kill()
    await host.client.close()
    await host.start()
    assert (await info(host, server_id)).paused
    for _ in range(2):
        await host.client.pause_machine(server_id, paused=False)
    assert not (await info(host, server_id)).paused and await answers(host, server_id)


@pytest.mark.parametrize("machine_type", ["pc", "q35"])
async def test_a_guest_is_suspended_and_goes_on(host: Host, image_cache: Path, machine_type: str) -> None:
    """With a disk that was plugged in after another that is gone, so that its place is its own."""
    spec = await booted(host, image_cache, machine_type=machine_type)
    server_id, machine = spec.server_id, host.paths.machine(spec.server_id)
    for name in ("one", "two"):
        await host.client.create_disk(server_id, name, 4 * MIB)
        await host.client.attach_disk(server_id, DiskSpec(name=name))
    await host.client.detach_disk(server_id, "one")
    for _ in range(2):
        await host.client.suspend_machine(server_id)
    found = await info(host, server_id)
    assert found.suspended and not found.running and machine.memory.stat().st_size > MIB
    assert machine.memory.stat().st_mode & 0o777 == 0o600
    booted_once = machine.console_log.read_text(errors="replace").count("Linux version")
    for _ in range(2):
        found = await host.client.ensure_machine(spec)
    assert found.running and not found.suspended and not machine.memory.exists()
    assert await answers(host, server_id)
    assert machine.console_log.read_text(errors="replace").count("Linux version") == booted_once
    if machine_type == "pc":  # a q35 machine's guest lets go of what was plugged in before at its next boot only
        await host.client.detach_disk(server_id, "two")


async def test_a_hard_stop_forgets_the_memory(host: Host) -> None:
    spec = await blank(host)
    await host.client.suspend_machine(spec.server_id)
    await host.client.stop_machine(spec.server_id, hard=True)
    assert not (await info(host, spec.server_id)).suspended
    assert not list(host.paths.machine(spec.server_id).directory.glob("memory*"))


async def test_a_suspension_cut_short_is_finished(host: Host) -> None:
    """Killed when the memory was whole and QEMU had not ended: the start ends it and goes on from the file."""
    spec = await blank(host)
    machine = host.paths.machine(spec.server_id)
    record = processes.load(machine.pid)
    assert record is not None
    kept = machine.directory / "kept"
    await host.client.suspend_machine(spec.server_id)
    shutil.copy(machine.memory, kept)
    shutil.copy(machine.memory_layout, machine.directory / "kept.json")
    await host.client.ensure_machine(spec)
    await host.kill()
    await host.client.close()
    # the monitor is free now: bring QEMU to where it was, and the file with it
    async with QmpMonitor(machine.host_qmp_socket) as monitor:
        descriptor = os.open("/dev/null", os.O_WRONLY)
        await monitor.execute_with_fd("getfd", descriptor, {"fdname": "m"})
        os.close(descriptor)
        await monitor.execute("stop")
        await monitor.execute("migrate", {"uri": "fd:m"})
        while await monitor.status() != "postmigrate":
            await asyncio.sleep(0.05)
    os.replace(kept, machine.memory)
    os.replace(machine.directory / "kept.json", machine.memory_layout)
    await host.start()
    assert (await host.client.ensure_machine(spec)).running
    assert not machine.memory.exists() and not (await info(host, spec.server_id)).paused


async def test_memory_that_cannot_be_read_starts_nothing(host: Host) -> None:
    spec = await blank(host)
    machine = host.paths.machine(spec.server_id)
    await host.client.suspend_machine(spec.server_id)
    machine.memory.write_bytes(b"no memory of anything")
    with pytest.raises(HostError):
        await host.client.ensure_machine(spec)
    assert not (await info(host, spec.server_id)).running and machine.memory.exists()


async def test_a_machine_that_is_off_cannot_be_paused(host: Host) -> None:
    spec = await blank(host)
    record = processes.load(host.paths.machine(spec.server_id).pid)
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    while (await info(host, spec.server_id)).running:
        await asyncio.sleep(0.05)
    for act in (host.client.pause_machine(spec.server_id, paused=True), host.client.suspend_machine(spec.server_id)):
        with pytest.raises(HostError) as caught:
            await act
        assert caught.value.code == "conflict"
