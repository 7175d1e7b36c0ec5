"""Volumes: files, copies and exports by real storage daemons; no guest is needed."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from cloudseed.host import inventory, processes, users, volume_files
from cloudseed.host.errors import HostError
from cloudseed.host.exporters import Exporter
from cloudseed.host.paths import StatePaths
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import ByteSource, DiskSpec
from tests.host.conftest import Host, new_id
from tests.host.test_machines import make_image, make_spec

pytestmark = pytest.mark.real
MIB = 1024 * 1024


def volume(volume_id: str) -> ByteSource:
    return ByteSource(kind="volume", id=volume_id)


def snapshot(snapshot_id: str) -> ByteSource:
    return ByteSource(kind="snapshot", id=snapshot_id)


async def make_volume(host: Host, size: int = 16 * MIB) -> str:
    volume_id = new_id()
    await host.client.create_volume(volume_id, size)
    return volume_id


async def contents(host: Host, source: ByteSource) -> bytes:
    """All bytes, piece by piece."""
    found = bytearray()
    while True:
        piece = await host.client.read_volume(source, len(found), MIB)
        if not piece.data and not piece.zero_bytes:
            return bytes(found)
        found += piece.data + bytes(piece.zero_bytes)


def nbd(host: Host, volume_id: str, attachment_id: str, *commands: str, mode: str = "rw") -> None:
    """Do these qemu-io commands on the export, as a machine would."""
    socket = host.paths.volume(volume_id).exporter(mode == "ro").nbd_socket
    argv = ["qemu-io", "-f", "raw", *(["-r"] if mode == "ro" else [])]
    for command in commands:
        argv += ["-c", command]
    # by a short name: the socket's own may be longer than an address can be
    directory = os.open(socket.parent, os.O_PATH)
    try:
        argv.append(f"nbd+unix:///{attachment_id}?socket=/proc/self/fd/{directory}/{socket.name}")
        done = subprocess.run(argv, capture_output=True, text=True, pass_fds=[directory], timeout=20)
    finally:
        os.close(directory)
    if done.returncode or "error" in (done.stdout + done.stderr).lower() or "failed" in done.stdout:
        raise OSError(done.stdout + done.stderr)


def daemon(host: Host, volume_id: str, read_only: bool = False) -> processes.ProcessRecord:
    record = processes.load(host.paths.volume(volume_id).exporter(read_only).pid)
    assert record is not None
    assert record.alive
    return record


async def test_a_volume_is_made_once_grown_and_removed(host: Host) -> None:
    volume_id = new_id()
    for _ in range(2):
        info = await host.client.create_volume(volume_id, 16 * MIB)
        assert info.size_bytes == 16 * MIB
        assert info.allocated_bytes == 0
    await host.client.write_volume(volume_id, MIB, b"x" * 4096, sync=True)
    assert (await host.client.extend_volume(volume_id, 32 * MIB)).size_bytes == 32 * MIB
    with pytest.raises(HostError, match="can grow") as caught:
        await host.client.extend_volume(volume_id, 16 * MIB)
    assert caught.value.code == "invalid"
    assert await contents(host, volume(volume_id)) == bytes(MIB) + b"x" * 4096 + bytes(31 * MIB - 4096)
    report = await host.client.list_volumes()
    assert [v.volume_id for v in report.volumes] == [volume_id]
    for _ in range(2):
        await host.client.delete_volume(volume_id)
    assert (await host.client.list_volumes()).volumes == []
    assert sorted(p.name for p in host.paths.volumes.iterdir()) == ["packs", "snapshots"]


async def test_only_root_passes_to_volumes(host: Host) -> None:
    volume_id = await make_volume(host)
    for path in (host.paths.volumes, host.paths.volume(volume_id).directory, host.paths.snapshots, host.paths.packs):
        status = path.stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o700)


async def test_the_next_owner_reads_zeros(host: Host) -> None:
    """Of a deleted volume no byte is seen again: not in a new volume, nor in one that grew, nor beyond a copy."""
    secret = os.urandom(MIB)
    first = await make_volume(host, 8 * MIB)
    for n in range(8):
        await host.client.write_volume(first, n * MIB, secret, sync=True)
    await host.client.create_snapshot(snapshot_id := new_id(), first)
    await host.client.delete_volume(first)
    await host.client.delete_snapshot(snapshot_id)
    second = await make_volume(host, 8 * MIB)
    assert await contents(host, volume(second)) == bytes(8 * MIB)
    await host.client.extend_volume(second, 16 * MIB)
    await host.client.create_volume(third := new_id(), 24 * MIB, volume(second))
    assert await contents(host, volume(third)) == bytes(24 * MIB)


async def test_copies_stand_on_their_own(host: Host) -> None:
    volume_id = await make_volume(host)
    await host.client.write_volume(volume_id, 5 * MIB, b"one" * 1000)
    snapshot_id = new_id()
    for _ in range(2):
        assert (await host.client.create_snapshot(snapshot_id, volume_id)).size_bytes == 16 * MIB
    assert (await host.client.list_volumes()).snapshots[0].allocated_bytes < MIB
    await host.client.write_volume(volume_id, 5 * MIB, b"two" * 1000)
    clone = new_id()
    await host.client.create_volume(clone, 20 * MIB, volume(volume_id))
    await host.client.create_volume(old := new_id(), 16 * MIB, snapshot(snapshot_id))
    await host.client.write_volume(volume_id, 5 * MIB, zero_bytes=MIB)
    assert (await contents(host, volume(clone)))[5 * MIB : 5 * MIB + 3000] == b"two" * 1000
    assert (await contents(host, volume(old)))[5 * MIB : 5 * MIB + 3000] == b"one" * 1000
    assert await contents(host, volume(volume_id)) == bytes(16 * MIB)
    await host.client.extend_volume(volume_id, 24 * MIB)
    assert (await host.client.revert_volume(volume_id, snapshot_id)).size_bytes == 24 * MIB
    assert (await contents(host, volume(volume_id)))[5 * MIB : 5 * MIB + 3000] == b"one" * 1000
    with pytest.raises(HostError, match="more than") as caught:
        await host.client.create_volume(new_id(), 8 * MIB, snapshot(snapshot_id))
    assert caught.value.code == "invalid"
    with pytest.raises(HostError) as caught:
        await host.client.create_volume(new_id(), 8 * MIB, snapshot(new_id()))
    assert caught.value.code == "not_found"
    assert len((await host.client.list_volumes()).volumes) == 3


@pytest.mark.parametrize("format", ["qcow2", "raw"])
async def test_from_an_image_and_to_an_image(host: Host, tmp_path: Path, format: str) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(MIB) + b"image" * 1000)
    os.truncate(raw, 4 * MIB)
    source = host.paths.incoming / "source"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", format, str(raw), str(source)], check=True)
    await host.client.import_image("base", "source", format)  # type: ignore[arg-type]
    volume_id = new_id()
    info = await host.client.create_volume(volume_id, 8 * MIB, ByteSource(kind="image", id="base"))
    assert info.allocated_bytes < 2 * MIB
    assert host.paths.volume(volume_id).data.stat().st_uid == 0
    assert await contents(host, volume(volume_id)) == raw.read_bytes() + bytes(4 * MIB)
    length = await host.client.pack_volume(pack := new_id(), volume(volume_id))
    packed = tmp_path / "packed"
    packed.write_bytes(await contents(host, ByteSource(kind="pack", id=pack)))
    assert packed.stat().st_size == length
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(packed), str(raw)], check=True)
    assert raw.read_bytes() == await contents(host, volume(volume_id))
    await host.client.remove_pack(pack)
    assert (await host.client.list_volumes()).packs == []


async def test_an_export_is_confined_and_outlives_the_host_process(host: Host) -> None:
    volume_id, attachment_id = await make_volume(host), new_id()
    for _ in range(2):
        assert (await host.client.export_volume(volume_id, attachment_id)).running
    record = daemon(host, volume_id)
    assert os.stat(f"/proc/{record.pid}").st_uid >= users.UID_BASE
    status = Path(f"/proc/{record.pid}/status").read_text()
    for line in ("NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "Groups:\t \n"):
        assert line in status
    assert os.getsid(record.pid) == record.pid
    assert os.stat(f"/proc/{record.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
    nbd(host, volume_id, attachment_id, "write -P 7 1M 1M", "flush")
    await host.kill()
    nbd(host, volume_id, attachment_id, "read -P 7 1M 1M", "write -P 8 2M 1M")
    host.paths.volume(volume_id).exporter(False).pid.unlink()  # as if it had been killed before it was recorded
    await host.start()
    assert (await host.client.export_volume(volume_id, attachment_id)).running
    assert daemon(host, volume_id).pid == record.pid
    assert (await host.client.get_inventory()).exporter_pids == {f"v{volume_id}-rw": record.pid}
    with pytest.raises(HostError) as caught:
        await host.client.delete_volume(volume_id)
    assert caught.value.code == "conflict"
    for _ in range(2):
        await host.client.unexport_volume(volume_id, attachment_id)
    assert not record.alive
    assert (await contents(host, volume(volume_id)))[MIB : 3 * MIB] == b"\7" * MIB + b"\10" * MIB


async def test_a_daemon_that_dies_or_a_host_that_rebooted_gets_another(host: Host) -> None:
    volume_id, attachment_id = await make_volume(host), new_id()
    await host.client.export_volume(volume_id, attachment_id)
    first = daemon(host, volume_id)
    nbd(host, volume_id, attachment_id, "write -P 9 0 64k", "flush")
    # within its first seconds: it is started again, but not at once
    os.kill(first.pid, signal.SIGKILL)
    exporter = host.paths.volume(volume_id).exporter(read_only=False)
    async with asyncio.timeout(15):
        while (found := processes.load(exporter.pid)) == first or found is None:
            await asyncio.sleep(0.05)
    await host.client.export_volume(volume_id, attachment_id)  # returns when the new one is ready
    nbd(host, volume_id, attachment_id, "read -P 9 0 64k")
    second = daemon(host, volume_id)
    assert second.pid != first.pid
    await host.kill()
    os.kill(second.pid, signal.SIGKILL)
    await host.start()
    nbd(host, volume_id, attachment_id, "read -P 9 0 64k")


async def test_a_reader_cannot_write(host: Host) -> None:
    volume_id, reader, writer = await make_volume(host), new_id(), new_id()
    await host.client.export_volume(volume_id, writer)
    await host.client.export_volume(volume_id, reader, read_only=True)
    nbd(host, volume_id, writer, "write -P 3 0 64k")
    nbd(host, volume_id, reader, "read -P 3 0 64k", mode="ro")
    with pytest.raises(OSError, match=r"[Rr]ead.only"):
        nbd(host, volume_id, reader, "write -P 4 0 64k", mode="ro")
    # and the reader's socket does not lead to the writer's export
    with pytest.raises(OSError, match="export"):
        nbd(host, volume_id, writer, "read 0 64k", mode="ro")
    # nor does the reader's daemon have a right to write, whatever becomes of it
    status = host.paths.volume(volume_id).data.stat()
    owners = (_uid(host, volume_id, False), _uid(host, volume_id, True))
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (*owners, 0o640)
    with pytest.raises(HostError) as caught:
        await host.client.export_volume(volume_id, writer, read_only=True)
    assert caught.value.code == "conflict"


def _uid(host: Host, volume_id: str, read_only: bool) -> int:
    return os.stat(f"/proc/{daemon(host, volume_id, read_only).pid}").st_uid


async def test_snapshot_and_growth_under_a_writer(host: Host) -> None:
    volume_id, attachment_id = await make_volume(host), new_id()
    await host.client.export_volume(volume_id, attachment_id)
    nbd(host, volume_id, attachment_id, "write -P 1 0 1M")
    with pytest.raises(HostError) as caught:
        await host.client.read_volume(volume(volume_id), 0, MIB)
    assert caught.value.code == "conflict"
    await host.client.create_snapshot(first := new_id(), volume_id)
    nbd(host, volume_id, attachment_id, "write -P 2 0 1M")
    await host.client.create_snapshot(second := new_id(), volume_id)
    assert (await contents(host, snapshot(first))) == b"\1" * MIB + bytes(15 * MIB)
    assert (await contents(host, snapshot(second))) == b"\2" * MIB + bytes(15 * MIB)
    report = await host.client.list_volumes()
    assert max(s.allocated_bytes for s in report.snapshots) < 2 * MIB
    assert report.snapshots[0].size_bytes == 16 * MIB
    await host.client.extend_volume(volume_id, 32 * MIB)
    nbd(host, volume_id, attachment_id, "write -P 5 31M 1M")
    await host.client.unexport_volume(volume_id, attachment_id)
    assert (await contents(host, volume(volume_id)))[31 * MIB :] == b"\5" * MIB


async def test_what_a_guest_discards_is_given_back(host: Host) -> None:
    volume_id, attachment_id = await make_volume(host), new_id()
    await host.client.export_volume(volume_id, attachment_id)
    nbd(host, volume_id, attachment_id, "write -P 1 0 8M", "flush")
    assert (await host.client.list_volumes()).volumes[0].allocated_bytes >= 8 * MIB
    nbd(host, volume_id, attachment_id, "discard 0 8M", "flush")
    assert (await host.client.list_volumes()).volumes[0].allocated_bytes < MIB


async def test_a_full_disk_is_said_and_leaves_nothing_half_made(cloud: str, tmp_path: Path) -> None:
    """Copies, and copies of volumes in use, which the storage daemon makes."""
    mounted = tmp_path / "full"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20M,mode=755", "tmpfs", str(mounted)], check=True)
    host = Host(cloud, StatePaths(mounted / "state"))
    try:
        await host.start()
        volume_id = await make_volume(host)
        for n in range(12):
            await host.client.write_volume(volume_id, n * MIB, os.urandom(MIB))
        for in_use in (False, True):
            if in_use:
                await host.client.export_volume(volume_id, new_id())
            for copy in (True, False):
                with pytest.raises(HostError) as caught:
                    if copy:
                        await host.client.create_snapshot(new_id(), volume_id)
                    else:
                        await host.client.create_volume(new_id(), 16 * MIB, volume(volume_id))
                assert caught.value.code == "no_space", caught.value
            report = await host.client.list_volumes()
            assert ([v.volume_id for v in report.volumes], report.snapshots) == ([volume_id], [])
            assert report.free_bytes > 5 * MIB
        await host.client.purge()
    finally:
        await host.stop()
        subprocess.run(["umount", str(mounted)], check=True)


async def test_machines_get_their_own_exports_only(host: Host) -> None:
    """Cold and hot, two machines on one volume; each QEMU passes to its own directory of sockets."""
    await make_image(host)
    volume_id, cold, hot = await make_volume(host), new_id(), new_id()
    disk = DiskSpec(name="vol", kind="volume", volume_id=volume_id, attachment_id=cold)
    spec = await make_spec(host, disks=[DiskSpec(name="root"), disk])
    with pytest.raises(HostError, match="not exported") as caught:
        await host.client.ensure_machine(spec)
    assert caught.value.code == "not_found"
    await host.client.export_volume(volume_id, cold)
    await host.client.export_volume(volume_id, hot)
    info = await host.client.ensure_machine(spec)
    other = await make_spec(host)
    await host.client.ensure_machine(other)
    plugged = DiskSpec(name="vol", kind="volume", volume_id=volume_id, attachment_id=hot)
    for _ in range(2):
        await host.client.attach_disk(other.server_id, plugged)
    for server in (spec, other):
        async with QmpMonitor(host.paths.machine(server.server_id).qmp_socket) as monitor:
            nodes = {n["node-name"]: n for n in await monitor.execute("query-named-block-nodes")}
            assert nodes["n-vol"]["image"]["virtual-size"] == 16 * MIB
    directory = host.paths.machine(spec.server_id).volumes
    uid = os.stat(f"/proc/{info.pid}").st_uid
    assert (directory.stat().st_uid, directory.stat().st_gid) == (0, uid)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o710
    # a larger volume is seen by both
    await host.client.extend_volume(volume_id, 32 * MIB)
    for server in (spec, other):
        for _ in range(2):
            assert (await host.client.resize_disk(server.server_id, "vol", 32 * MIB)).size_bytes == 32 * MIB
        async with QmpMonitor(host.paths.machine(server.server_id).qmp_socket) as monitor:
            nodes = {n["node-name"]: n for n in await monitor.execute("query-named-block-nodes")}
            assert nodes["n-vol"]["image"]["virtual-size"] == 32 * MIB
    # no guest runs here that would let go of a disk: the machine's end takes it
    await host.client.remove_machine(other.server_id)
    await host.client.remove_machine(spec.server_id)
    for attachment_id in (cold, hot):
        await host.client.unexport_volume(volume_id, attachment_id)
    assert (await host.client.get_inventory()).exporter_pids == {}


async def test_a_reader_is_a_reading_disk(host: Host) -> None:
    await make_image(host)
    volume_id, attachment_id = await make_volume(host), new_id()
    await host.client.export_volume(volume_id, attachment_id, read_only=True)
    disk = {"name": "vol", "kind": "volume", "volume_id": volume_id, "attachment_id": attachment_id}
    spec = await make_spec(host, disks=[DiskSpec(**disk)])  # type: ignore[arg-type]
    with pytest.raises(HostError, match="reading only") as caught:
        await host.client.ensure_machine(spec)
    assert caught.value.code == "conflict"
    disks = [DiskSpec(**disk, read_only=True)]  # type: ignore[arg-type]
    assert (await host.client.ensure_machine(await make_spec(host, disks=disks))).running


async def test_what_was_half_made_goes(host: Host) -> None:
    volume_id = await make_volume(host)
    await host.kill()
    half = host.paths.volumes / new_id()
    half.mkdir()
    for path in (half / "data.new", host.paths.snapshots / f"{new_id()}.new", host.paths.packs / f"{new_id()}.new"):
        path.write_bytes(b"half")
    await host.start()
    report = await host.client.list_volumes()
    assert ([v.volume_id for v in report.volumes], report.snapshots, report.packs) == ([volume_id], [], [])
    assert not half.exists()
    assert list(host.paths.snapshots.iterdir()) == list(host.paths.packs.iterdir()) == []


@pytest.mark.parametrize("in_use", [False, True])
@pytest.mark.parametrize("what", ["snapshot", "clone", "grow", "export"])
async def test_killed_in_the_middle_and_asked_again(host: Host, what: str, in_use: bool) -> None:
    """Whenever the host process dies, asking again ends as asking once, and nothing else is left."""
    volume_id, attachment_id, made = await make_volume(host, 64 * MIB), new_id(), new_id()
    for n in range(16):
        await host.client.write_volume(volume_id, 4 * n * MIB, os.urandom(2 * MIB))
    before = await contents(host, volume(volume_id))
    if in_use:
        await host.client.export_volume(volume_id, attachment_id)
    other = new_id()

    async def ask() -> None:
        match what:
            case "snapshot":
                await host.client.create_snapshot(made, volume_id)
            case "clone":
                await host.client.create_volume(made, 64 * MIB, volume(volume_id))
            case "grow":
                await host.client.extend_volume(volume_id, 128 * MIB)
            case "export":
                await host.client.export_volume(volume_id, other)

    for wait_s in (0.0, 0.01, 0.05):
        asking = asyncio.ensure_future(ask())
        await asyncio.sleep(wait_s)
        await host.kill()
        await asyncio.gather(asking, return_exceptions=True)
        await host.start()
        found = await host.client.list_volumes()
        assert {v.volume_id for v in found.volumes} <= {volume_id, made}
    await ask()
    if what == "export":
        await host.client.unexport_volume(volume_id, other)
    if in_use:
        nbd(host, volume_id, attachment_id, "read 0 64k")
        await host.client.unexport_volume(volume_id, attachment_id)
    copied = {"snapshot": snapshot(made), "clone": volume(made)}.get(what)
    if copied is not None:
        assert await contents(host, copied) == before
    assert (await contents(host, volume(volume_id)))[: 64 * MIB] == before
    inventory = await host.client.get_inventory()
    assert (inventory.exporter_pids, inventory.strays) == ({}, [])
    assert not list(host.paths.volumes.rglob("*.new")) + list(host.paths.volumes.rglob("copy"))


async def test_purge_ends_daemons(host: Host) -> None:
    volume_id = await make_volume(host)
    await host.client.export_volume(volume_id, new_id())
    record = daemon(host, volume_id)
    await host.client.purge()
    assert not record.alive
    assert list(host.paths.root.iterdir()) == []
    assert (await host.client.list_volumes()).volumes == []


async def test_purge_without_the_host_process(host: Host) -> None:
    """Also of a daemon that was started and not recorded."""
    recorded, unrecorded = await make_volume(host), await make_volume(host)
    for volume_id in (recorded, unrecorded):
        await host.client.export_volume(volume_id, new_id())
    daemons = [daemon(host, volume_id) for volume_id in (recorded, unrecorded)]
    await host.kill()
    host.paths.volume(unrecorded).exporter(read_only=False).pid.unlink()
    inventory.purge(host.cloud, host.paths)
    assert not any(record.alive for record in daemons)
    assert not host.paths.volumes.exists()


@pytest.mark.parametrize(
    ("size", "words"), [(0, "multiple"), (MIB + 1, "multiple"), (-512, "multiple"), (1 << 62, "multiple")]
)
async def test_sizes_that_cannot_be(host: Host, size: int, words: str) -> None:
    with pytest.raises(HostError, match=words) as caught:
        await host.client.create_volume(new_id(), size)
    assert caught.value.code == "invalid"


def test_punched_ranges_are_released(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "w+b") as file:
        file.truncate(8 * MIB)
        os.posix_fallocate(file.fileno(), 0, 8 * MIB)
        os.pwrite(file.fileno(), b"x" * 4096, 4 * MIB)
        file.flush()
        os.fsync(file.fileno())
        volume_files.release_zeros(file.fileno())
        assert os.fstat(file.fileno()).st_blocks * 512 < MIB
    assert path.read_bytes() == bytes(4 * MIB) + b"x" * 4096 + bytes(4 * MIB - 4096)


def test_a_daemons_name_is_short_enough_for_qemu() -> None:
    assert Exporter(new_id(), read_only=True).name.startswith("v")
