"""Machines: real QEMU processes, with empty disks where no guest is needed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cloudseed.host import dhcp, processes, users
from cloudseed.host.errors import HostError
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import DiskSpec, MachineExited, MachineSpec, NetworkWish, NicSpec
from tests.host.conftest import ANY_EGRESS, Host, network, new_id, port

pytestmark = pytest.mark.real
MIB = 1024 * 1024


async def make_image(host: Host, key: str = "base", size: int = 8 * MIB) -> None:
    """An empty base image in the cache."""
    source = host.paths.incoming / "source"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(source), str(size)], check=True)
    await host.client.import_image(key, "source", "qcow2")


async def make_spec(host: Host, **fields: object) -> MachineSpec:
    """A machine with a root disk and a config drive, ready to be started."""
    server_id = new_id()
    await host.client.create_disk(server_id, "root", 16 * MIB, "base", "qcow2")
    await host.client.write_config_drive(server_id, {"openstack/latest/meta_data.json": b"{}"})
    values: dict[str, object] = {
        "server_id": server_id,
        "name": "probe",
        "vcpus": 1,
        "memory_mib": 32,
        "disks": [DiskSpec(name="root"), DiskSpec(name="config", kind="config_drive", bus="ide")],
        **fields,
    }
    return MachineSpec(**values)  # type: ignore[arg-type]


def nic_of(wish: NetworkWish, index: int = 0) -> NicSpec:
    own = wish.ports[index]
    return NicSpec(port_id=own.port_id, network_id=wish.network_id, mac_address=own.mac_address, mtu=wish.mtu)


class Exits:
    """The exits that the host process tells."""

    def __init__(self, host: Host) -> None:
        self._queue: asyncio.Queue[MachineExited] = asyncio.Queue()
        self._task = asyncio.create_task(self._watch(host))

    async def _watch(self, host: Host) -> None:
        async for event in host.client.watch():
            self._queue.put_nowait(event)

    async def next(self, timeout_s: float = 5) -> MachineExited:
        return await asyncio.wait_for(self._queue.get(), timeout_s)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def exits(host: Host) -> AsyncIterator[Exits]:
    watching = Exits(host)
    await host.client.list_machines()
    yield watching
    await watching.close()


async def test_a_machine_starts_once_and_runs_unprivileged(host: Host) -> None:
    await make_image(host)
    spec = await make_spec(host)
    first, second = await asyncio.gather(*(host.client.ensure_machine(spec) for _ in range(2)))
    assert first.running
    assert first.pid == second.pid
    pid = first.pid
    assert pid is not None
    assert os.stat(f"/proc/{pid}").st_uid >= users.UID_BASE
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Seccomp:\t2" in status
    assert "CapEff:\t0000000000000000" in status
    assert os.getsid(pid) == pid
    opened = {os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")}
    files = {Path(name).name for name in opened if name.startswith(str(host.paths.root))}
    assert files == {"root.qcow2", "base", "config.iso", "console.log", "qemu.log", "vnc", "volumes"}
    async with QmpMonitor(host.paths.machine(spec.server_id).qmp_socket) as monitor:
        assert await monitor.status() == "running"
        assert len(await monitor.query_block()) == 2
    listed = await host.client.list_machines()
    assert [(m.server_id, m.pid) for m in listed] == [(spec.server_id, pid)]
    assert listed[0].rss_bytes > MIB


async def test_every_machine_has_a_user_of_its_own(host: Host) -> None:
    await make_image(host)
    specs = [await make_spec(host, vga="none") for _ in range(3)]
    infos = await asyncio.gather(*(host.client.ensure_machine(spec) for spec in specs))
    assert len({os.stat(f"/proc/{info.pid}").st_uid for info in infos}) == 3


async def test_stop_remove_and_their_exits(host: Host, exits: Exits) -> None:
    await make_image(host)
    spec = await make_spec(host)
    info = await host.client.ensure_machine(spec)
    await host.client.stop_machine(spec.server_id, hard=True)
    assert not os.path.exists(f"/proc/{info.pid}")
    assert await exits.next() == MachineExited(server_id=spec.server_id, reason="stopped")
    await host.client.stop_machine(spec.server_id, hard=True)
    await host.client.stop_machine(spec.server_id)
    assert [m.running for m in await host.client.list_machines()] == [False]
    again = await host.client.ensure_machine(spec)
    assert again.running
    await host.client.remove_machine(spec.server_id)
    await host.client.remove_machine(spec.server_id)
    assert (await exits.next()).reason == "removed"
    assert await host.client.list_machines() == []
    assert list(host.paths.machines.iterdir()) == []


async def test_a_crash_and_a_quit_are_told_apart(host: Host, exits: Exits) -> None:
    await make_image(host)
    spec = await make_spec(host)
    info = await host.client.ensure_machine(spec)
    assert info.pid is not None
    os.kill(info.pid, signal.SIGKILL)
    assert (await exits.next()).reason == "crashed"
    await host.client.ensure_machine(spec)
    async with QmpMonitor(host.paths.machine(spec.server_id).qmp_socket) as monitor:
        await monitor.quit()
    assert (await exits.next()).reason == "host-qmp-quit"


async def test_machines_and_dhcp_outlive_the_host_process(host: Host) -> None:
    await make_image(host)
    wish = network(port(10, ANY_EGRESS))
    await host.client.apply_networks([wish], full=True)
    spec = await make_spec(host, nics=[nic_of(wish)])
    before = await host.client.ensure_machine(spec)
    server = dhcp.running(host.paths.network(wish.network_id))
    await host.kill()
    await host.start()
    after = await host.client.list_machines()
    assert [(m.pid, m.running) for m in after] == [(before.pid, True)]
    assert (await host.client.ensure_machine(spec)).pid == before.pid
    result = await host.client.apply_networks([wish], full=True)
    assert not result.networks[0].changed
    assert dhcp.running(host.paths.network(wish.network_id)) == server
    # and it is managed again: its monitor answers, its end is noticed
    exits = Exits(host)
    try:
        await host.client.stop_machine(spec.server_id)
        await host.client.stop_machine(spec.server_id, hard=True)
        assert (await exits.next()).server_id == spec.server_id
    finally:
        await exits.close()


async def test_a_machine_that_was_started_but_not_recorded_is_taken_up(host: Host) -> None:
    await make_image(host)
    spec = await make_spec(host)
    info = await host.client.ensure_machine(spec)
    await host.kill()
    host.paths.machine(spec.server_id).pid.unlink()
    await host.start()
    assert (await host.client.ensure_machine(spec)).pid == info.pid
    await host.client.remove_machine(spec.server_id)
    assert info.pid is not None
    # it was an orphan, so its last remains are for init to collect
    stat = processes.read_stat(info.pid)
    assert stat is None or stat.state == "Z"


async def test_a_pid_of_another_process_is_not_ours(host: Host) -> None:
    await make_image(host)
    spec = await make_spec(host)
    stat = processes.read_stat(os.getpid())
    assert stat is not None
    record = processes.ProcessRecord(os.getpid(), stat.start_ticks + 1, processes.boot_id())
    processes.save(host.paths.machine(spec.server_id).pid, record)
    assert [m.running for m in await host.client.list_machines()] == [False]
    await host.client.remove_machine(spec.server_id)  # and this process still runs


async def test_hot_plug(host: Host) -> None:
    await make_image(host)
    wish = network(port(10, ANY_EGRESS), port(11, ANY_EGRESS))
    await host.client.apply_networks([wish], full=True)
    for machine_type in ("pc", "q35"):
        bus = "ide" if machine_type == "pc" else "sata"
        disks = [DiskSpec(name="root"), DiskSpec(name="config", kind="config_drive", bus=bus)]
        spec = await make_spec(host, nics=[nic_of(wish)], machine_type=machine_type, disks=disks)
        await host.client.ensure_machine(spec)
        for _ in range(2):
            await host.client.attach_interface(spec.server_id, nic_of(wish, 1))
        await host.client.create_disk(spec.server_id, "data", 8 * MIB)
        for _ in range(2):
            await host.client.attach_disk(spec.server_id, DiskSpec(name="data", serial="volume-1"))
        with pytest.raises(HostError) as caught:
            await host.client.remove_disk(spec.server_id, "data")
        assert caught.value.code == "conflict"
        grown = await host.client.resize_disk(spec.server_id, "data", 32 * MIB)
        assert grown.size_bytes == 32 * MIB
        async with QmpMonitor(host.paths.machine(spec.server_id).qmp_socket) as monitor:
            listed = await monitor.execute("qom-list", {"path": "/machine/peripheral"})
            names = {item["name"] for item in listed}
        assert {f"nic-{p.port_id}" for p in wish.ports} | {"disk-data", "disk-root"} <= names
        await host.client.remove_machine(spec.server_id)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"vcpus": 0}, "invalid", "vcpus"),
        ({"memory_mib": 1}, "invalid", "memory_mib"),
        ({"cpu_model": "no-such-cpu"}, "failed", "unable to find CPU model"),
        ({"cpu_model": "max,x=y"}, "invalid", "CPU model"),
        ({"disks": [DiskSpec(name="absent")]}, "not_found", "absent"),
        ({"disks": [DiskSpec(name="x", kind="volume", volume_id="../x")]}, "invalid", "volume_id"),
        ({"disks": [DiskSpec(name="a/b")]}, "invalid", "disk name"),
        (
            {"nics": [NicSpec(port_id=new_id(), network_id=new_id(), mac_address="fa:16:3e:00:00:01")]},
            "not_found",
            "namespace",
        ),
        ({"server_id": "../../x"}, "invalid", "UUID"),
    ],
)
async def test_a_machine_that_cannot_be_is_refused(
    host: Host, change: dict[str, object], code: str, words: str
) -> None:
    await make_image(host)
    spec = msgspec.structs.replace(await make_spec(host), **change)
    with pytest.raises(HostError, match=words) as caught:
        await host.client.ensure_machine(spec)
    assert caught.value.code == code
    assert not any(m.running for m in await host.client.list_machines())


async def test_one_tap_serves_one_machine(host: Host) -> None:
    await make_image(host)
    wish = network(port(10))
    await host.client.apply_networks([wish], full=True)
    first, second = [await make_spec(host, nics=[nic_of(wish)]) for _ in range(2)]
    await host.client.ensure_machine(first)
    with pytest.raises(HostError) as caught:
        await host.client.ensure_machine(second)
    assert caught.value.code == "conflict"


async def test_purge_leaves_nothing(host: Host) -> None:
    await make_image(host)
    wish = network(port(10, ANY_EGRESS))
    await host.client.apply_networks([wish], full=True)
    info = await host.client.ensure_machine(await make_spec(host, nics=[nic_of(wish)]))
    server = dhcp.running(host.paths.network(wish.network_id))
    assert server is not None
    found = await host.client.get_inventory()
    assert found.machine_pids
    assert found.dnsmasq_pids == {wish.network_id: server.pid}
    assert found.strays == []
    await host.client.purge()
    left = await host.client.get_inventory()
    assert (left.namespaces, left.machines, left.images, left.files) == ([], [], [], [])
    assert not os.path.exists(f"/proc/{info.pid}")
    assert not server.alive
    assert not [n for n in os.listdir("/run/netns") if n.startswith(host.cloud)]
    assert list(host.paths.root.iterdir()) == []
    # and the host process goes on
    assert await host.client.list_machines() == []
    await make_image(host)
    assert (await host.client.ensure_machine(await make_spec(host))).running


async def test_a_stray_process_is_found(host: Host) -> None:
    wish = network()
    await host.client.apply_networks([wish], full=True)
    (host.paths.network(wish.network_id) / "started.json").unlink()
    found = await host.client.get_inventory()
    assert len(found.strays) == 1
    assert "dnsmasq" in found.strays[0]


async def test_a_machine_with_all_that_can_be_asked_for(host: Host) -> None:
    await make_image(host)
    spec = await make_spec(host, vcpus=4, memory_mib=64, topology=(2, 1, 2), boot_menu=True, watchdog="reset",
                           tablet="usb", random_bytes=1024, random_period_ms=500, local_time=True, video_memory_mib=16)
    assert (await host.client.ensure_machine(spec)).running
    monitor = QmpMonitor(host.paths.machine(spec.server_id).qmp_socket)
    await monitor.connect()
    try:
        processors = await monitor.execute("query-cpus-fast")
        assert sorted((p["props"]["socket-id"], p["props"]["thread-id"]) for p in processors) == [
            (0, 0), (0, 1), (1, 0), (1, 1)]
        devices = {str(item["name"]) for item in await monitor.execute("qom-list", {"path": "/machine/peripheral"})}
        assert {"watchdog0", "usb0"} <= devices
    finally:
        await monitor.close()
    with pytest.raises(HostError, match="do not make 4 vcpus"):
        await host.client.ensure_machine(msgspec.structs.replace(spec, topology=(3, 1, 1)))


@pytest.mark.parametrize("machine_type", ["pc", "q35"])
async def test_uefi_keeps_its_variables(host: Host, machine_type: str) -> None:
    await make_image(host)
    spec = await make_spec(host, memory_mib=128, firmware="uefi", machine_type=machine_type)
    paths = host.paths.machine(spec.server_id)
    assert (await host.client.ensure_machine(spec)).running
    async with asyncio.timeout(60):
        while b"Bds" not in paths.console_log.read_bytes():  # the firmware says what it boots from
            await asyncio.sleep(0.1)
    await host.client.stop_machine(spec.server_id, hard=True)
    first = paths.nvram.read_bytes()
    paths.nvram.write_bytes(first)
    await host.client.ensure_machine(spec)
    assert len(paths.nvram.read_bytes()) == len(first) and paths.nvram.stat().st_mode & 0o777 == 0o600
