"""A machine of one host with a volume of another, by TLS; whoever dies, no byte is lost and the guest sees no error."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cloudseed.host import authority, gate, inventory, processes
from cloudseed.host.errors import HostError
from cloudseed.host.paths import StatePaths
from cloudseed.host.qemu_command import device_id
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import DiskSpec, MachineSpec
from tests.host.conftest import Host, new_id

pytestmark = pytest.mark.real
MIB = 1024 * 1024


class Pair:
    """Host `storage` has volumes, host `compute` has machines."""

    def __init__(self, storage: Host, compute: Host) -> None:
        self.storage, self.compute = storage, compute
        self.volume_id, self.attachment_id, self.server_id = new_id(), new_id(), new_id()

    async def volume_disk(self, read_only: bool = False) -> DiskSpec:
        await self.storage.client.create_volume(self.volume_id, 16 * MIB)
        return await self.another(self.attachment_id, read_only)

    async def another(self, attachment_id: str, read_only: bool = False) -> DiskSpec:
        export = await self.storage.client.export_volume(self.volume_id, attachment_id, read_only=read_only,
                                                         peer=self.compute.underlay)
        again = await self.storage.client.export_volume(self.volume_id, attachment_id, read_only=read_only,
                                                        peer=self.compute.underlay)
        assert again == export
        assert export.way is not None
        return DiskSpec(name=f"volume-{attachment_id[:4]}", kind="volume", format="raw", volume_id=self.volume_id,
                        attachment_id=attachment_id, read_only=read_only, way=export.way)

    async def machine(self, *disks: DiskSpec) -> None:
        """One without a system: its QEMU does what the tests say."""
        await self.compute.client.claim_machine(self.server_id)
        await self.compute.client.ensure_machine(MachineSpec(
            server_id=self.server_id, name="vm", vcpus=1, memory_mib=32, disks=list(disks)))

    async def write(self, disk: DiskSpec, value: int, place: int) -> None:
        """Have QEMU write 4 KiB of this value at `place` times 4 KiB, and see it in the volume's file."""
        await self.io(disk, f"write -P {value} {place * 4}k 4k")
        with open(self.storage.paths.volume(self.volume_id).data, "rb") as file:
            file.seek(place * 4096)
            assert file.read(4096) == bytes([value]) * 4096

    async def io(self, disk: DiskSpec, command: str) -> None:
        """Have QEMU do this to its block device; what it says of that nobody hears."""
        async with QmpMonitor(self.compute.paths.machine(self.server_id).qmp_socket, timeout_s=60.0) as monitor:
            assert not await monitor.execute("human-monitor-command", {
                "command-line": f'qemu-io -d /machine/peripheral/{device_id(disk.name)}/virtio-backend "{command}"'})

    def daemon(self) -> processes.ProcessRecord:
        record = processes.load(self.storage.paths.volume(self.volume_id).exporter(False).pid)
        assert record is not None
        return record


@pytest.fixture
async def pair(tmp_path: Path, cloud: str) -> AsyncIterator[Pair]:
    authority.make_authority(tmp_path / "authority", cloud)
    base, hosts = f"127.{random.randrange(1, 255)}.{random.randrange(255)}", []
    async with contextlib.AsyncExitStack() as stack:
        for number, name in enumerate("ab"):
            paths = StatePaths(tmp_path / name / "state")
            address = f"{base}.{number + 11}"
            authority.issue(tmp_path / "authority", paths.tls, name, [address])
            host = Host(f"{cloud}{name}", paths, underlay=address)
            stack.callback(inventory.purge, host.cloud, paths)
            stack.callback(end_all, paths)
            await host.start()
            stack.push_async_callback(host.stop)
            hosts.append(host)
        yield Pair(*hosts)


def end_all(paths: StatePaths) -> None:
    for pid_file in [*paths.machines.glob("*/pid"), *paths.volumes.glob("*/r?/pid")]:
        record = processes.load(pid_file)
        if record is not None:
            processes.end(record, grace_s=1.0)


async def restart(host: Host) -> None:
    await host.kill()
    await host.client.close()
    await host.start()


async def test_whoever_dies_the_guest_sees_no_error(pair: Pair) -> None:
    disk = await pair.volume_disk()
    await pair.machine(disk)
    await pair.write(disk, 1, 0)
    processes.end(pair.daemon(), grace_s=0.0)
    await pair.write(disk, 2, 1)
    await restart(pair.storage)
    await pair.write(disk, 3, 2)
    await restart(pair.compute)
    await pair.write(disk, 4, 3)


async def test_a_volume_comes_and_goes_while_the_machine_runs(pair: Pair) -> None:
    disk = await pair.volume_disk()
    await pair.machine()
    for _ in range(2):
        await pair.compute.client.attach_disk(pair.server_id, disk)
    await pair.write(disk, 9, 0)
    way = pair.compute.paths.machine(pair.server_id).volume_socket(pair.attachment_id)
    assert way.exists()
    await pair.storage.client.extend_volume(pair.volume_id, 32 * MIB)
    await pair.compute.client.resize_disk(pair.server_id, disk.name, 32 * MIB)
    await pair.write(disk, 9, 31 * 256)
    await pair.compute.client.stop_machine(pair.server_id, hard=True)
    async with asyncio.timeout(5):
        while way.exists():
            await asyncio.sleep(0.02)
    await pair.storage.client.unexport_volume(pair.volume_id, pair.attachment_id)
    assert not (await pair.storage.client.list_volumes()).volumes[0].exports
    await pair.storage.client.delete_volume(pair.volume_id)


