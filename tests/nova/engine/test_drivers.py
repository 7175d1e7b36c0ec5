"""What every hypervisor driver must do: one set of tests, on the fake one and on QEMU."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloudseed.guest_images import build_tiny
from cloudseed.host.paths import StatePaths
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import ByteSource
from cloudseed.kernel.config import Config
from cloudseed.kernel.errors import CloudseedError, Conflict, Invalid, NotFound, Unavailable
from cloudseed.nova.compute.consoles import ConsoleKind, ConsoleNotReady, connect
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.drivers.base import CachedImage, Driver
from cloudseed.nova.compute.drivers.fake import FakeDriver
from cloudseed.nova.compute.drivers.qemu import QemuDriver, machine_spec
from cloudseed.nova.compute.drivers.qemu_disks import machine_disks
from cloudseed.nova.compute.errors import BuildAborted, HostFailed
from cloudseed.nova.compute.spec import Rescue, ServerSpec
from cloudseed.nova.metadata.documents import Guest
from cloudseed.nova.metadata.tree import config_drive
from tests.host.conftest import Host

MIB = 1024**2
KINDS: tuple[ConsoleKind, ...] = ("novnc", "serial")
DRIVERS = ["fake", pytest.param("qemu", marks=pytest.mark.real)]


class Rig:
    """A driver with an image to boot; `again` is the driver after a restart of our process."""

    def __init__(self, driver: Driver, image: CachedImage | None, again: Any, host: Host | None = None) -> None:
        self.driver, self.image, self.again, self.host = driver, image, again, host

    async def volume(self, boot_index: int | None = None, *, image: bool = False) -> BlockDevice:
        """A volume that is exported for a machine of ours; `image`: with the image's bytes."""
        volume_id, attachment_id = str(uuid.uuid4()), str(uuid.uuid4())
        if self.host is not None:
            source = ByteSource(kind="image", id="tiny") if image else None
            size = self.image.size_bytes if image and self.image is not None else 16 * MIB
            await self.host.client.create_volume(volume_id, size, source)
            await self.host.client.export_volume(volume_id, attachment_id)
        return BlockDevice(
            id=str(uuid.uuid4()), source_type="volume", destination_type="volume", boot_index=boot_index,
            volume_id=volume_id, attachment_id=attachment_id, state="attached",
            connection_info={"driver_volume_type": "nbd", "data": {"access_mode": "rw"}})

    async def grow(self, device: BlockDevice) -> None:
        if self.host is not None:
            await self.host.client.extend_volume(str(device.volume_id), 32 * MIB)

    async def volumes_of(self, server_id: str) -> set[str]:
        """The volumes that the running machine has."""
        if isinstance(self.driver, FakeDriver):
            return set(self.driver.volumes(server_id))
        assert self.host is not None
        monitor = QmpMonitor(self.host.paths.machine(server_id).qmp_socket)
        await monitor.connect()
        try:
            listed = await monitor.execute("qom-list", {"path": "/machine/peripheral"})
        finally:
            await monitor.close()
        return {item["name"].removeprefix("disk-volume-") for item in listed
                if item["name"].startswith("disk-volume-")}

    async def prepare(self, **fields: Any) -> ServerSpec:
        server = spec(**fields)
        await self.driver.prepare(server, self.image, config_drive(Guest(spec=server, vifs=[]), b"random"))
        return server

    async def runs(self, server_id: str) -> bool:
        machine = await self.driver.machine(server_id)
        return machine is not None and machine.running

    async def off(self, server_id: str) -> None:
        async with asyncio.timeout(30):
            while await self.runs(server_id):
                await asyncio.sleep(0.05)


def spec(**fields: Any) -> ServerSpec:
    return ServerSpec(**{"id": str(uuid.uuid4()), "name": "vm", "hostname": "vm", "project_id": "p", "user_id": "u",
                         "vcpus": 1, "memory_mib": 128, "root_gib": 1, "config_drive": True, **fields})


