"""One real guest, from its disk to its end: what only a guest that runs can show."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudseed.guest_images import BuildError, build_tiny_async
from cloudseed.host.records import DiskSpec, MachineSpec
from tests.host.conftest import ANY_EGRESS, Host, network, new_id, port
from tests.host.test_machines import MIB, Exits, nic_of

pytestmark = pytest.mark.real


async def until(what: Callable[[], bool], timeout_s: float) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(timeout_s):
        while not what():
            await asyncio.sleep(0.05)


async def test_a_guest_boots_gets_its_address_lets_go_of_devices_and_powers_off(host: Host, image_cache: Path) -> None:
    try:
        image = await build_tiny_async(image_cache)
    except BuildError as exc:
        pytest.skip(f"there is no guest image: {exc}")
    await asyncio.to_thread(shutil.copy, image, host.paths.incoming / "tiny")
    await host.client.import_image("tiny", "tiny", "qcow2")
    wish = network(port(10, ANY_EGRESS), port(11, ANY_EGRESS))
    await host.client.apply_networks([wish], full=True)
    server_id = new_id()
    await host.client.create_disk(server_id, "root", 256 * MIB, "tiny")
    spec = MachineSpec(
        server_id=server_id,
        name="guest",
        vcpus=1,
        memory_mib=128,
        disks=[DiskSpec(name="root")],
        nics=[nic_of(wish)],
    )
    exits = Exits(host)
    try:
        await host.client.ensure_machine(spec)
        console = host.paths.machine(server_id).console_log
        await until(lambda: b"10.0.0.10/24 by DHCP" in console.read_bytes(), 60)
        await until(lambda: b"login:" in console.read_bytes(), 60)
        await host.client.create_disk(server_id, "data", 8 * MIB)
        await host.client.attach_disk(server_id, DiskSpec(name="data"))
        await host.client.attach_interface(server_id, nic_of(wish, 1))
        await until(lambda: b"10.0.0.11/24 by DHCP" in console.read_bytes(), 30)
        await host.client.detach_interface(server_id, wish.ports[1].port_id)
        await host.client.detach_interface(server_id, wish.ports[1].port_id)
        await host.client.detach_disk(server_id, "data")
        await host.client.remove_disk(server_id, "data")
        await host.client.stop_machine(server_id)
        assert (await exits.next(30)).reason == "guest-shutdown"
    finally:
        await exits.close()
