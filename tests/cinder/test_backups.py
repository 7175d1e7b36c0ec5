"""Backups: full, incremental, restored, exported."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudseed.cinder.backup_work import BackupWork
from cloudseed.kernel.errors import Conflict
from cloudseed.kernel.operations import OperationType
from tests.cinder.conftest import CinderCloud, Volumes
from tests.cinder.manager_double import Manager
from tests.support.operations import forward_points, killed_at, undo_points

NOBODY: Any = SimpleNamespace()
TYPES: dict[str, OperationType] = {kind.kind: kind for kind in BackupWork(NOBODY).types()}


async def backup(user: Volumes, volume_id: str, wait: str = "available", **fields: Any) -> str:
    body = {"backup": {"volume_id": volume_id, **fields}}
    backup_id: str = (await user("POST", "/backups", 202, body))["backup"]["id"]
    await user.wait_for(backup_id, wait, "backup")
    return backup_id


async def test_a_backup_lives(user: Volumes, manager: Manager, cloud: CinderCloud) -> None:
    volume_id = await user.create(2)
    manager.hold["create_backup"] = asyncio.Event()
    body = {"backup": {"volume_id": volume_id, "name": "b", "metadata": {"a": "b"}}}
    backup_id = (await user("POST", "/backups", 202, body))["backup"]["id"]
    assert (await user.show(volume_id))["status"] == "backing-up"
    manager.hold.pop("create_backup").set()
    shown = await user.wait_for(backup_id, "available", "backup")
    assert (shown["size"], shown["object_count"], shown["container"]) == (2, 3, "volumebackups")
    assert shown["is_incremental"] is False and shown["metadata"] == {"a": "b"}
    assert (await user.show(volume_id))["status"] == "available"
    assert manager.backups[backup_id] == {"volume_id": volume_id, "project_id": user.client.project_id,
                                          "container": "volumebackups", "parent": None, "snapshot_id": None}
    changed = await user("PUT", f"/backups/{backup_id}", 200, {"backup": {"name": "c"}})
    assert changed["backup"]["name"] == "c"
    other = Volumes(await cloud.new_project("bob"))
    await other("GET", f"/backups/{backup_id}", 404)
    await other("POST", f"/backups/{backup_id}/restore", 404, {"restore": {}})
    listed = (await user("GET", "/backups/detail?with_count=true&name=c", 200))
    assert listed["count"] == 1 and listed["backups"][0]["id"] == backup_id
    await user("DELETE", f"/backups/{backup_id}", 202)
    await user.wait_for(backup_id, "gone", "backup")
    assert manager.backups == {}


async def test_increments(user: Volumes, manager: Manager) -> None:
    volume_id = await user.create()
    await user("POST", "/backups", 400, {"backup": {"volume_id": volume_id, "incremental": True}})
    full = await backup(user, volume_id, container="mine")
    more = await backup(user, volume_id, incremental=True)
    assert manager.backups[more]["parent"] == {"id": full, "volume_id": volume_id}
    assert manager.backups[more]["container"] == "mine"
    shown = await user.show(more, "backup")
    assert shown["is_incremental"] is True and (await user.show(full, "backup"))["has_dependent_backups"] is True
    await user("DELETE", f"/backups/{full}", 400)
    await user("DELETE", f"/backups/{more}", 202)
    await user.wait_for(more, "gone", "backup")
    await user("DELETE", f"/backups/{full}", 202)
    await user.wait_for(full, "gone", "backup")


async def test_what_may_be_backed_up(user: Volumes, manager: Manager) -> None:
    volume_id = await user.create()
    snapshot_id = await user.snapshot(volume_id)
    await user.act(volume_id, "os-attach", {"instance_uuid": str(uuid.uuid4()), "mountpoint": "/dev/vdb"})
    await user("POST", "/backups", 400, {"backup": {"volume_id": volume_id}})
    await backup(user, volume_id, force=True)
    assert (await user.wait_for(volume_id, "in-use"))["status"] == "in-use"
    of_snapshot = await backup(user, volume_id, snapshot_id=snapshot_id)
    assert manager.backups[of_snapshot]["snapshot_id"] == snapshot_id
    await user.wait_for(snapshot_id, "available", "snapshot")
    await user("POST", "/backups", 404, {"backup": {"volume_id": str(uuid.uuid4())}})
    await user("POST", "/backups", 400, {"backup": {"volume_id": volume_id, "container": "a/b"}})
    manager.failures["create_backup"] = [Conflict("swift is full")]
    failed = await backup(user, volume_id, "error", force=True)
    assert (await user.show(failed, "backup"))["fail_reason"] == "swift is full"
    assert failed not in manager.backups and (await user.show(volume_id))["status"] == "in-use"


async def test_detached_while_it_is_backed_up(user: Volumes, manager: Manager) -> None:
    volume_id = await user.create()
    await user.act(volume_id, "os-attach", {"instance_uuid": str(uuid.uuid4()), "mountpoint": "/dev/vdb"})
    manager.hold["create_backup"] = asyncio.Event()
    backup_id = await backup(user, volume_id, "creating", force=True)
    await user.act(volume_id, "os-detach", {})
    assert (await user.show(volume_id))["status"] == "backing-up"
    manager.hold.pop("create_backup").set()
    await user.wait_for(backup_id, "available", "backup")
    assert (await user.show(volume_id))["status"] == "available"


async def test_restoring(user: Volumes, manager: Manager) -> None:
    volume_id = await user.create(2)
    backup_id = await backup(user, volume_id)
    made = (await user("POST", f"/backups/{backup_id}/restore", 202, {"restore": {"name": "back"}}))["restore"]
    assert made["backup_id"] == backup_id and made["volume_name"] == "back"
    assert (await user.wait_for(made["volume_id"], "available"))["size"] == 2
    await user.wait_for(backup_id, "available", "backup")
    await user("POST", f"/backups/{backup_id}/restore", 202, {"restore": {"volume_id": volume_id}})
    await user.wait_for(volume_id, "available")
    await user.wait_for(backup_id, "available", "backup")
    small = await user.create(1)
    await user("POST", f"/backups/{backup_id}/restore", 400, {"restore": {"volume_id": small}})
    third = await user.create(3, backup_id=backup_id)
    assert (await user.show(third))["size"] == 3
    await user.wait_for(backup_id, "available", "backup")
    manager.failures["restore_backup"] = [Conflict("damaged")]
    await user("POST", f"/backups/{backup_id}/restore", 202, {"restore": {"volume_id": volume_id}})
    await user.wait_for(volume_id, "error_restoring")
    await user.wait_for(backup_id, "available", "backup")


async def test_records_go_and_come(user: Volumes, admin: Volumes) -> None:
    volume_id = await user.create()
    backup_id = await backup(user, volume_id)
    await user("GET", f"/backups/{backup_id}/export_record", 403)
    record = (await admin("GET", f"/backups/{backup_id}/export_record", 200))
    await admin("POST", "/backups/import_record", 400, record)  # it is still here
    await user("DELETE", f"/backups/{backup_id}", 202)
    await user.wait_for(backup_id, "gone", "backup")
    await user("POST", "/backups/import_record", 403, record)
    assert (await admin("POST", "/backups/import_record", 201, record))["backup"]["id"] == backup_id
    assert (await user.show(backup_id, "backup"))["status"] == "available"
    for bad in ("!", "e30=", "eyJpZCI6IDF9"):
        broken = {"backup-record": {**record["backup-record"], "backup_url": bad}}
        await admin("POST", "/backups/import_record", 400, broken)


async def test_operators_words(user: Volumes, admin: Volumes, manager: Manager, cloud: CinderCloud) -> None:
    volume_id = await user.create()
    manager.hold["create_backup"] = asyncio.Event()
    backup_id = await backup(user, volume_id, "creating")
    path = f"/backups/{backup_id}/action"
    await user("POST", path, 403, {"os-force_delete": {}})
    await admin("POST", path, 202, {"os-force_delete": {}})
    manager.hold.pop("create_backup").set()
    await user.wait_for(backup_id, "gone", "backup")
    await cloud.idle()
    assert manager.backups == {} and (await user.show(volume_id))["status"] == "available"
    backup_id = await backup(user, volume_id)
    await admin("POST", f"/backups/{backup_id}/action", 202, {"os-reset_status": {"status": "error"}})
    assert (await user.show(backup_id, "backup"))["status"] == "error"


class Story:
    """One backup on a cloud that is killed and started again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manager = Manager()
        self.volume_id = self.backup_id = ""

    def start(self) -> CinderCloud:
        return CinderCloud(self.path, self.manager)

    async def client(self, cloud: CinderCloud) -> Volumes:
        return Volumes(await cloud.login("admin"))

    async def create(self, cloud: CinderCloud) -> None:
        user = await self.client(cloud)
        self.volume_id = (await user("POST", "/volumes", 202, {"volume": {"size": 1}}))["volume"]["id"]
        await cloud.idle()
        body = {"backup": {"volume_id": self.volume_id}}
        self.backup_id = (await user("POST", "/backups", 202, body))["backup"]["id"]

    async def create_in_vain(self, cloud: CinderCloud) -> None:
        self.manager.failures["create_backup"] = [Conflict("never")] * 3
        await self.create(cloud)

    async def delete(self, cloud: CinderCloud) -> None:
        await self.create(cloud)
        await cloud.idle()
        await (await self.client(cloud))("DELETE", f"/backups/{self.backup_id}", 202)

    async def restore(self, cloud: CinderCloud) -> None:
        await self.create(cloud)
        await cloud.idle()
        user = await self.client(cloud)
        answer = await user("POST", f"/backups/{self.backup_id}/restore", 202, {"restore": {}})
        self.volume_id = answer["restore"]["volume_id"]

    async def restore_in_vain(self, cloud: CinderCloud) -> None:
        self.manager.failures["restore_backup"] = [Conflict("never")] * 3
        await self.restore(cloud)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.backup.create"]))
