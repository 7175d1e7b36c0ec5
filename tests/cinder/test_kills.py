"""Killed at every point of every operation, and started again: each ends in a final state and nothing leaks."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudseed.cinder.backup_work import BackupWork
from cloudseed.cinder.export_work import ExportWork
from cloudseed.cinder.groups import GroupWork
from cloudseed.cinder.snapshots import SnapshotWork
from cloudseed.cinder.volume_work import VolumeWork
from cloudseed.kernel.errors import Conflict
from cloudseed.kernel.operations import OperationType, faults
from tests.cinder.conftest import CinderCloud, Volumes
from tests.cinder.manager_double import Manager
from tests.support.operations import forward_points, killed_at, undo_points

NOBODY: Any = SimpleNamespace()
TYPES: dict[str, OperationType] = {kind.kind: kind for work in (VolumeWork, SnapshotWork, ExportWork)
                                   for kind in work(NOBODY).types()}


class Story:
    """One volume on a cloud that is killed and started again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manager = Manager()
        self.volume_id = self.other_id = ""

    def start(self) -> CinderCloud:
        return CinderCloud(self.path, self.manager, ("keystone", "cinder", "swift", "glance"))

    async def client(self, cloud: CinderCloud) -> Volumes:
        return Volumes(await cloud.login("admin"))

    async def create(self, cloud: CinderCloud) -> None:
        user = await self.client(cloud)
        self.volume_id = (await user("POST", "/volumes", 202, {"volume": {"size": 1}}))["volume"]["id"]

    async def create_in_vain(self, cloud: CinderCloud) -> None:
        self.manager.failures["create_volume"] = [Conflict("never")] * 3
        await self.create(cloud)

    async def ready(self, cloud: CinderCloud) -> Volumes:
        await self.create(cloud)
        await cloud.idle()
        return await self.client(cloud)

    async def delete(self, cloud: CinderCloud) -> None:
        user = await self.ready(cloud)
        await user.snapshot(self.volume_id)
        await cloud.idle()
        await user("DELETE", f"/volumes/{self.volume_id}?cascade=true", 202)

    async def extend(self, cloud: CinderCloud) -> None:
        await (await self.ready(cloud)).act(self.volume_id, "os-extend", {"new_size": 2})

    async def snapshot(self, cloud: CinderCloud) -> None:
        user = await self.ready(cloud)
        body = {"snapshot": {"volume_id": self.volume_id}}
        self.other_id = (await user("POST", "/snapshots", 202, body))["snapshot"]["id"]

    async def snapshot_in_vain(self, cloud: CinderCloud) -> None:
        self.manager.failures["create_snapshot"] = [Conflict("never")] * 3
        await self.snapshot(cloud)

    async def delete_snapshot(self, cloud: CinderCloud) -> None:
        await self.snapshot(cloud)
        await cloud.idle()
        await (await self.client(cloud))("DELETE", f"/snapshots/{self.other_id}", 202)

    async def revert(self, cloud: CinderCloud) -> None:
        await self.snapshot(cloud)
        await cloud.idle()
        await (await self.client(cloud)).act(self.volume_id, "revert", {"snapshot_id": self.other_id})

    async def image(self, cloud: CinderCloud) -> str:
        client = await cloud.login("admin")
        body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        image_id: str = (await client.post("/image/v2/images", body)).json()["id"]
        octets = {"Content-Type": "application/octet-stream"}
        assert (await client.put(f"/image/v2/images/{image_id}/file", body=b"x" * 512, headers=octets)).status == 204
        return image_id

    async def reimage(self, cloud: CinderCloud) -> None:
        user, image_id = await self.ready(cloud), await self.image(cloud)
        await user.act(self.volume_id, "os-reimage", {"image_id": image_id})

    async def upload(self, cloud: CinderCloud) -> None:
        user = await self.ready(cloud)
        answer = await user.act(self.volume_id, "os-volume_upload_image", {"image_name": "u", "protected": True})
        self.other_id = answer["os-volume_upload_image"]["image_id"]

    async def upload_in_vain(self, cloud: CinderCloud) -> None:
        self.manager.failures["copy_to_image"] = [Conflict("never")] * 3
        await self.upload(cloud)

    async def _attach(self, cloud: CinderCloud, user: Volumes) -> str:
        body = {"attachment": {"volume_uuid": self.volume_id, "instance_uuid": str(uuid.uuid4())}}
        place: str = (await user("POST", "/attachments", 200, body))["attachment"]["id"]
        self.other_id = place
        return place

    async def connect(self, cloud: CinderCloud) -> None:
        user = await self.ready(cloud)
        place = await self._attach(cloud, user)
        _detached(user("PUT", f"/attachments/{place}", None, {"attachment": {"connector": {"host": "h"}}}))

    async def connect_in_vain(self, cloud: CinderCloud) -> None:
        self.manager.failures["export"] = [Conflict("never")] * 3
        await self.connect(cloud)

    async def disconnect(self, cloud: CinderCloud) -> None:
        user = await self.ready(cloud)
        place = await self._attach(cloud, user)
        await user("PUT", f"/attachments/{place}", 200, {"attachment": {"connector": {"host": "h"}}})
        service = Volumes(await cloud.login("nova", project="service"))
        _detached(service("DELETE", f"/attachments/{place}"))


_requests: set[Any] = set()