@pytest.fixture
async def rig(request: pytest.FixtureRequest, tmp_path: Path, cloud: str, state: StatePaths,
              image_cache: Path) -> AsyncIterator[Rig]:
    if request.param == "fake":
        def fake() -> Driver:
            return FakeDriver(tmp_path / "machines", Config(state=str(tmp_path)))

        made = Rig(fake(), None, fake)
        yield made
        made.driver.close()
        return
    host = Host(cloud, state)

    def qemu() -> Driver:
        return QemuDriver(host.client, host.paths, "here")

    await host.start()
    try:
        built = await asyncio.to_thread(build_tiny, image_cache)
        shutil.copy(built, host.paths.incoming / "tiny")
        kind: Any = "qcow2" if built.read_bytes()[:4] == b"QFI\xfb" else "raw"
        info = await host.client.import_image("tiny", "tiny", kind)
        yield Rig(qemu(), CachedImage(key=info.key, format=info.format, size_bytes=info.size_bytes), qemu, host)
        for machine in await host.client.list_machines():
            await host.client.remove_machine(machine.server_id)
    finally:
        await host.stop()


pytestmark = pytest.mark.parametrize("rig", DRIVERS, indirect=True)


async def test_a_machine_from_its_disks_to_its_end(rig: Rig) -> None:
    server = await rig.prepare()
    assert await rig.driver.machine(server.id) is not None and not await rig.runs(server.id)
    await rig.driver.prepare(server, rig.image, config_drive(Guest(spec=server, vifs=[]), b"random"))
    await rig.driver.start(server, [])
    first = await rig.driver.machine(server.id)
    await rig.driver.start(server, [])
    second = await rig.driver.machine(server.id)
    assert first is not None and first.started_at is not None and second is not None and second.running
    assert second.started_at == pytest.approx(first.started_at, abs=0.1) and second.start == first.start
    await rig.driver.stop(server.id, hard=True)
    assert not await rig.runs(server.id)
    await rig.driver.stop(server.id, hard=True)
    await rig.driver.stop(server.id, hard=False)
    await rig.driver.start(server, [])
    third = await rig.driver.machine(server.id)
    assert third is not None and third.running and third.start and third.start != first.start
    await rig.driver.remove(server.id)
    await rig.driver.remove(server.id)
    assert await rig.driver.machines() == [] and await rig.driver.machine(server.id) is None


async def test_a_machine_outlives_our_process(rig: Rig) -> None:
    server = await rig.prepare()
    await rig.driver.start(server, [])
    driver = rig.again()
    assert [(m.server_id, m.running) for m in await driver.machines()] == [(server.id, True)]
    await driver.remove(server.id)


async def test_its_end_is_told(rig: Rig) -> None:
    server = await rig.prepare()
    await rig.driver.start(server, [])
    exits = rig.driver.exits()
    told = asyncio.ensure_future(anext(exits))
    await asyncio.sleep(0.1)  # the watch is established over a connection of its own
    await rig.driver.stop(server.id, hard=True)
    async with asyncio.timeout(10):
        assert (await told).server_id == server.id
    await exits.aclose()  # type: ignore[attr-defined]


async def test_the_power_button_and_the_console(rig: Rig) -> None:
    server = await rig.prepare()
    await rig.driver.start(server, [])
    needle = "login:" if isinstance(rig.driver, QemuDriver) else "LAST LINE"
    async with asyncio.timeout(60):
        while needle not in await rig.driver.console_output(server.id, None):
            await asyncio.sleep(0.1)
    assert len((await rig.driver.console_output(server.id, 2)).splitlines()) <= 2
    assert await rig.driver.console_output(server.id, 0) == ""
    await rig.driver.stop(server.id, hard=False)
    await rig.off(server.id)


