"""Groups of volumes and their snapshots."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudseed.cinder.groups import GroupWork
from cloudseed.kernel.errors import Conflict
from cloudseed.kernel.operations import OperationType
from tests.cinder.conftest import CinderCloud, Volumes
from tests.cinder.manager_double import Manager
from tests.support.operations import forward_points, killed_at, undo_points

NOBODY: Any = SimpleNamespace()
TYPES: dict[str, OperationType] = {kind.kind: kind for kind in GroupWork(NOBODY).types()}


async def make(admin: Volumes, user: Volumes, name: str = "g") -> str:
    await admin("POST", "/group_types", 202, {"group_type": {"name": name, "group_specs": {"a": "b"}}})
    body = {"group": {"name": name, "group_type": name, "volume_types": ["__DEFAULT__"]}}
    group_id: str = (await user("POST", "/groups", 202, body))["group"]["id"]
    return group_id


async def test_group_types(user: Volumes, admin: Volumes) -> None:
    await user("POST", "/group_types", 403, {"group_type": {"name": "x"}})
    made = (await admin("POST", "/group_types", 202, {"group_type": {"name": "x"}}))["group_type"]
    path = f"/group_types/{made['id']}"
    await admin("POST", "/group_types", 409, {"group_type": {"name": "x"}})
    await admin("PUT", path, 200, {"group_type": {"description": "d"}})
    await admin("POST", f"{path}/group_specs", 202, {"group_specs": {"k": "v"}})
    assert await admin("GET", f"{path}/group_specs/k", 200) == {"k": "v"}
    assert "group_specs" not in (await user("GET", path, 200))["group_type"]
    await admin("DELETE", f"{path}/group_specs/k", 202)
    await admin("DELETE", f"{path}/group_specs/k", 404)
    await admin("DELETE", path, 202)
    await user("GET", path, 404)


async def test_a_group_lives(user: Volumes, admin: Volumes, manager: Manager, cloud: CinderCloud) -> None:
    group_id = await make(admin, user)
    inside = await user.create(group_id=group_id)
    outside = await user.create()
    other = Volumes(await cloud.new_project("bob"))
    await other("GET", f"/groups/{group_id}", 404)
    await other("POST", "/volumes", 404, {"volume": {"size": 1, "group_id": group_id}})
    await user("POST", "/volumes", 404, {"volume": {"size": 1, "group_id": str(uuid.uuid4())}})
    await user("PUT", f"/groups/{group_id}", 202, {"group": {"add_volumes": outside}})
    shown = (await user("GET", f"/groups/{group_id}?list_volume=true", 200))["group"]
    assert sorted(shown["volumes"]) == sorted([inside, outside])
    await user("DELETE", f"/volumes/{inside}", 400)
    taken = (await user("POST", "/group_snapshots", 202, {"group_snapshot": {"group_id": group_id}}))["group_snapshot"]
    await user.wait_for(taken["id"], "available", "group_snapshot")
    assert len(manager.snapshots) == 2
    await user("POST", f"/groups/{group_id}/action", 400, {"delete": {"delete-volumes": True}})
    copy = await user("POST", "/groups/action", 202, {"create-from-src": {"group_snapshot_id": taken["id"]}})
    await cloud.idle()
    assert len((await user("GET", f"/volumes?group_id={copy['group']['id']}", 200))["volumes"]) == 2
    await user("DELETE", f"/group_snapshots/{taken['id']}", 202)
    await user.wait_for(taken["id"], "gone", "group_snapshot")
    await user("PUT", f"/groups/{group_id}", 202, {"group": {"remove_volumes": outside}})
    await user("POST", f"/groups/{group_id}/action", 400, {"delete": {}})
    for one in (group_id, copy["group"]["id"]):
        await user("POST", f"/groups/{one}/action", 202, {"delete": {"delete-volumes": True}})
        await user.wait_for(one, "gone", "group")
    assert list(manager.volumes) == [outside] and manager.snapshots == {}


class Story:
    """One group on a cloud that is killed and started again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manager = Manager()
        self.group_id = self.snapshot_id = ""

    def start(self) -> CinderCloud:
        return CinderCloud(self.path, self.manager)

    async def client(self, cloud: CinderCloud) -> Volumes:
        return Volumes(await cloud.login("admin"))

    async def group(self, cloud: CinderCloud) -> Volumes:
        user = await self.client(cloud)
        self.group_id = await make(user, user)
        for _ in range(2):
            await user("POST", "/volumes", 202, {"volume": {"size": 1, "group_id": self.group_id}})
        await cloud.idle()
        return user

    async def snapshot(self, cloud: CinderCloud) -> None:
        body = {"group_snapshot": {"group_id": self.group_id or ((await self.group(cloud)) and self.group_id)}}
        user = await self.client(cloud)
        self.snapshot_id = (await user("POST", "/group_snapshots", 202, body))["group_snapshot"]["id"]

    async def snapshot_in_vain(self, cloud: CinderCloud) -> None:
        self.manager.failures["create_snapshot"] = [Conflict("never")] * 6
        await self.snapshot(cloud)

    async def unsnapshot(self, cloud: CinderCloud) -> None:
        await self.snapshot(cloud)
        await cloud.idle()
        await (await self.client(cloud))("DELETE", f"/group_snapshots/{self.snapshot_id}", 202)

    async def delete(self, cloud: CinderCloud) -> None:
        user = await self.group(cloud)
        await user("POST", f"/groups/{self.group_id}/action", 202, {"delete": {"delete-volumes": True}})


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.group.delete"]))
async def test_a_group_goes(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.delete) as cloud:
        await (await story.client(cloud)).wait_for(story.group_id, "gone", "group")
        assert story.manager.holds_nothing()


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.group_snapshot.create"]))
async def test_a_group_snapshot_is_made(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.snapshot) as cloud:
        await (await story.client(cloud)).wait_for(story.snapshot_id, "available", "group_snapshot")
        assert len(story.manager.snapshots) == 2


@pytest.mark.parametrize("point", undo_points(TYPES["cinder.group_snapshot.create"], "bytes"))
async def test_a_group_snapshot_that_cannot_be_made(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.snapshot_in_vain) as cloud:
        await (await story.client(cloud)).wait_for(story.snapshot_id, "error", "group_snapshot")
        assert story.manager.snapshots == {}


@pytest.mark.parametrize("point", forward_points(TYPES["cinder.group_snapshot.delete"]))
async def test_a_group_snapshot_goes(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.unsnapshot) as cloud:
        await (await story.client(cloud)).wait_for(story.snapshot_id, "gone", "group_snapshot")
        assert story.manager.snapshots == {}
