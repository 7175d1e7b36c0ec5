"""Volumes of servers on the fake hypervisor: booted from, attached, detached, grown, deleted with their server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Invalid, Timeout
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.errors import BuildAborted, HostFailed
from tests.nova.engine.bench import Bench


def given(volume_id: str, boot_index: int | None = None, **values: Any) -> BlockDevice:
    return BlockDevice(source_type="volume", destination_type="volume", volume_id=volume_id, boot_index=boot_index,
                       volume_size=1, **values)


def blank(**values: Any) -> BlockDevice:
    return BlockDevice(source_type="blank", destination_type="volume", volume_size=2, **values)


async def active(bench: Bench, devices: list[BlockDevice] | None = None) -> str:
    server_id = await (bench.boot_with(devices) if devices else bench.create())
    await bench.wait_for(server_id, vm_state="active", task_state=None)
    assert await bench.violations() == []
    return server_id


async def test_a_server_boots_from_a_volume_with_others_beside_it(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        root, snapshot = bench.cinder.add(bootable="true"), bench.cinder.add_snapshot(bench.cinder.add(3))
        server_id = await active(bench, [
            given(root, 0), blank(delete_on_termination=True),
            BlockDevice(source_type="snapshot", destination_type="volume", snapshot_id=snapshot, volume_size=3),
            BlockDevice(source_type="image", destination_type="volume", image_id="i" * 36, volume_size=4,
                        volume_type="__DEFAULT__")])
        devices = await bench.devices(server_id)
        volumes = [bench.cinder.volumes[str(device.volume_id)] for device in devices]
        assert [v["status"] for v in volumes] == ["in-use"] * 4 and [v["size"] for v in volumes] == [1, 2, 3, 4]
        assert [v["name"] for v in volumes] == ["", f"{server_id}-blank-vol", "", ""]
        assert [v.get("source") for v in volumes[2:]] == [{"snapshot_id": snapshot}, {"imageRef": "i" * 36}]
        assert set(bench.driver().volumes(server_id)) == {v["id"] for v in volumes}
        await bench.order("delete", server_id)
        await bench.wait_for(server_id, vm_state="deleted")
        assert await bench.violations() == [] and bench.cinder.attachments == {}
        assert {v["id"] for v in volumes} - bench.cinder.volumes.keys() == {volumes[1]["id"]}


async def test_a_volume_backed_server_claims_no_disk(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        await active(bench, [given(bench.cinder.add(bootable="true"), 0)])
        placement = next(s for s in bench.runtime.services if s.name == "placement")
        assert placement.ledger is not None
        (claim,) = (await placement.ledger())["allocations"]
        assert set(claim["resources"]) == {"VCPU", "MEMORY_MB"}


async def test_attach_and_detach_on_a_running_server(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id, volume_id = await active(bench), bench.cinder.add()
        device = await bench.attach(server_id, volume_id)
        assert await bench.violations() == []
        assert list(bench.driver().volumes(server_id)) == [volume_id]
        assert bench.cinder.volumes[volume_id]["status"] == "in-use"
        await bench.detach(server_id, device)
        assert await bench.violations() == []
        assert bench.driver().volumes(server_id) == {} and bench.cinder.volumes[volume_id]["status"] == "available"


async def test_a_server_that_is_off_has_the_volume_at_its_next_start(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id, volume_id = await active(bench), bench.cinder.add()
        await bench.order("stop", server_id)
        device = await bench.attach(server_id, volume_id)
        await bench.order("start", server_id)
        assert await bench.violations() == []
        assert list(bench.driver().volumes(server_id)) == [volume_id]
        await bench.order("stop", server_id)
        await bench.detach(server_id, device)
        await bench.order("start", server_id)
        assert await bench.violations() == [] and bench.driver().volumes(server_id) == {}


async def test_a_reboot_keeps_the_volumes(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        root, other = bench.cinder.add(bootable="true"), bench.cinder.add()
        server_id = await active(bench, [given(root, 0)])
        await bench.attach(server_id, other)
        await bench.order("reboot", server_id, True)
        assert await bench.violations() == []
        assert set(bench.driver().volumes(server_id)) == {root, other}


async def test_volumes_are_there_after_a_reboot_of_the_host(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        root = bench.cinder.add(bootable="true")
        server_id = await active(bench, [given(root, 0)])
        await asyncio.sleep(0.1)
        bench.driver().end_all("fake-2")
        await bench.nova.api_bus.call(Context(), f"compute.{bench.config.host}", "look_again")
        async with asyncio.timeout(10):
            while not (await bench.driver().machines())[0].running:
                await asyncio.sleep(0.02)
        assert await bench.violations() == [] and list(bench.driver().volumes(server_id)) == [root]


async def test_a_guest_that_holds_on_is_asked_again(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id, volume_id = await active(bench), bench.cinder.add()
        device = await bench.attach(server_id, volume_id)
        await bench.idle()
        bench.driver().failures["detach_volume"] = [Timeout("it holds on"), Timeout("still")]
        await bench.detach(server_id, device)
        assert await bench.violations() == [] and bench.driver().volumes(server_id) == {}


async def test_a_guest_that_never_lets_go_keeps_its_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudseed.nova.conductor.volumes.UNPLUG_PATIENCE_S", 0.3)
    async with Bench(tmp_path) as bench:
        server_id, volume_id = await active(bench), bench.cinder.add()
        device = await bench.attach(server_id, volume_id)
        await bench.idle()
        bench.driver().failures["detach_volume"] = [Timeout("it holds on")] * 20
        await bench.detach(server_id, device)
        assert await bench.violations() == [] and list(bench.driver().volumes(server_id)) == [volume_id]
        assert bench.cinder.volumes[volume_id]["status"] == "in-use"
        assert (await bench.server(server_id)).vm_state == "active"
        assert await bench.event_details(server_id, "compute_detach_volume")


async def test_a_detach_that_fails_leaves_the_volume_in_use(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id, volume_id = await active(bench), bench.cinder.add()
        device = await bench.attach(server_id, volume_id)
        await bench.idle()
        bench.driver().failures["detach_volume"] = [HostFailed(host="h", doing="it", reason="broken")]
        await bench.detach(server_id, device)
        assert await bench.violations() == []
        assert list(bench.driver().volumes(server_id)) == [volume_id]
        assert bench.cinder.volumes[volume_id]["status"] == "in-use"


async def test_a_paused_guest_keeps_its_volume_and_says_why(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id, volume_id = await active(bench), bench.cinder.add()
        device = await bench.attach(server_id, volume_id)
        await bench.idle()
        await bench.order("pause", server_id)
        await bench.idle()
        await bench.detach(server_id, device)
        assert await bench.violations() == [] and list(bench.driver().volumes(server_id)) == [volume_id]
        assert bench.cinder.volumes[volume_id]["status"] == "in-use"
        assert "unpause it first" in await bench.event_details(server_id, "compute_detach_volume")
        await bench.order("unpause", server_id)
        await bench.detach(server_id, device)
        assert await bench.violations() == [] and bench.driver().volumes(server_id) == {}


async def test_an_attach_that_fails_leaves_nothing(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id, volume_id = await active(bench), bench.cinder.add()
        bench.driver().failures["attach_volume"] = [HostFailed(host="h", doing="it", reason="broken")]
        await bench.attach(server_id, volume_id)
        assert await bench.violations() == [] and await bench.devices(server_id) == []
        assert bench.cinder.volumes[volume_id]["status"] == "available"


async def test_what_cinder_refuses_is_heard_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id, volume_id = await active(bench), bench.cinder.add(status="error")
        with pytest.raises(Invalid, match="current status is error"):
            await bench.attach(server_id, volume_id)
        with pytest.raises(Invalid, match="current status is error"):
            await bench.boot_with([given(bench.cinder.add(bootable="true"), 0), given(volume_id)])
        bench.cinder.volumes[volume_id]["status"] = "available"
        assert await bench.violations() == []


async def test_a_volume_that_cannot_be_made_ends_the_boot_with_a_reason(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.cinder.failures["POST volumes"] = [Invalid("VolumeSizeExceedsAvailableQuota")]
        root = bench.cinder.add(bootable="true")
        server_id = await bench.boot_with([given(root, 0), blank()])
        await bench.wait_for(server_id, vm_state="error", task_state=None)
        assert "VolumeSizeExceedsAvailableQuota" in await bench.fault(server_id)
        assert await bench.violations() == [] and list(bench.cinder.volumes) == [root]
        await bench.order("delete", server_id)
        await bench.wait_for(server_id, vm_state="deleted")
        assert await bench.violations() == [] and bench.cinder.volumes[root]["status"] == "available"


async def test_a_boot_that_fails_on_its_host_gives_its_volumes_back_and_takes_them_again(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_hosts=2) as bench:
        for number in range(2):
            bench.driver(number).failures["start"] = [HostFailed(host="h", doing="start", reason="broken")]
        root = bench.cinder.add(bootable="true")
        server_id = await bench.boot_with([given(root, 0), blank()])
        await bench.wait_for(server_id, vm_state="error", task_state=None)
        assert list(bench.cinder.volumes) == [root] and bench.cinder.volumes[root]["status"] == "available"
        assert await bench.violations() == []


async def test_a_server_whose_host_is_gone_gives_its_volumes_back(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        root = bench.cinder.add(bootable="true")
        server_id = await active(bench, [given(root, 0, delete_on_termination=True)])
        await bench.nova.computes[0].stop()
        await bench.forget_host(bench.config.host)
        await bench.order("delete", server_id)
        await bench.wait_for(server_id, vm_state="deleted")
        assert bench.cinder.attachments == {} and bench.cinder.volumes == {}


async def test_a_volume_that_was_given_away_does_not_end_with_its_former_server(tmp_path: Path) -> None:
    """A user takes the reservation of his shelved server's volume away, and the volume is another project's."""
    async with Bench(tmp_path) as bench:
        kept = bench.cinder.add(bootable="true")
        own = bench.cinder.add()
        server_id = await active(bench, [given(kept, 0, delete_on_termination=True),
                                         given(own, delete_on_termination=True)])
        bench.cinder.volumes[kept]["os-vol-tenant-attr:tenant_id"] = "another project"
        await bench.order("delete", server_id)
        await bench.wait_for(server_id, vm_state="deleted")
        assert bench.cinder.attachments == {} and list(bench.cinder.volumes) == [kept]


async def test_a_volume_that_has_grown_is_shown_to_the_guest(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id, volume_id = await active(bench), bench.cinder.add()
        await bench.attach(server_id, volume_id)
        await bench.idle()
        bench.cinder.volumes[volume_id]["size"] = 5
        await bench.nova.api_bus.cast(Context(), f"compute.{bench.config.host}", "external_event", events=[
            {"name": "volume-extended", "server_uuid": server_id, "tag": volume_id}])
        async with asyncio.timeout(5):
            while bench.driver().volumes(server_id)[volume_id] != 5 * 1024**3:
                await asyncio.sleep(0.01)
            while (await bench.devices(server_id))[0].volume_size != 5:
                await asyncio.sleep(0.01)


async def test_two_servers_share_a_volume_that_allows_it(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        volume_id = bench.cinder.add(multiattach=True)
        first, second = await active(bench), await active(bench)
        device = await bench.attach(first, volume_id)
        await bench.attach(second, volume_id)
        assert await bench.violations() == []
        await bench.detach(first, device)
        assert await bench.violations() == []
        assert list(bench.driver().volumes(second)) == [volume_id] and bench.driver().volumes(first) == {}


async def test_a_read_only_volume_is_known_to_be_one(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        await bench.attach(server_id, bench.cinder.add(readonly=True))
        assert await bench.violations() == []
        assert [device.read_only for device in await bench.devices(server_id)] == [True]


async def test_a_volume_that_vanished_stops_a_boot(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.cinder.failures["PUT attachments"] = [BuildAborted("no such export")]
        server_id = await bench.boot_with([given(bench.cinder.add(bootable="true"), 0)])
        await bench.wait_for(server_id, vm_state="error", task_state=None)
        assert await bench.violations() == []


async def test_a_volume_attached_on_the_shelf_is_there_when_the_server_is_back(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        root, data = bench.cinder.add(bootable="true"), bench.cinder.add()
        server_id = await active(bench, [given(root, 0)])
        await bench.order("shelve", server_id, {"ran": True, "image": None})
        await bench.wait_for(server_id, vm_state="shelved_offloaded", task_state=None)
        await bench.idle()
        assert bench.cinder.volumes[root]["status"] == "reserved"
        assert not any(a["connection_info"] for a in bench.cinder.attachments.values())
        device = await bench.attach(server_id, data)
        assert await bench.violations() == []
        assert bench.cinder.volumes[data]["status"] == "in-use"
        await bench.order("unshelve", server_id)
        await bench.wait_for(server_id, vm_state="active", task_state=None)
        assert await bench.violations() == [] and set(bench.driver().volumes(server_id)) == {root, data}
        assert all(a["connection_info"] for a in bench.cinder.attachments.values())
        await bench.order("rescue", server_id, {"rescue": {"image_id": "r", "stable": True}, "start": True})
        await bench.wait_for(server_id, vm_state="rescued", task_state=None)
        await bench.order("unrescue", server_id)
        await bench.wait_for(server_id, vm_state="active", task_state=None)
        await bench.detach(server_id, device)
        assert await bench.violations() == [] and bench.cinder.volumes[data]["status"] == "available"