async def test_a_backup_is_made(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.create) as cloud:
        user = await story.client(cloud)
        await user.wait_for(story.backup_id, "available", "backup")
        await user.wait_for(story.volume_id, "available")
        assert list(story.manager.backups) == [story.backup_id]


@pytest.mark.parametrize("point", undo_points(TYPES["cinder.backup.create"], "bytes"))
async def test_a_backup_that_cannot_be_made(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.create_in_vain) as cloud:
        user = await story.client(cloud)
        await user.wait_for(story.backup_id, "error", "backup")
        await user.wait_for(story.volume_id, "available")
        assert story.manager.backups == {}


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.backup.delete"]))
async def test_a_backup_goes(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.delete) as cloud:
        await (await story.client(cloud)).wait_for(story.backup_id, "gone", "backup")
        assert story.manager.backups == {}


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.backup.restore"]))
async def test_a_backup_is_restored(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.restore) as cloud:
        user = await story.client(cloud)
        await user.wait_for(story.volume_id, "available")
        await user.wait_for(story.backup_id, "available", "backup")
        assert len(story.manager.volumes) == 2


@pytest.mark.parametrize("point", undo_points(TYPES["cinder.backup.restore"], "bytes"))
async def test_a_backup_that_cannot_be_restored(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.restore_in_vain) as cloud:
        user = await story.client(cloud)
        await user.wait_for(story.volume_id, "error_restoring")
        await user.wait_for(story.backup_id, "available", "backup")
        assert story.volume_id not in story.manager.volumes