async def test_what_is_asked_of_a_running_guest(rig: Rig) -> None:
    server = await rig.prepare(image_properties={"hw_qemu_guest_agent": "yes"})
    plain = msgspec.structs.replace(server, image_properties={})
    with pytest.raises(CloudseedError):
        await rig.driver.inject_nmi(server.id)
    await rig.driver.start(server, [])
    await rig.driver.inject_nmi(server.id)
    found = await rig.driver.figures(server.id)
    assert found["uptime"] >= 0
    with pytest.raises(Conflict):
        await rig.driver.set_password(plain, "root", "secret")
    with pytest.raises(Invalid):
        await rig.driver.quiesce(plain)
    await rig.driver.unquiesce(server.id)  # it never stood still
    if isinstance(rig.driver, FakeDriver):
        await rig.driver.quiesce(server)
        assert rig.driver.quiesced(server.id)
        await rig.driver.unquiesce(server.id)
        assert not rig.driver.quiesced(server.id)
    if isinstance(rig.driver, QemuDriver):
        await rig.driver.pause(server.id)  # whether it has booted yet or not, its agent answers nobody now
        with pytest.raises(Conflict, match="could not be quiesced"):
            await rig.driver.quiesce(server)
        assert len(found["cpus"]) == 1 and found["cpus"][0] > 0 and found["memory_used_mib"] > 0
        assert "root" in [disk["name"] for disk in found["disks"]]
        assert rig.driver._paths.machine(server.id).agent_socket.is_socket()


async def test_disks_are_made_anew(rig: Rig) -> None:
    server = await rig.prepare(image_id="one")
    await rig.driver.start(server, [])
    for _ in range(2):
        await rig.driver.remake(server, rig.image, {})
        assert not await rig.runs(server.id)
    await rig.driver.start(server, [])
    assert await rig.runs(server.id)


@pytest.mark.parametrize(("stable", "bus"), [(False, None), (True, None), (True, "usb")])
async def test_a_machine_is_rescued_and_goes_back(rig: Rig, stable: bool, bus: str | None) -> None:
    server = await rig.prepare(image_id="one")
    rescued = msgspec.structs.replace(server, rescue=Rescue(image_id="two", stable=stable, bus=bus))
    await rig.driver.start(server, [])
    await rig.driver.stop(server.id, hard=True)
    for _ in range(2):
        await rig.driver.prepare_rescue(rescued, rig.image, {})
    await rig.driver.start(rescued, [])
    if isinstance(rig.driver, QemuDriver):
        async with QmpMonitor(rig.driver._paths.machine(server.id).qmp_socket) as monitor:
            qdevs = [device.get("qdev", "").split("/") for device in await monitor.query_block()]
        names = [part for qdev in qdevs for part in qdev if part.startswith("disk-")]
        assert [n for n in names if n in ("disk-rescue", "disk-root")] == (
            ["disk-root", "disk-rescue"] if stable else ["disk-rescue", "disk-root"])
    elif isinstance(rig.driver, FakeDriver):
        assert rig.driver.boots_from(server.id) == "two"
    await rig.driver.stop(server.id, hard=True)
    for _ in range(2):
        await rig.driver.drop_rescue(server, {})
    await rig.driver.start(server, [])
    assert await rig.runs(server.id)


async def test_a_machine_stands_still_and_goes_on(rig: Rig) -> None:
    server = await rig.prepare()
    for act in (rig.driver.pause, rig.driver.unpause, rig.driver.suspend):
        with pytest.raises(CloudseedError):
            await act(server.id)
    await rig.driver.start(server, [])

    async def states() -> tuple[bool, bool, bool]:
        (machine,) = await rig.driver.machines()
        return machine.running, machine.paused, machine.suspended

    for act, expected in ((rig.driver.pause, (True, True, False)), (rig.driver.unpause, (True, False, False)),
                          (rig.driver.suspend, (False, False, True))):
        for _ in range(2):
            await act(server.id)
            assert await states() == expected
    await rig.driver.start(server, [])
    assert await states() == (True, False, False)
    await rig.driver.suspend(server.id)
    await rig.driver.stop(server.id, hard=True)
    assert await states() == (False, False, False)


