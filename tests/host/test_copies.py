"""Flat copies of disks: of machines that run and of those that are off, given up, and begun anew."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from cloudseed.host.errors import HostError
from cloudseed.host.records import CopyStatus, DiskSpec, MachineSpec
from tests.host.conftest import Host, new_id

pytestmark = pytest.mark.real
MIB = 1024 * 1024


async def server(host: Host, size: int = 8 * MIB) -> str:
    """A machine, off, whose disk stands on an image that begins with 64 KiB of `a`."""
    source = host.paths.incoming / "source"
    source.write_bytes(b"a" * 65536 + bytes(size - 65536))
    await host.client.import_image("base", "source", "raw")
    server_id = new_id()
    await host.client.create_disk(server_id, "root", 2 * size, "base", "raw")
    return server_id


def machine(server_id: str) -> MachineSpec:
    return MachineSpec(server_id=server_id, name="vm", vcpus=1, memory_mib=32, disks=[DiskSpec(name="root")])


async def copied(host: Host, server_id: str, key: str) -> CopyStatus:
    async with asyncio.timeout(60):
        while not (status := await host.client.copy_disk(server_id, "root", key)).done:
            await asyncio.sleep(0.05)
    return status


def content(path: Path) -> bytes:
    """What a guest would read."""
    raw = path.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(path), str(raw)], check=True)
    return raw.read_bytes()


@pytest.mark.parametrize("running", [False, True])
async def test_a_copy_is_flat_and_whole(host: Host, running: bool) -> None:
    server_id, key = await server(host), new_id()
    if running:
        await host.client.ensure_machine(machine(server_id))
    await copied(host, server_id, key)
    path = host.paths.outgoing_copy(key)
    facts = subprocess.run(["qemu-img", "info", "-f", "qcow2", str(path)], check=True, capture_output=True, text=True)
    assert "backing" not in facts.stdout
    assert path.stat().st_mode & 0o777 == 0o640 and path.stat().st_size < 2 * MIB
    assert content(path) == b"a" * 65536 + bytes(16 * MIB - 65536)
    assert not list(host.paths.machine(server_id).directory.glob("copier.sock"))
    assert (await host.client.copy_disk(server_id, "root", key)).done
    if not running:  # and it can start again
        await host.client.ensure_machine(machine(server_id))
    assert f"outgoing/{key}" in (await host.client.get_inventory()).files
    await host.client.drop_copy(server_id, key)
    await host.client.drop_copy(server_id, key)
    assert list(host.paths.outgoing.glob("*.part")) == [] and not path.exists()


@pytest.mark.parametrize("running", [False, True])
async def test_a_copy_that_is_given_up_leaves_nothing(host: Host, running: bool) -> None:
    server_id, key = await server(host, 64 * MIB), new_id()
    disk = host.paths.machine(server_id).disk("root")
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 5 0 60M", str(disk)], check=True, capture_output=True)
    if running:
        await host.client.ensure_machine(machine(server_id))
    status = await host.client.copy_disk(server_id, "root", key)
    await host.client.drop_copy(server_id, key)
    assert not status.done and list(host.paths.outgoing.iterdir()) == []
    await copied(host, server_id, key)
    assert host.paths.outgoing_copy(key).stat().st_size > 60 * MIB


@pytest.mark.parametrize("running", [False, True])
async def test_a_copy_whose_host_process_was_killed_is_begun_anew(host: Host, running: bool) -> None:
    server_id, key = await server(host, 64 * MIB), new_id()
    disk = host.paths.machine(server_id).disk("root")
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 5 0 60M", str(disk)], check=True, capture_output=True)
    if running:
        await host.client.ensure_machine(machine(server_id))
    assert not (await host.client.copy_disk(server_id, "root", key)).done
    await host.kill()
    await host.client.close()
    await host.start()
    assert list(host.paths.outgoing.iterdir()) == []
    await copied(host, server_id, key)
    await host.client.remove_machine(server_id)


async def test_copies_are_named_by_ids_alone(host: Host) -> None:
    server_id = await server(host)
    for name, key in (("root", "../../etc/passwd"), ("../x", new_id()), ("other", new_id())):
        with pytest.raises(HostError) as caught:
            await host.client.copy_disk(server_id, name, key)
        assert caught.value.code in ("invalid", "not_found")
    key = new_id()
    os.symlink("/etc/shadow", host.paths.outgoing / f"{key}.part")
    await copied(host, server_id, key)
    assert not host.paths.outgoing_copy(key).is_symlink()
