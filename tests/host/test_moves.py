"""Machines that go from one host process to another: every byte of their disks, and a guest that goes on."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloudseed.guest_images import build_tiny
from cloudseed.host import authority, doors, inventory, processes
from cloudseed.host.errors import HostError
from cloudseed.host.paths import StatePaths
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import DiskSpec, Door, MachineInfo, MachineSpec
from tests.host.conftest import Host, new_id

pytestmark = pytest.mark.real
MIB = 1024 * 1024
# it counts, on its console and in a file; at each start it says what the file has
USER_DATA = b"""#!/bin/sh
kept=$(awk '$1 != NR { bad = 1 } END { print NR, bad + 0 }' /counted 2>/dev/null)
echo "kept $kept" >/dev/ttyS0
( i=$(wc -l </counted 2>/dev/null || echo 0)
  while :; do i=$((i + 1)); echo $i >>/counted; sync; echo "tick $i" >/dev/ttyS0; usleep 30000; done ) &
"""


class Pair:
    """Two hosts of one cloud on one machine, with the image `tiny` in both caches."""

    def __init__(self, hosts: list[Host]) -> None:
        self.one, self.other = hosts

    async def counting(self) -> MachineSpec:
        """A guest that counts."""
        server_id = new_id()
        await self.one.client.create_disk(server_id, "root", 512 * MIB, "tiny")
        await configure(self.one, server_id, "first")
        spec = MachineSpec(server_id=server_id, name="vm", vcpus=1, memory_mib=128, disks=[
            DiskSpec(name="root"), DiskSpec(name="config", kind="config_drive", format="raw", bus="ide",
                                            read_only=True)])
        await self.one.client.ensure_machine(spec)
        await says(self.one, server_id, "tick 20\n")
        return spec

    async def expect(self, spec: MachineSpec) -> Door:
        await self.other.client.create_disk(spec.server_id, "root", 512 * MIB, "tiny")
        await self.other.client.write_config_drive(spec.server_id, {"openstack/latest/user_data": b"another"})
        return await self.other.client.receive_machine(spec)


async def configure(host: Host, server_id: str, instance: str) -> None:
    """A config drive; a guest runs its user data at the first start of an instance."""
    await host.client.write_config_drive(server_id, {
        "openstack/latest/meta_data.json": f'{{"uuid": "{instance}", "hostname": "vm"}}'.encode(),
        "openstack/latest/user_data": USER_DATA})


@pytest.fixture
async def pair(tmp_path: Path, cloud: str, image_cache: Path) -> AsyncIterator[Pair]:
    authority.make_authority(tmp_path / "authority", cloud)
    built, hosts = await asyncio.to_thread(build_tiny, image_cache), []
    async with contextlib.AsyncExitStack() as stack:
        for number, name in enumerate("ab"):
            paths = StatePaths(tmp_path / name / "state")
            address = f"127.0.0.{number + 2}"
            authority.issue(tmp_path / "authority", paths.tls, name, [address])
            host = Host(f"{cloud}{name}", paths, underlay=address)
            stack.callback(inventory.purge, host.cloud, paths)
            stack.callback(end_all, paths)
            await host.start()
            stack.push_async_callback(host.stop)
            shutil.copy(built, paths.incoming / "tiny")
            kind = "qcow2" if built.read_bytes()[:4] == b"QFI\xfb" else "raw"
            await host.client.import_image("tiny", "tiny", kind)  # type: ignore[arg-type]
            hosts.append(host)
        yield Pair(hosts)


def end_all(paths: StatePaths) -> None:
    for pid_file in paths.machines.glob("*/pid"):
        record = processes.load(pid_file)
        if record is not None:
            processes.end(record, grace_s=1.0)


async def says(host: Host, server_id: str, text: str, after: int = 0) -> str:
    """The console once the text is in what came after so many bytes."""
    log = host.paths.machine(server_id).console_log
    async with asyncio.timeout(90):
        while not log.exists() or text not in (found := log.read_bytes()[after:].decode(errors="replace").replace(
                "\r", "")):
            await asyncio.sleep(0.01)
    return found


async def info(host: Host, server_id: str) -> MachineInfo | None:
    return next((i for i in await host.client.list_machines() if i.server_id == server_id), None)


async def send(pair: Pair, spec: MachineSpec, door: Door) -> None:
    async with asyncio.timeout(120):
        while not (await pair.one.client.send_machine(spec.server_id, door)).done:
            pass


def last_tick(text: str) -> int:
    return int([line for line in text.splitlines() if line.startswith("tick ") and line[5:].isdigit()][-1][5:])


async def test_a_machine_that_is_off(pair: Pair) -> None:
    spec = await pair.counting()
    server_id = spec.server_id
    await pair.one.client.stop_machine(server_id, hard=True)
    before = last_tick(pair.one.paths.machine(server_id).console_log.read_text(errors="replace").replace("\r", ""))
    door = await pair.other.client.receive_disks(server_id, "there")
    with pytest.raises(HostError, match="have not come"):
        await pair.other.client.settle_disks(server_id)
    door = await pair.other.client.receive_disks(server_id, "there")
    async with asyncio.timeout(60):
        while not (await pair.one.client.send_disks(server_id, door)).done:
            pass
    await pair.other.client.settle_disks(server_id)
    there = await info(pair.other, server_id)
    assert there is not None and there.owner == "there" and not there.running
    await configure(pair.other, server_id, "second")
    await pair.other.client.ensure_machine(spec)
    kept = (await says(pair.other, server_id, "\ntick ")).partition("kept ")[2].split()
    assert int(kept[0]) >= before and kept[1] == "0", (kept, before)
    assert (await info(pair.one, server_id)) is not None  # its own are as they were
    for host in (pair.one, pair.other):
        await host.client.remove_machine(server_id)


async def test_a_guest_goes_on(pair: Pair) -> None:
    spec = await pair.counting()
    server_id = spec.server_id
    door = await pair.expect(spec)
    began = time.monotonic()
    await send(pair, spec, door)
    log = pair.one.paths.machine(server_id).console_log
    left, counted = time.monotonic(), last_tick(log.read_text(errors="replace").replace("\r", ""))
    there = await info(pair.other, server_id)
    assert there is not None and there.running and there.paused
    await pair.other.client.run_machine(server_id, paused=False)
    first = await says(pair.other, server_id, "tick ")
    silence = time.time() - log.stat().st_mtime  # since the last that it said here
    print(f"\nsent within {left - began:.2f} s; silent for {silence:.3f} s")
    assert silence < 1.0
    await asyncio.sleep(0.5)
    assert last_tick(log.read_text(errors="replace").replace("\r", "")) == counted  # it does not run here as well
    await pair.one.client.remove_machine(server_id)
    await says(pair.other, server_id, f"tick {counted + 20}\n")
    assert "kept" not in first  # it was not started anew
    monitor = QmpMonitor(pair.other.paths.machine(server_id).qmp_socket)
    async with monitor:
        assert await monitor.status() == "running"
    await asyncio.sleep(0.2)
    text = pair.other.paths.machine(server_id).console_log.read_text(errors="replace").replace("\r", "")
    size = len(pair.other.paths.machine(server_id).console_log.read_bytes())
    await pair.other.client.stop_machine(server_id, hard=True)
    await configure(pair.other, server_id, "second")
    await pair.other.client.ensure_machine(spec)  # what it wrote before, during and after is on its disk
    kept = (await says(pair.other, server_id, "\ntick ", size)).partition("kept ")[2].split()
    assert int(kept[0]) >= last_tick(text) and kept[1] == "0"
    await pair.other.client.remove_machine(server_id)


@pytest.mark.parametrize("victim", ["other's QEMU", "one's host process", "other's host process"])
async def test_a_guest_goes_on_where_it_was_when_its_way_breaks(pair: Pair, victim: str) -> None:
    spec = await pair.counting()
    server_id = spec.server_id
    door = await pair.expect(spec)
    sending = asyncio.create_task(send(pair, spec, door))
    async with asyncio.timeout(60):
        while (there := await info(pair.other, server_id)) is None or not there.running:
            await asyncio.sleep(0.02)
    if victim == "other's QEMU":
        record = processes.load(pair.other.paths.machine(server_id).pid)
        assert record is not None
        processes.end(record, grace_s=0.0)
    else:
        host = pair.one if victim.startswith("one") else pair.other
        await host.kill()
        await host.start()
    with pytest.raises(HostError):
        await sending
    await pair.one.client.take_back(server_id, paused=False)
    await pair.other.client.remove_machine(server_id)
    log = pair.one.paths.machine(server_id).console_log
    counted = last_tick(log.read_text(errors="replace").replace("\r", ""))
    await says(pair.one, server_id, f"tick {counted + 20}\n")
    door = await pair.expect(spec)  # and it can be sent again
    await send(pair, spec, door)
    await pair.one.client.take_back(server_id, paused=False)  # all was there, and it stays nevertheless
    counted = last_tick(log.read_text(errors="replace").replace("\r", ""))
    await says(pair.one, server_id, f"tick {counted + 20}\n")
    for host in (pair.one, pair.other):
        await host.client.remove_machine(server_id)


async def test_who_may_not_come(pair: Pair, tmp_path: Path) -> None:
    spec = await pair.counting()
    await pair.one.client.stop_machine(spec.server_id, hard=True)
    door = await pair.other.client.receive_disks(spec.server_id, "there")
    wrong = Door(address=door.address, port=door.port, ticket="0" * 64)
    with pytest.raises(HostError):
        async with asyncio.timeout(30):
            while not (await pair.one.client.send_disks(spec.server_id, wrong)).done:
                pass
    authority.make_authority(tmp_path / "strangers", "strangers")
    authority.issue(tmp_path / "strangers", tmp_path / "stranger", "x", ["127.0.0.2"])
    with pytest.raises(HostError):  # the stranger does not know the host
        async with doors.way(tmp_path / "stranger", door, "files") as (reader, _):
            await reader.read()
    shutil.copy(pair.one.paths.tls / "ca.pem", tmp_path / "stranger" / "ca.pem")
    with pytest.raises((HostError, ssl.SSLError, OSError)):  # the host does not know the stranger
        async with doors.way(tmp_path / "stranger", door, "files") as (reader, _):
            await doors.answer(reader)
    assert not list(pair.other.paths.machine(spec.server_id).directory.glob("*.qcow2"))
    for host in (pair.one, pair.other):
        await host.client.remove_machine(spec.server_id)


async def io(host: Host, server_id: str, command: str) -> None:
    """What a guest would do to its disk; fails when the bytes are not as `read -P` says."""
    async with QmpMonitor(host.paths.machine(server_id).qmp_socket) as monitor:
        said = await monitor.execute("human-monitor-command", {"command-line": f'qemu-io n-root "{command}"'})
    assert "failed" not in said.lower() and "error" not in said.lower(), said


async def blank(pair: Pair) -> MachineSpec:
    """A machine without a guest, with bytes on its disks: below them an image, and one disk on nothing."""
    spec = MachineSpec(server_id=new_id(), name="vm", vcpus=1, memory_mib=32,
                       disks=[DiskSpec(name="root"), DiskSpec(name="swap")])
    await room(pair.one, spec)
    await pair.one.client.ensure_machine(spec)
    await io(pair.one, spec.server_id, "write -P 0x5a 100M 3M")
    return spec


async def room(host: Host, spec: MachineSpec) -> None:
    await host.client.create_disk(spec.server_id, "root", 512 * MIB, "tiny")
    await host.client.create_disk(spec.server_id, "swap", 16 * MIB)


@pytest.mark.parametrize("paused", [False, True])
async def test_a_machine_without_a_guest(pair: Pair, paused: bool) -> None:
    spec = await blank(pair)
    await room(pair.other, spec)
    if paused:
        await pair.one.client.pause_machine(spec.server_id, paused=True)
    await send(pair, spec, await pair.other.client.receive_machine(spec))
    await pair.other.client.run_machine(spec.server_id, paused=paused)
    await pair.other.client.run_machine(spec.server_id, paused=paused)
    await pair.one.client.remove_machine(spec.server_id)
    there = await info(pair.other, spec.server_id)
    assert there is not None and there.running and there.paused == paused
    await io(pair.other, spec.server_id, "read -P 0x5a 100M 3M")
    await io(pair.other, spec.server_id, "read -P 0 104M 3M")
    if not paused:
        await io(pair.other, spec.server_id, "write -P 0x5b 101M 1M")
    await pair.other.client.remove_machine(spec.server_id)


async def test_a_machine_that_is_taken_back(pair: Pair) -> None:
    spec = await blank(pair)
    for _ in range(2):
        await room(pair.other, spec)
        await send(pair, spec, await pair.other.client.receive_machine(spec))
        await pair.one.client.take_back(spec.server_id, paused=False)
        await pair.other.client.remove_machine(spec.server_id)
        await io(pair.one, spec.server_id, "read -P 0x5a 100M 3M")
        await io(pair.one, spec.server_id, "write -P 0x5a 102M 1M")
        here = await info(pair.one, spec.server_id)
        assert here is not None and here.running and not here.paused
    await pair.one.client.remove_machine(spec.server_id)


async def test_a_disk_of_another_image_is_not_taken(pair: Pair) -> None:
    spec = await blank(pair)
    await pair.other.client.create_disk(spec.server_id, "root", 512 * MIB)
    await pair.other.client.create_disk(spec.server_id, "swap", 16 * MIB)
    door = await pair.other.client.receive_machine(spec)
    with pytest.raises(HostError, match="stands on image"):
        await send(pair, spec, door)
    await pair.one.client.take_back(spec.server_id, paused=False)
    await io(pair.one, spec.server_id, "read -P 0x5a 100M 3M")
    for host in (pair.one, pair.other):
        await host.client.remove_machine(spec.server_id)
