"""Killed at every point of what is done with volumes: each order is finished, or leaves nothing in cinder."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudseed.kernel.context import Context
from cloudseed.kernel.operations import Killed, OperationType, Run, Step
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.errors import BuildAborted, HostFailed
from cloudseed.nova.conductor import Conductor
from cloudseed.nova.conductor.image_of_server import new_image
from tests.nova.engine.bench import Bench
from tests.nova.engine.cinder_double import Cinder
from tests.nova.engine.neutron_double import Neutron
from tests.support.operations import forward_points, killed_at, undo_points

NOBODY: Any = SimpleNamespace(conductor_session=None)
TYPES: dict[str, OperationType] = {kind.kind: kind for kind in Conductor(NOBODY).types}
BOOT = TYPES["nova.boot"]


class Story:
    """A server with volumes on a cloud that is killed and started again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.neutron, self.cinder = Neutron(), Cinder()
        self.root = self.cinder.add(bootable="true")
        self.other = self.cinder.add()
        self.server_id = ""
        self.device = ""

    def start(self) -> Bench:
        return Bench(self.path, self.neutron, self.cinder)

    async def boot(self, bench: Bench) -> None:
        """From a volume that is there, with one that is made for it and ends with it."""
        self.server_id = await bench.boot_with([
            BlockDevice(source_type="volume", destination_type="volume", volume_id=self.root, boot_index=0,
                        volume_size=1),
            BlockDevice(source_type="blank", destination_type="volume", volume_size=2, delete_on_termination=True)])

    async def boot_in_vain(self, bench: Bench) -> None:
        bench.driver().failures["start"] = [BuildAborted("never")]
        await self.boot(bench)

    async def delete(self, bench: Bench) -> None:
        await self.boot(bench)
        await bench.idle()
        await bench.order("delete", self.server_id)

    async def attach(self, bench: Bench) -> None:
        self.server_id = await bench.create()
        await bench.idle()
        self.device = await bench.attach(self.server_id, self.other)

    async def attach_in_vain(self, bench: Bench) -> None:
        bench.driver().failures["attach_volume"] = [BuildAborted("never")]
        await self.attach(bench)

    async def detach(self, bench: Bench) -> None:
        await self.attach(bench)
        await bench.idle()
        await bench.detach(self.server_id, self.device)

    async def detach_in_vain(self, bench: Bench) -> None:
        await self.attach(bench)
        await bench.idle()
        bench.driver().failures["detach_volume"] = [HostFailed(host="h", doing="it", reason="never")]
        await bench.detach(self.server_id, self.device)

    async def snapshot(self, bench: Bench) -> None:
        """An image of a server that boots from a volume, as nova-api makes it."""
        self.server_id = await bench.boot_with([
            BlockDevice(source_type="volume", destination_type="volume", volume_id=volume_id,
                        boot_index=None if number else 0, volume_size=1)
            for number, volume_id in enumerate((self.root, self.other))],
            image_properties={"hw_qemu_guest_agent": "yes"})
        await bench.idle()
        ctx = Context()
        body = new_image(await bench.server(self.server_id), ctx, "photo", "snapshot", {})
        await bench.nova.engine.run_here(bench.nova.conductor.volume_snapshots, self.server_id,
                                         {"image": {"id": str(uuid.uuid4()), "body": body}}, ctx)
        bench.nova.engine.wake()

    def states(self) -> list[str]:
        return [self.cinder.volumes[volume_id]["status"] for volume_id in (self.root, self.other)]


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


@pytest.mark.parametrize("point", forward_points(BOOT))
async def test_a_boot_is_finished(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.boot) as bench:
        await bench.wait_for(story.server_id, vm_state="active", task_state=None)
        assert await bench.violations() == []
        assert len(story.cinder.volumes) == 3 and len(story.cinder.of(story.server_id)) == 2


@pytest.mark.parametrize("point", undo_points(BOOT, "start"))
async def test_a_failed_boot_is_undone(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.boot_in_vain) as bench:
        await bench.wait_for(story.server_id, vm_state="error", task_state=None)
        assert await bench.violations() == []
        assert len(story.cinder.volumes) == 2 and story.states() == ["available"] * 2


@pytest.mark.parametrize("point", forward_points(BOOT))
async def test_a_boot_that_is_deleted_after_the_restart(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.boot) as bench:
        await bench.order("delete", story.server_id)
        await bench.wait_for(story.server_id, vm_state="deleted")
        assert await bench.violations() == []
        assert len(story.cinder.volumes) == 2 and story.states() == ["available"] * 2


@pytest.mark.parametrize("point", forward_points(TYPES["nova.delete"]))
async def test_a_delete_is_finished(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.delete) as bench:
        await bench.wait_for(story.server_id, vm_state="deleted", task_state=None)
        assert await bench.violations() == []
        assert len(story.cinder.volumes) == 2 and story.states() == ["available"] * 2


@pytest.mark.parametrize("point", forward_points(TYPES["nova.attach_volume"]))
async def test_an_attach_is_finished(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.attach) as bench:
        assert await bench.violations() == []
        assert list(bench.driver().volumes(story.server_id)) == [story.other]


@pytest.mark.parametrize("point", undo_points(TYPES["nova.attach_volume"], "connect"))
async def test_a_failed_attach_is_undone(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.attach_in_vain) as bench:
        assert await bench.violations() == []
        assert story.states() == ["available"] * 2 and await bench.devices(story.server_id) == []