@pytest.mark.parametrize("running", [False, True])
async def test_a_copy_of_the_disk(rig: Rig, running: bool) -> None:
    server, copy_id = await rig.prepare(), str(uuid.uuid4())
    if running:
        await rig.driver.start(server, [])
    copy = await rig.driver.copy_disk(server, copy_id)
    assert copy.stat().st_size > 0 and await rig.driver.copy_disk(server, copy_id) == copy
    assert await rig.runs(server.id) == running
    await rig.driver.drop_copy(server.id, copy_id)
    await rig.driver.drop_copy(server.id, copy_id)
    assert not copy.exists()
    with pytest.raises(CloudseedError):
        await rig.driver.copy_disk(spec(), str(uuid.uuid4()))


async def test_errors_have_names(rig: Rig) -> None:
    with pytest.raises(NotFound):
        await rig.driver.console_output(str(uuid.uuid4()), None)
    with pytest.raises(CloudseedError):
        await rig.driver.start(spec(), [])
    await rig.driver.stop(str(uuid.uuid4()), hard=True)
    await rig.driver.remove(str(uuid.uuid4()))


async def test_facts_are_of_this_host(rig: Rig) -> None:
    facts = await rig.driver.facts()
    assert facts.vcpus > 0 and facts.memory_mib > 0 and facts.disk_gib > 0 and facts.boot_id
    assert "COMPUTE_NODE" in facts.traits and facts.details["cpu_info"]["arch"] == "x86_64"


@pytest.mark.parametrize("hardware", ["hw_disk_bus", "hw_vif_model", "hw_machine_type", "hw_firmware_type",
                                      "hw_video_model"])
async def test_hardware_that_cannot_be_had_is_refused_by_name(rig: Rig, hardware: str) -> None:
    with pytest.raises(BuildAborted, match=hardware):
        machine_spec(spec(image_properties={hardware: "strange"}), [])


async def test_hardware_as_wished(rig: Rig) -> None:
    server = spec(image_properties={"hw_disk_bus": "scsi", "hw_machine_type": "pc-q35-7.2"},
                  extra_specs={"hw:vif_model": "e1000"}, ephemeral_gib=1, swap_mib=64)
    made = machine_spec(server, [{"id": "p", "address": "fa:16:3e:00:00:01", "network": {"id": "n", "meta": {}}}])
    assert made.machine_type == "q35" and made.nics[0].model == "e1000"
    assert [(d.name, d.bus) for d in made.disks] == [("root", "scsi"), ("ephemeral", "scsi"), ("swap", "scsi"),
                                                     ("config", "sata")]


async def test_a_flavor_smaller_than_its_image_is_refused(rig: Rig) -> None:
    if rig.image is None:
        pytest.skip("the fake driver has no images")
    big = CachedImage(key=rig.image.key, format=rig.image.format, size_bytes=5 * 1024**3)
    with pytest.raises(BuildAborted, match="too small"):
        await rig.driver.prepare(spec(), big, {})


async def test_a_port_that_is_not_wired_yet_is_no_failure(rig: Rig) -> None:
    if not rig.driver.waits_for_plug:
        pytest.skip("the fake driver has no ports")
    server = await rig.prepare()
    missing = {"id": str(uuid.uuid4()), "address": "fa:16:3e:00:00:01",
               "network": {"id": str(uuid.uuid4()), "meta": {"mtu": 1450}}}
    with pytest.raises(Unavailable, match="apply its network"):
        await rig.driver.start(server, [missing])
    assert not await rig.runs(server.id)