def _detached(request: Any) -> None:
    """A request whose process dies under it."""
    task = asyncio.ensure_future(request)
    _requests.add(task)

    def ended(done: Any) -> None:
        _requests.discard(done)
        done.cancelled() or done.exception()

    task.add_done_callback(ended)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.create"]))
async def test_a_volume_is_made(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.create) as cloud:
        await (await story.client(cloud)).wait_for(story.volume_id, "available")
        assert list(story.manager.volumes) == [story.volume_id]


@pytest.mark.parametrize("point", undo_points(TYPES["cinder.create"], "bytes"))
async def test_a_volume_that_cannot_be_made(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.create_in_vain) as cloud:
        user = await story.client(cloud)
        await user.wait_for(story.volume_id, "error")
        await cloud.idle()
        assert story.manager.holds_nothing() and len((await user("GET", "/messages", 200))["messages"]) == 1


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.delete"]))
async def test_a_volume_goes_with_its_snapshots(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.delete) as cloud:
        await (await story.client(cloud)).wait_for(story.volume_id, "gone")
        await cloud.idle()
        picture = (await cloud.runtime.ledger())["cinder"]
        assert story.manager.holds_nothing() and picture["snapshots"] == picture["volumes"] == []


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.extend"]))
async def test_a_volume_grows(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.extend) as cloud:
        user = await story.client(cloud)
        assert (await user.wait_for(story.volume_id, "available"))["size"] == 2
        assert story.manager.volumes[story.volume_id]["size"] == 2
        assert (await user("GET", "/limits", 200))["limits"]["absolute"]["totalGigabytesUsed"] == 2


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.snapshot.create"]))
async def test_a_snapshot_is_made(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.snapshot) as cloud:
        await (await story.client(cloud)).wait_for(story.other_id, "available", "snapshot")
        assert story.manager.snapshots == {story.other_id: story.volume_id}


@pytest.mark.parametrize("point", undo_points(TYPES["cinder.snapshot.create"], "bytes"))
async def test_a_snapshot_that_cannot_be_made(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.snapshot_in_vain) as cloud:
        await (await story.client(cloud)).wait_for(story.other_id, "error", "snapshot")
        assert story.manager.snapshots == {}


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.snapshot.delete"]))
async def test_a_snapshot_goes(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.delete_snapshot) as cloud:
        await (await story.client(cloud)).wait_for(story.other_id, "gone", "snapshot")
        assert story.manager.snapshots == {}


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.revert"]))
async def test_a_volume_is_reverted(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.revert) as cloud:
        user = await story.client(cloud)
        await user.wait_for(story.volume_id, "available")
        await user.wait_for(story.other_id, "available", "snapshot")


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.reimage"]))
async def test_a_volume_is_reimaged(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.reimage) as cloud:
        shown = await (await story.client(cloud)).wait_for(story.volume_id, "available")
        assert shown["bootable"] == "true" and shown["volume_image_metadata"]["image_name"] == "i"


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.upload"]))
async def test_a_volume_is_uploaded(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.upload) as cloud:
        await (await story.client(cloud)).wait_for(story.volume_id, "available")
        assert (story.volume_id, story.other_id) in story.manager.images


@pytest.mark.parametrize("point", undo_points(TYPES["cinder.upload"], "copy"))
async def test_a_volume_that_cannot_be_uploaded(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.upload_in_vain) as cloud:
        await (await story.client(cloud)).wait_for(story.volume_id, "available")
        assert (await (await cloud.login("admin")).get(f"/image/v2/images/{story.other_id}")).status == 404


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.connect"]))
async def test_an_attachment_is_connected(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.connect) as cloud:
        await cloud.idle()
        user = await story.client(cloud)
        found = (await user("GET", f"/attachments/{story.other_id}", 200))["attachment"]
        assert found["status"] == "attaching" and found["connection_info"]["export"] == story.other_id
        assert list(story.manager.exports) == [story.other_id]


@pytest.mark.parametrize("point", undo_points(TYPES["cinder.connect"], "export"))
async def test_an_attachment_that_cannot_be_connected(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.connect_in_vain) as cloud:
        await cloud.idle()
        user = await story.client(cloud)
        assert (await user("GET", f"/attachments/{story.other_id}", 200))["attachment"]["status"] == "reserved"
        assert (await user.show(story.volume_id))["status"] == "reserved" and story.manager.exports == {}


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.disconnect"]))
async def test_an_attachment_is_removed(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.disconnect) as cloud:
        await cloud.idle()
        assert (await (await story.client(cloud)).show(story.volume_id))["status"] == "available"
        assert story.manager.exports == {}


async def test_the_tests_above_know_every_declared_point(story: Story) -> None:
    async with story.start():
        declared = {name for name in faults.declared() if name.startswith("cinder.")}
    known = {point for kind in TYPES.values() for point in forward_points(kind)}
    for kind, failing in (("create", "bytes"), ("snapshot.create", "bytes"), ("upload", "copy"),
                          ("connect", "export")):
        known |= set(undo_points(TYPES[f"cinder.{kind}"], failing))
    others = {kind.kind: kind for work in (BackupWork, GroupWork) for kind in work(NOBODY).types()}
    known |= {point for kind in others.values() for point in forward_points(kind)}  # test_backups.py, test_groups.py
    for kind in ("backup.create", "backup.restore", "group_snapshot.create"):
        known |= set(undo_points(others[f"cinder.{kind}"], "bytes"))
    assert declared == known