@pytest.mark.parametrize("point", forward_points(TYPES["nova.detach_volume"]))
async def test_a_detach_is_finished(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.detach) as bench:
        assert await bench.violations() == []
        assert story.states() == ["available"] * 2 and bench.driver().volumes(story.server_id) == {}


@pytest.mark.parametrize("point", undo_points(TYPES["nova.detach_volume"], "detach"))
async def test_a_failed_detach_leaves_the_volume_in_use(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.detach_in_vain) as bench:
        assert await bench.violations() == []
        assert story.cinder.volumes[story.other]["status"] == "in-use"
        assert list(bench.driver().volumes(story.server_id)) == [story.other]


@pytest.mark.parametrize("point", forward_points(TYPES["nova.reserve_volumes"]))
@pytest.mark.parametrize("what", ["boot", "attach"])
async def test_a_reservation_is_the_servers_or_nobodys(story: Story, point: str, what: str) -> None:
    """It runs within a request, which dies with the process."""
    async def order(bench: Bench) -> None:
        with contextlib.suppress(Killed):
            await getattr(story, what)(bench)

    async with killed_at(point, story.start, order) as bench:
        await bench.idle()
        ordered = story.cinder.attachments != {}
        if ordered:  # the order was written before the process died
            assert ":order:" in point and not point.endswith("before")
        assert await bench.violations() == []
        assert (story.states() == ["available"] * 2) != ordered


@pytest.mark.parametrize("point", undo_points(TYPES["nova.reserve_volumes"], "reserve"))
async def test_a_refused_reservation_leaves_nothing(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        story.cinder.failures["POST attachments"] = [BuildAborted("never")]
        with contextlib.suppress(Killed):
            await story.boot(bench)

    async with killed_at(point, story.start, order) as bench:
        assert await bench.violations() == []
        assert story.states() == ["available"] * 2 and story.cinder.attachments == {}


@pytest.mark.parametrize("point", [*forward_points(TYPES["nova.snapshot_volumes"]),
                                   *forward_points(TYPES["nova.unquiesce"]),
                                   *undo_points(TYPES["nova.snapshot_volumes"], "image")])
async def test_an_image_of_volumes_is_whole_or_nothing(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        if ":undo-" in point:
            bench.nova.conductor.volume_snapshots = bench.nova.conductor.volume_snapshots._replace(steps=(
                *bench.nova.conductor.volume_snapshots.steps, Step("refuse", refuse)))
        with contextlib.suppress(Killed, BuildAborted):
            await story.snapshot(bench)

    async def refuse(run: Run) -> None:
        raise BuildAborted("never")

    async with killed_at(point, story.start, order) as bench:
        assert await bench.violations() == []
        images = await bench.images()
        assert (len(images), len(story.cinder.snapshots)) in ((0, 0), (1, 2))
        if images:
            assert point.endswith(("image:after", "image:recorded")) or ":thaw:" in point
        assert not bench.driver().quiesced(story.server_id)


@pytest.mark.parametrize("point", forward_points(TYPES["nova.rebuild"]))
async def test_a_rebuild_of_a_root_volume_is_finished(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await bench.idle()
        await bench.order("rebuild", story.server_id, {"start": True, "old": {}, "reimage": "an-image"})

    async with killed_at(point, story.start, order) as bench:
        await bench.wait_for(story.server_id, vm_state="active", task_state=None)
        assert await bench.violations() == []
        assert story.cinder.volumes[story.root]["reimaged"] == "an-image"
        assert len(story.cinder.of(story.server_id)) == 2


@pytest.mark.parametrize("point", undo_points(TYPES["nova.rebuild"], "volume"))
async def test_a_root_volume_that_cannot_be_written_is_the_servers_again(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await bench.idle()
        story.cinder.failures["os-reimage"] = [BuildAborted("never")]
        await bench.order("rebuild", story.server_id, {"start": True, "old": {}, "reimage": "an-image"})

    async with killed_at(point, story.start, order) as bench:
        await bench.idle()
        assert (await bench.server(story.server_id)).vm_state == "error"
        devices = await bench.devices(story.server_id)
        assert [device.state for device in devices] == ["attached"] * 2
        assert sorted(a["id"] for a in story.cinder.attachments.values()) == sorted(
            str(device.attachment_id) for device in devices)


@pytest.mark.parametrize("point", [*forward_points(TYPES["nova.shelve_offload"]),
                                   *forward_points(TYPES["nova.unshelve"]),
                                   *undo_points(TYPES["nova.unshelve"], "start")])
async def test_a_server_on_the_shelf_keeps_reservations_alone(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await bench.idle()
        await bench.order("shelve", story.server_id, {"ran": True, "image": None})
        if "unshelve" in point:
            await bench.idle()
            if ":undo-" in point:
                bench.driver().failures["start"] = [BuildAborted("never")]
            await bench.order("unshelve", story.server_id)

    async with killed_at(point, story.start, order) as bench:
        back = "unshelve" in point and ":undo-" not in point
        await bench.wait_for(story.server_id, vm_state="active" if back else "shelved_offloaded", task_state=None)
        assert await bench.violations() == []
        assert len(story.cinder.of(story.server_id)) == 2
        assert {a["status"] for a in story.cinder.attachments.values()} == {"attached" if back else "reserved"}
        assert all(bool(a["connection_info"]) == back for a in story.cinder.attachments.values())