async def test_disks_of_another_flavor_and_back(rig: Rig) -> None:
    server = await rig.prepare(ephemeral_gib=1, swap_mib=32)
    large = msgspec.structs.replace(server, root_gib=2, ephemeral_gib=0, swap_mib=64, memory_mib=160)
    before = await sizes(rig, server.id)
    for _ in range(2):
        await rig.driver.resize_disks(large)
        grown = await sizes(rig, server.id)
        assert grown == {"root": 2 * before["root"], "swap": 2 * before["swap"]}
    await rig.driver.start(large, [])
    if isinstance(rig.driver, QemuDriver):
        with pytest.raises(CloudseedError, match="stop it"):
            await rig.driver.restore_disks(server.id)
    await rig.driver.stop(server.id, hard=True)
    for _ in range(2):
        await rig.driver.restore_disks(server.id)
        assert await sizes(rig, server.id) == before
    await rig.driver.start(server, [])
    await rig.driver.stop(server.id, hard=True)
    await rig.driver.resize_disks(large)
    for _ in range(2):
        await rig.driver.drop_kept_disks(server.id)
        await rig.driver.restore_disks(server.id)
        assert await sizes(rig, server.id) == grown


async def sizes(rig: Rig, server_id: str) -> dict[str, int]:
    """The machine's disks."""
    if isinstance(rig.driver, FakeDriver):
        return rig.driver.disks(server_id)[0]
    assert isinstance(rig.driver, QemuDriver)
    found = {name: await rig.driver._size(server_id, name) for name in ("root", "ephemeral", "swap")}
    return {name: size for name, size in found.items() if size}


async def test_computes_that_share_a_host_know_their_own(rig: Rig) -> None:
    if not isinstance(rig.driver, QemuDriver):
        pytest.skip("pretended hosts share nothing")
    whole = await rig.driver.facts()
    first = QemuDriver(rig.driver._host, rig.driver._paths, "here", 2, True)
    second = QemuDriver(rig.driver._host, rig.driver._paths, "here-2", 2, False)
    facts = await second.facts()
    assert facts.memory_mib == whole.memory_mib // 2 and facts.vcpus == -(-whole.vcpus // 2)
    for driver in (first, second):
        server = spec(name=driver._name)
        await driver.prepare(server, rig.image, config_drive(Guest(spec=server, vifs=[]), b"random"))
        await driver.start(server, [])
    ones, twos = await first.machines(), await second.machines()
    assert len(ones) == len(twos) == 1 and ones[0].server_id != twos[0].server_id and twos[0].running
    assert await second.machine(ones[0].server_id) is None


async def test_cards_that_no_machine_can_take(rig: Rig) -> None:
    server = await rig.prepare()
    vif = {"id": str(uuid.uuid4()), "address": "fa:16:3e:00:00:01",
           "network": {"id": str(uuid.uuid4()), "meta": {"mtu": 1450}}}
    with pytest.raises(CloudseedError):  # it is off
        await rig.driver.attach_interface(server, vif)
    await rig.driver.start(server, [])
    await rig.driver.detach_interface(server.id, vif["id"])
    if rig.driver.waits_for_plug:
        with pytest.raises(CloudseedError):  # it has no tap
            await rig.driver.attach_interface(server, vif)
    else:
        await rig.driver.attach_interface(server, vif)
        await rig.driver.attach_interface(server, vif)
        await rig.driver.detach_interface(server.id, vif["id"])
    await rig.driver.detach_interface(server.id, vif["id"])
    assert await rig.runs(server.id)


async def test_a_running_machine_has_a_screen_and_a_serial_line(rig: Rig) -> None:
    server = await rig.prepare()
    for kind in KINDS:
        with pytest.raises(ConsoleNotReady):
            await rig.driver.console(server.id, kind)
    await rig.driver.start(server, [])
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30):
        screen = await connect(await rig.driver.console(server.id, "novnc"))
        with screen:
            assert await loop.sock_recv(screen, 12) == b"RFB 003.008\n"
        for _ in range(2):  # one viewer after the other
            line, seen = await connect(await rig.driver.console(server.id, "serial")), b""
            with line:
                while not seen.strip():
                    await loop.sock_sendall(line, b"\r")
                    seen += await loop.sock_recv(line, 100)
    address = await rig.driver.console(server.id, "novnc")
    with pytest.raises(ConsoleNotReady, match="does not lead to process"):
        await connect(msgspec.structs.replace(address, pid=1))  # somebody else than the machine listens there
    await rig.driver.stop(server.id, hard=True)
    with pytest.raises(ConsoleNotReady):
        await rig.driver.console(server.id, "novnc")
    with pytest.raises(ConsoleNotReady):
        await connect(address)


