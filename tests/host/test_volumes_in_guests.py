"""Volumes as real guests see them: plugged, written, grown, robbed of their daemon, moved to another machine."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
from pathlib import Path

import pytest

from cloudseed.guest_images import BuildError, build_tiny_async
from cloudseed.host import processes
from cloudseed.host.records import ByteSource, DiskSpec, MachineSpec
from cloudseed.host.wire import connect
from tests.host.conftest import Host, new_id

pytestmark = pytest.mark.real
MIB = 1024 * 1024


class Guest:
    """A machine from the tiny image, and a shell on its serial line."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.id = new_id()
        self.name = name
        self._serial: socket.socket
        self._log = host.paths.machine(self.id).console_log
        self._read = 0

    async def start(self, *disks: DiskSpec) -> None:
        await self.host.client.create_disk(self.id, "root", 256 * MIB, "tiny")
        spec = MachineSpec(
            server_id=self.id, name=self.name, vcpus=1, memory_mib=128, disks=[DiskSpec(name="root"), *disks]
        )
        await self.host.client.ensure_machine(spec)

    async def login(self) -> None:
        """A root shell that echoes nothing."""
        self._serial = await connect(self.host.paths.machine(self.id).serial_socket)
        await self._until("login:", 90)
        await self._type("cirros\n")
        await self._until("assword:", 20)
        await self._type("gocubsgo\n")
        await self._until("$ ", 20)
        await self._type("stty -echo; sudo sh\n")
        await self._until("# ", 20)
        await self.run("PS1=''")

    async def run(self, command: str, timeout_s: float = 60) -> str:
        """What the command prints."""
        await self._type(f"{command}; echo end-$((40 + 2))-of\n")
        return (await self._until("end-42-of", timeout_s)).replace("\r", "").strip().removesuffix("end-42-of").strip()

    async def close(self) -> None:
        self._serial.close()

    async def _type(self, text: str) -> None:
        await asyncio.get_running_loop().sock_sendall(self._serial, text.encode())

    async def _until(self, text: str, timeout_s: float) -> str:
        """What came since the last call, up to the text."""
        async with asyncio.timeout(timeout_s):
            while True:
                # QEMU logs what it could send: take it, so that it can
                try:
                    await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._serial, 65536), 0.1)
                except TimeoutError:
                    pass
                new = self._log.read_bytes()[self._read :].decode("latin-1")
                if text in new:
                    at = new.index(text) + len(text)
                    self._read += at
                    return new[:at]


@pytest.fixture
async def tiny(host: Host, image_cache: Path) -> None:
    try:
        image = await build_tiny_async(image_cache)
    except BuildError as exc:
        pytest.skip(f"there is no guest image: {exc}")
    await asyncio.to_thread(shutil.copy, image, host.paths.incoming / "tiny")
    await host.client.import_image("tiny", "tiny", "qcow2")


def disk(volume_id: str, attachment_id: str, **more: object) -> DiskSpec:
    return DiskSpec(
        name=f"volume-{attachment_id}", kind="volume", volume_id=volume_id, attachment_id=attachment_id,
        serial=volume_id, **more,  # type: ignore[arg-type]
    )  # fmt: skip


async def allocated(host: Host) -> int:
    return (await host.client.list_volumes()).volumes[0].allocated_bytes


