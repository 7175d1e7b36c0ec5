"""Snapshots, and volumes made of other things."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloudseed.kernel.errors import Conflict
from tests.cinder.conftest import CinderCloud, Volumes
from tests.cinder.manager_double import Manager


async def test_a_snapshot_lives(user: Volumes, manager: Manager, cloud: CinderCloud) -> None:
    volume_id = await user.create(2)
    body = {"snapshot": {"volume_id": volume_id, "name": "s", "description": "d", "metadata": {"a": "b"}}}
    made = (await user("POST", "/snapshots", 202, body))["snapshot"]
    assert (made["status"], made["size"], made["metadata"]) == ("creating", 2, {"a": "b"})
    shown = await user.wait_for(made["id"], "available", "snapshot")
    assert shown["os-extended-snapshot-attributes:progress"] == "100%" and shown["volume_id"] == volume_id
    assert manager.snapshots == {made["id"]: volume_id}
    error = await user("DELETE", f"/volumes/{volume_id}", 400)
    assert "it has 1 snapshots" in error["badRequest"]["message"]
    changed = (await user("PUT", f"/snapshots/{made['id']}", 200, {"snapshot": {"name": "t"}}))["snapshot"]
    assert changed["name"] == "t"
    other = Volumes(await cloud.new_project("bob"))
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/metadata")):
        await other(method, f"/snapshots/{made['id']}{path}", 404)
    await other("POST", "/snapshots", 404, body)
    await user("DELETE", f"/snapshots/{made['id']}", 202)
    await user.wait_for(made["id"], "gone", "snapshot")
    await user("DELETE", f"/volumes/{volume_id}", 202)
    await user.wait_for(volume_id, "gone")
    assert manager.holds_nothing()


async def test_lists_of_snapshots(user: Volumes) -> None:
    volume_id = await user.create()
    ids = [await user.snapshot(volume_id, name=name, metadata={"n": name}) for name in ("b", "a", "c")]
    for query, names in (("sort_key=name&sort_dir=asc", "abc"), ("sort=created_at:asc", "bac"), ("limit=1", "c"),
                         (f"marker={ids[2]}", "ab"), ("offset=1&sort=name:asc", "bc"), ("name=a", "a"),
                         (f"volume_id={volume_id}&status=available", "cab"), ("metadata={'n':'b'}", "b"),
                         ("limit=0", ""), ("status=error", "")):
        for detail in ("", "/detail"):
            found = (await user("GET", f"/snapshots{detail}?{query}", 200))["snapshots"]
            assert "".join(s["name"] for s in found) == names, query
    for query in ("limit=-1", "limit=a", "sort=x"):
        await user("GET", f"/snapshots?{query}", 400)
    assert (await user("GET", "/snapshots/detail?with_count=1&limit=1", 200))["count"] == 3


async def test_metadata_of_snapshots(user: Volumes) -> None:
    path = f"/snapshots/{await user.snapshot(await user.create())}/metadata"
    assert await user("POST", path, 200, {"metadata": {"a": "1", "b": "2"}}) == {"metadata": {"a": "1", "b": "2"}}
    assert await user("PUT", f"{path}/a", 200, {"meta": {"a": "3"}}) == {"meta": {"a": "3"}}
    await user("DELETE", f"{path}/b", 200)
    await user("GET", f"{path}/b", 404)
    assert await user("PUT", path, 200, {"metadata": {"c": "d"}}) == {"metadata": {"c": "d"}}
    assert await user("GET", path, 200) == {"metadata": {"c": "d"}}


async def test_what_a_snapshot_needs(user: Volumes, admin: Volumes, manager: Manager) -> None:
    volume_id = await user.create()
    await user("POST", "/snapshots", 404, {"snapshot": {"volume_id": str(uuid.uuid4())}})
    await user("POST", "/snapshots", 400, {"snapshot": {}})
    await user("POST", "/snapshots", 400, {"snapshot": {"volume_id": volume_id, "force": False}})
    await user.act(volume_id, "os-attach", {"instance_uuid": str(uuid.uuid4()), "mountpoint": "/dev/vdb"})
    old = Volumes(user.client, "3.65")
    await old("POST", "/snapshots", 400, {"snapshot": {"volume_id": volume_id}})
    await old("POST", "/snapshots", 202, {"snapshot": {"volume_id": volume_id, "force": True}})
    await user.snapshot(volume_id)
    manager.failures["create_snapshot"] = [Conflict("no room")]
    made = (await user("POST", "/snapshots", 202, {"snapshot": {"volume_id": volume_id}}))["snapshot"]
    await user.wait_for(made["id"], "error", "snapshot")
    assert "no room" in (await user("GET", "/messages", 200))["messages"][0]["user_message"]
    path = f"/snapshots/{made['id']}/action"
    await user("POST", path, 403, {"os-reset_status": {"status": "available"}})
    await admin("POST", path, 202, {"os-reset_status": {"status": "available"}})
    await admin("POST", path, 400, {"os-reset_status": {"status": "nonsense"}})
    await admin("POST", path, 202, {"os-force_delete": {}})
    await user.wait_for(made["id"], "gone", "snapshot")


async def test_volumes_of_snapshots_and_volumes(user: Volumes, manager: Manager) -> None:
    origin = await user.create(2)
    await user.act(origin, "os-set_bootable", {"bootable": True}, 200)
    await user.act(origin, "os-set_image_metadata", {"metadata": {"os": "x"}}, 200)
    snapshot_id = await user.snapshot(origin)
    for field, source, kind in (("snapshot_id", snapshot_id, "snapshot"), ("source_volid", origin, "volume")):
        copy = await user.create(None, **{field: source})
        shown = await user.show(copy)
        assert (shown["size"], shown["bootable"], shown[field]) == (2, "true", source)
        assert shown["volume_image_metadata"] == {"os": "x"}
        assert manager.volumes[copy]["source"]["kind"] == kind and manager.volumes[copy]["source"]["id"] == source
        await user("POST", "/volumes", 400, {"volume": {"size": 1, field: source}})
        assert (await user.show(await user.create(3, **{field: source})))["size"] == 3
    await user("POST", "/volumes", 400, {"volume": {"snapshot_id": snapshot_id, "source_volid": origin}})


async def test_revert(user: Volumes, manager: Manager) -> None:
    volume_id = await user.create()
    await user.act(volume_id, "revert", {"snapshot_id": None}, 400)
    first = await user.snapshot(volume_id)
    second = await user.snapshot(volume_id)
    await user.act(volume_id, "revert", {"snapshot_id": first}, 400)
    await user.act(volume_id, "revert", {"snapshot_id": second})
    await user.wait_for(volume_id, "available")
    await user.wait_for(second, "available", "snapshot")
    manager.failures["revert_to_snapshot"] = [Conflict("no")]
    await user.act(volume_id, "revert", {"snapshot_id": second})
    await user.wait_for(volume_id, "error")
    await user.wait_for(second, "available", "snapshot")


async def test_cascade(user: Volumes, manager: Manager) -> None:
    volume_id = await user.create()
    for _ in range(3):
        await user.snapshot(volume_id)
    await user("DELETE", f"/volumes/{volume_id}", 400)
    await user("DELETE", f"/volumes/{volume_id}?cascade=true", 202)
    await user.wait_for(volume_id, "gone")
    assert manager.holds_nothing() and (await user("GET", "/snapshots", 200))["snapshots"] == []


class TestImages:
    """With a real glance."""

    @pytest.fixture
    async def cloud(self, tmp_path: Path, manager: Manager) -> AsyncIterator[CinderCloud]:
        async with CinderCloud(tmp_path, manager, ("keystone", "cinder", "swift", "glance")) as cloud:
            yield cloud

    async def image(self, user: Volumes, *, upload: bool = True, **fields: object) -> str:
        body = {"name": "cirros", "disk_format": "raw", "container_format": "bare", "hw_disk_bus": "scsi", **fields}
        image_id: str = (await user.client.post("/image/v2/images", body)).json()["id"]
        if upload:
            octets = {"Content-Type": "application/octet-stream"}
            answer = await user.client.put(f"/image/v2/images/{image_id}/file", body=b"x" * 512, headers=octets)
            assert answer.status == 204
        return image_id

    async def test_a_volume_of_an_image(self, user: Volumes, manager: Manager, cloud: CinderCloud) -> None:
        image_id = await self.image(user)
        for reference in (image_id, f"http://glance/v2/images/{image_id}", "cirros"):
            shown = await user.show(await user.create(1, imageRef=reference))
            assert shown["bootable"] == "true"
            kept = shown["volume_image_metadata"]
            assert kept["image_id"] == image_id and kept["hw_disk_bus"] == "scsi" and kept["image_name"] == "cirros"
            assert kept["size"] == "512" and kept["signature_verified"] == "False"
        await user("POST", "/volumes", 400, {"volume": {"size": 1, "imageRef": str(uuid.uuid4())}})
        await user("POST", "/volumes", 400, {"volume": {"imageRef": image_id}})
        await user("POST", "/volumes", 400, {"volume": {"size": 1, "imageRef": await self.image(user, upload=False)}})
        large = await self.image(user, name="large", min_disk=3)
        error = await user("POST", "/volumes", 400, {"volume": {"size": 2, "imageRef": large}})
        assert "minDisk" in error["badRequest"]["message"]
        private = await self.image(user, name="private", visibility="private")
        other = Volumes(await cloud.new_project("bob"))
        await other("POST", "/volumes", 400, {"volume": {"size": 1, "imageRef": private}})

    async def test_a_volume_becomes_an_image(self, user: Volumes, manager: Manager) -> None:
        volume_id = await user.create(1, imageRef=await self.image(user))
        answer = (await user.act(volume_id, "os-volume_upload_image", {
            "image_name": "copy", "disk_format": "qcow2", "visibility": "private"}))["os-volume_upload_image"]
        assert (answer["status"], answer["disk_format"], answer["image_name"]) == ("uploading", "qcow2", "copy")
        # the type's whole record, here alone; times without a zone (Go clients insist on both)
        assert answer["volume_type"]["name"] == "__DEFAULT__" and answer["volume_type"]["is_public"] is True
        datetime.datetime.strptime(answer["volume_type"]["created_at"], "%Y-%m-%dT%H:%M:%S.%f")
        await user.wait_for(volume_id, "available")
        assert manager.images == [(volume_id, answer["image_id"])]
        made = (await user.client.get(f"/image/v2/images/{answer['image_id']}")).json()
        assert made["hw_disk_bus"] == "scsi" and made["owner"] == user.client.project_id
        await user.act(volume_id, "os-volume_upload_image", {"image_name": "x", "visibility": "public"}, 403)
        await user.act(volume_id, "os-volume_upload_image", {"image_name": "x", "disk_format": "vhd"}, 400)
        await user.act(volume_id, "os-volume_upload_image", {}, 400)

    async def test_reimage(self, user: Volumes, manager: Manager) -> None:
        volume_id, image_id = await user.create(1), await self.image(user)
        await user.act(volume_id, "os-reimage", {"image_id": image_id})
        shown = await user.wait_for(volume_id, "available")
        assert shown["volume_image_metadata"]["image_id"] == image_id and shown["bootable"] == "true"
        body = {"attachment": {"volume_uuid": volume_id, "instance_uuid": str(uuid.uuid4())}}
        place = (await user("POST", "/attachments", 200, body))["attachment"]["id"]
        await user.act(volume_id, "os-reimage", {"image_id": image_id}, 400)
        await user.act(volume_id, "os-reimage", {"image_id": image_id, "reimage_reserved": True})
        await user.wait_for(volume_id, "reserved")
        await user("PUT", f"/attachments/{place}", 200, {"attachment": {"connector": {"host": "h"}}})
        await user.act(volume_id, "os-reimage", {"image_id": image_id, "reimage_reserved": True}, 409)