async def test_a_machine_that_boots_from_a_volume_and_gets_another(rig: Rig) -> None:
    """It has no disk of its own; what is plugged in comes and goes while it runs, and is there after a restart."""
    root, data = await rig.volume(boot_index=0, image=True), await rig.volume()
    server = await rig.prepare(block_devices=[root], config_drive=False)
    assert await rig.driver.machine(server.id) is not None and not await rig.runs(server.id)
    await rig.driver.attach_volume(server, data)  # off: nothing to do yet
    await rig.driver.start(server, [])
    if isinstance(rig.driver, QemuDriver):
        async with asyncio.timeout(60):
            while "login:" not in await rig.driver.console_output(server.id, None):
                await asyncio.sleep(0.1)
    for _ in range(2):
        await rig.driver.attach_volume(server, data)
    assert await rig.volumes_of(server.id) == {root.volume_id, data.volume_id}
    await rig.grow(data)
    await rig.driver.extend_volume(server, data, 32 * MIB)
    await rig.driver.pause(server.id)
    with pytest.raises(HostFailed, match="is paused"):  # at once: its guest cannot let go
        await rig.driver.detach_volume(server, data)
    await rig.driver.unpause(server.id)
    for _ in range(2):
        await rig.driver.detach_volume(server, data)
    assert await rig.volumes_of(server.id) == {root.volume_id}
    await rig.driver.stop(server.id, hard=True)
    await rig.driver.detach_volume(server, data)
    await rig.driver.start(msgspec.structs.replace(server, block_devices=[root, data]), [])
    assert await rig.volumes_of(server.id) == {root.volume_id, data.volume_id}
    await rig.driver.remove(server.id)
    assert await rig.driver.machines() == []


async def test_a_root_disk_that_is_not_connected_starts_nothing(rig: Rig) -> None:
    lost = BlockDevice(id="b", source_type="volume", destination_type="volume", boot_index=0, state="attached",
                       volume_id=str(uuid.uuid4()))
    with pytest.raises(CloudseedError):
        server = await rig.prepare(block_devices=[msgspec.structs.replace(lost, state="new")])
        await rig.driver.start(server, [])


async def test_the_order_of_disks(rig: Rig) -> None:
    def volume(number: int, boot_index: int | None) -> BlockDevice:
        return BlockDevice(id=str(number), source_type="volume", destination_type="volume", boot_index=boot_index,
                           volume_id=f"v{number}", attachment_id=str(number), state="attached",
                           disk_bus="scsi" if number == 3 else None,
                           connection_info={"driver_volume_type": "nbd", "data": {"access_mode": "ro"}})

    disks = machine_disks(spec(swap_mib=64, block_devices=[
        volume(1, None), volume(2, 0), volume(3, 1),
        BlockDevice(source_type="blank", destination_type="local", volume_size=2)]), "virtio", "ide")
    assert [(d.name, d.bus, d.boot_index) for d in disks] == [
        ("volume-v2", "virtio", 0), ("ephemeral", "virtio", 2), ("swap", "virtio", 3), ("volume-v1", "virtio", 4),
        ("volume-v3", "scsi", 1), ("config", "ide", None)]
    assert all(d.read_only for d in disks if d.kind == "volume")
    for wrong in ({"disk_bus": "usb"}, {"device_type": "cdrom"}, {"connection_info": {"driver_volume_type": "rbd",
                                                                                     "data": {}}}):
        with pytest.raises(BuildAborted):
            machine_disks(spec(block_devices=[msgspec.structs.replace(volume(1, 0), **wrong)]), "virtio", "ide")