async def test_two_machines_of_two_hosts_see_one_anothers_writes(pair: Pair) -> None:
    disk, reader = await pair.volume_disk(), await pair.another(new_id(), read_only=True)
    await pair.machine(disk, reader)
    await pair.write(disk, 5, 0)
    # who has it for reading may not say otherwise
    liar = msgspec.structs.replace(await pair.another(new_id(), read_only=True), read_only=False)
    with pytest.raises(HostError):
        await pair.compute.client.attach_disk(pair.server_id, liar)


async def test_an_export_that_ended_lets_nobody_through(pair: Pair) -> None:
    disk = await pair.volume_disk()
    await pair.machine(disk)
    await pair.storage.client.unexport_volume(pair.volume_id, pair.attachment_id)
    assert not await greeted(pair, pair.compute, disk)
    await pair.storage.client.export_volume(pair.volume_id, pair.attachment_id)  # a machine of the host itself
    assert not await greeted(pair, pair.compute, disk)


async def test_only_the_attachments_host_comes_in(pair: Pair, tmp_path: Path) -> None:
    disk = await pair.volume_disk()
    assert disk.way is not None
    assert await greeted(pair, pair.compute, disk)
    # another host of the cloud with the very ticket; a wrong ticket; another attachment's name
    assert not await greeted(pair, pair.storage, disk)
    wrong = msgspec.structs.replace(disk, way=msgspec.structs.replace(disk.way, ticket="0" * 64))
    assert not await greeted(pair, pair.compute, wrong)
    assert not await greeted(pair, pair.compute, msgspec.structs.replace(disk, attachment_id=new_id()))
    assert not await greeted(pair, pair.compute, msgspec.structs.replace(disk, volume_id="../../x"))
    # the host's address without a certificate of the cloud; a certificate that names another address
    authority.make_authority(tmp_path / "strangers", "strangers")
    authority.issue(tmp_path / "strangers", tmp_path / "stranger", "b", [pair.compute.underlay])
    assert not await greeted(pair, pair.compute, disk, tmp_path / "stranger")
    assert not await greeted(pair, pair.compute, disk, pair.storage.paths.tls)
    # noise, and somebody who says nothing of TLS
    assert await greeted(pair, pair.compute, disk, noise=b"\n") is False
    assert await greeted(pair, pair.compute, disk, noise=b"x" * 5000) is False
    reader, writer = await asyncio.open_connection(disk.way.address, disk.way.port)
    writer.write(b"NBDMAGIC" * 10)
    assert b"NBDMAGIC" not in await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert await greeted(pair, pair.compute, disk)


async def greeted(pair: Pair, own: Host, disk: DiskSpec, tls: Path | None = None, noise: bytes = b"") -> bool:
    """Whether NBD's greeting comes to one who asks for the disk from that host's address."""
    assert disk.way is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = tls or own.paths.tls
    context.load_cert_chain(tls / "cert.pem", tls / "key.pem")
    context.load_verify_locations(pair.storage.paths.tls / "ca.pem")
    try:
        reader, writer = await asyncio.open_connection(
            disk.way.address, disk.way.port, ssl=context, server_hostname=disk.way.address,
            local_addr=(own.underlay, 0))
        wanted = gate.Wanted("volume", f"{disk.volume_id}/{disk.attachment_id}", disk.way.ticket)
        writer.write(noise or msgspec.json.encode(wanted) + b"\n")
        try:
            return await asyncio.wait_for(reader.read(8), 5) == b"NBDMAGIC"
        finally:
            writer.transport.abort()
    except (OSError, ssl.SSLError):
        return False


async def test_a_host_that_is_alone_says_so(host: Host) -> None:
    volume_id = new_id()
    await host.client.create_volume(volume_id, MIB)
    with pytest.raises(HostError, match="no address among others"):
        await host.client.export_volume(volume_id, new_id(), peer="127.0.0.9")
    with pytest.raises(HostError, match="no address of a host"):
        await host.client.export_volume(volume_id, new_id(), peer="nobody")
    assert not (await host.client.list_volumes()).volumes[0].exports


def test_the_gates_port_is_above_those_of_root_alone() -> None:
    assert gate.PORT > socket.IPPORT_RESERVED


async def test_a_console_is_open_to_one_viewer_once(pair: Pair) -> None:
    await pair.machine()
    own = pair.storage  # the viewer's host
    for kind, first in (("novnc", b"RFB 003.008\n"), ("serial", b"")):
        door = await pair.compute.client.open_console(pair.server_id, kind, own.underlay)  # type: ignore[arg-type]
        wanted = gate.Wanted(gate.CONSOLE, pair.server_id, door.ticket)
        for tries in range(2):
            reader, writer = await gate.enter_streams(own.paths.tls, own.underlay, door.address, door.port, wanted)
            try:
                if tries == 0 and kind == "serial":  # it says nothing by itself: it stays open
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(reader.read(1), 1)
                else:
                    assert await asyncio.wait_for(reader.read(12), 5) == (b"" if tries else first)
            except ConnectionError:
                assert tries
            finally:
                writer.transport.abort()
    # a ticket of another address; another server's name with it; a machine that does not run
    for address, server_id in ((pair.compute.underlay, pair.server_id), (own.underlay, new_id())):
        door = await pair.compute.client.open_console(pair.server_id, "novnc", address)
        wanted = gate.Wanted(gate.CONSOLE, server_id, door.ticket)
        reader, writer = await gate.enter_streams(own.paths.tls, own.underlay, door.address, door.port, wanted)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(12), 5) == b""
        writer.transport.abort()
    with pytest.raises(HostError, match="does not run"):
        await pair.compute.client.open_console(new_id(), "novnc", own.underlay)