async def test_a_volumes_life_in_two_guests(host: Host, tiny: None) -> None:
    volume_id, first, second = new_id(), new_id(), new_id()
    await host.client.create_volume(volume_id, 64 * MIB)
    one, two = Guest(host, "one"), Guest(host, "two")
    await one.start()
    await one.login()
    await host.client.export_volume(volume_id, first)
    await host.client.attach_disk(one.id, disk(volume_id, first))
    # the guest sees the disk, with the volume's id as its serial, and writes
    wait = "n=0; until [ -b /dev/vdb ] || [ $n -gt 100 ]; do n=$((n+1)); usleep 50000; done; "
    assert await one.run(f"{wait} cat /sys/block/vdb/size /sys/block/vdb/serial") == f"131072\n{volume_id[:20]}"
    await one.run("dd if=/dev/urandom of=/dev/vdb bs=1M count=16 conv=fsync 2>/dev/null")
    digest = await one.run("dd if=/dev/vdb bs=1M count=16 2>/dev/null | sha256sum | cut -d' ' -f1")
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert await allocated(host) >= 16 * MIB

    # a flush reached the disk: what a guest synced is in the file
    await host.client.create_snapshot(snapshot_id := new_id(), volume_id)

    # the daemon dies in the middle of writing: a pause, no error
    pid_file = host.paths.volume(volume_id).exporter(read_only=False).pid
    record = processes.load(pid_file)
    assert record is not None
    writing = asyncio.create_task(
        one.run("dd if=/dev/zero of=/dev/vdb bs=64k seek=512 count=256 conv=fsync 2>/dev/null && echo written", 120)
    )
    await asyncio.sleep(0.2)
    os.kill(record.pid, signal.SIGKILL)
    assert "written" in await writing
    assert await one.run("dmesg | grep -ci 'i/o error'") == "0"

    # it grows under the guest
    await host.client.extend_volume(volume_id, 128 * MIB)
    await host.client.resize_disk(one.id, f"volume-{first}", 128 * MIB)
    assert await one.run("n=0; until [ $(cat /sys/block/vdb/size) = 262144 ] || [ $n -gt 100 ]; "
                         "do n=$((n+1)); usleep 50000; done; cat /sys/block/vdb/size") == "262144"  # fmt: skip
    await one.run("echo kept | dd of=/dev/vdb bs=1M seek=127 conv=fsync 2>/dev/null")
    read_kept = "dd if=/dev/vdb bs=4 count=1 skip=33292288 2>/dev/null"
    assert await one.run(read_kept) == "kept"

    # a second machine, started with it read-only beside the first
    await host.client.export_volume(volume_id, second, read_only=True)
    await two.start(disk(volume_id, second, read_only=True))
    await two.login()
    assert await two.run("cat /sys/block/vdb/ro /sys/block/vdb/size") == "1\n262144"
    assert await two.run("dd if=/dev/vdb bs=1M count=16 2>/dev/null | sha256sum | cut -d' ' -f1") == digest
    assert "not permitted" in await two.run("dd if=/dev/zero of=/dev/vdb bs=512 count=1 2>&1")
    await host.client.detach_disk(two.id, f"volume-{second}")
    await host.client.unexport_volume(volume_id, second)

    # moved: the first lets go, the second has it for writing
    await host.client.detach_disk(one.id, f"volume-{first}")
    await host.client.unexport_volume(volume_id, first)
    assert "No such file" in await one.run("ls /dev/vdb 2>&1")
    assert list(host.paths.machine(one.id).volumes.iterdir()) == []
    await host.client.export_volume(volume_id, third := new_id())
    await host.client.attach_disk(two.id, disk(volume_id, third))
    assert await two.run(f"{wait} dd if=/dev/vdb bs=1M count=16 2>/dev/null | sha256sum | cut -d' ' -f1") == digest
    assert await two.run(read_kept) == "kept"

    # what it discards is given back, where its tools can say so
    before = await allocated(host)
    if "not found" not in await two.run("blkdiscard /dev/vdb 2>&1; true"):
        assert await allocated(host) < before
    for guest in (one, two):
        await guest.close()
        await host.client.remove_machine(guest.id)
    await host.client.unexport_volume(volume_id, third)

    # and a guest starts from the root disk's copy on a volume
    source = ByteSource(kind="image", id="tiny")
    await host.client.create_volume(root := new_id(), 256 * MIB, source)
    await host.client.export_volume(root, fourth := new_id())
    three = Guest(host, "three")
    spec = MachineSpec(server_id=three.id, name="three", vcpus=1, memory_mib=128, disks=[disk(root, fourth)])
    await host.client.ensure_machine(spec)
    await three.login()
    assert "/dev/vda2" in await three.run("cat /proc/mounts | grep ' / '") or "vda" in await three.run("ls /dev")
    await three.run("touch /kept; sync")
    await three.close()
    await host.client.remove_machine(three.id)
    await host.client.delete_snapshot(snapshot_id)
