"""A guest that writes to a disk for which there is no space: it stands still, sees no error, and goes on with space."""

from __future__ import annotations

import asyncio
import struct
import subprocess
from collections.abc import AsyncIterator

import pytest
from bench.small_disks import mount, unmount

from cloudseed.host import full_disks
from cloudseed.host.records import DiskSpec, MachineSpec
from tests.host.conftest import Host, new_id
from tests.host.test_suspension import info

pytestmark = pytest.mark.real
MIB = 1024 * 1024


def writing_sector() -> bytes:
    """A boot sector that writes itself to every 128th sector of its disk by the BIOS, and halts at the first error."""
    code = b"".join((
        b"\x31\xc0",  # xor ax, ax
        b"\x8e\xd8",  # mov ds, ax
        b"\xbe\x40\x7c",  # mov si, 0x7c40: what is to be written, see below
        b"\xb8\x00\x43",  # again: mov ax, 0x4300
        b"\xcd\x13",  # int 0x13
        b"\x72\x0b",  # jc end
        b"\x66\x81\x06\x48\x7c\x80\x00\x00\x00",  # add dword [0x7c48], 128
        b"\xeb\xee",  # jmp again
        b"\xf4",  # end: hlt
        b"\xeb\xfd"))  # jmp end
    order = struct.pack("<BBHHHQ", 16, 0, 1, 0x7C00, 0, 128)
    return (code.ljust(0x40, b"\0") + order).ljust(510, b"\0") + b"\x55\xaa"


@pytest.fixture
async def small(host: Host) -> AsyncIterator[Host]:
    """Its machines lie on a file system of 2 MiB."""
    place = host.paths.machines
    place.mkdir(exist_ok=True)
    mount(place, 2)
    try:
        yield host
        for machine in await host.client.list_machines():
            await host.client.remove_machine(machine.server_id)
    finally:
        unmount(place)


async def test_a_guest_whose_disk_is_full_goes_on_when_there_is_space(small: Host) -> None:
    (small.paths.incoming / "writer").write_bytes(writing_sector() + bytes(MIB - 512))
    await small.client.import_image("writer", "writer", "raw")
    spec = MachineSpec(server_id=new_id(), name="vm", vcpus=1, memory_mib=32, disks=[DiskSpec(name="root")])
    await small.client.create_disk(spec.server_id, "root", 48 * MIB, "writer", "raw")
    await small.client.ensure_machine(spec)
    await until(small, spec, paused=True)
    await asyncio.sleep(full_disks.AGAIN_S * 1.5)  # tried again, in vain
    await until(small, spec, paused=True)

    await small.client.pause_machine(spec.server_id, paused=True)  # by its user, so space changes nothing
    subprocess.run(["mount", "-o", "remount,size=2500k", str(small.paths.machines)], check=True)
    await asyncio.sleep(full_disks.AGAIN_S * 1.5)
    assert (await info(small, spec.server_id)).paused
    await small.client.pause_machine(spec.server_id, paused=False)
    await until(small, spec, paused=True)

    await small.kill()  # whoever comes next finds it so
    await small.start()
    assert (await info(small, spec.server_id)).running
    subprocess.run(["mount", "-o", "remount,size=128m", str(small.paths.machines)], check=True)
    await until(small, spec, paused=False)
    root = small.paths.machine(spec.server_id).disk("root")
    async with asyncio.timeout(30):
        while written(root.read_bytes()) < 48 * MIB // 65536 - 1:  # every one, so none failed
            await asyncio.sleep(0.1)


def written(disk: bytes) -> int:
    return disk.count(b"\xbe\x40\x7c\xb8\x00\x43\xcd\x13")


async def until(host: Host, spec: MachineSpec, *, paused: bool) -> None:
    async with asyncio.timeout(30):
        while (await info(host, spec.server_id)).paused != paused:
            await asyncio.sleep(0.05)
