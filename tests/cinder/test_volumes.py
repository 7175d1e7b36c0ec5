"""Volumes as their owner sees them."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from cloudseed.kernel.errors import Conflict, Unavailable
from tests.cinder.conftest import V3, CinderCloud, Volumes
from tests.cinder.manager_double import HOST, Manager


async def test_a_volume_lives_and_leaves_nothing(user: Volumes, manager: Manager, cloud: CinderCloud) -> None:
    body = {"volume": {"size": 2, "name": " data ", "description": "d", "metadata": {"a": "b"}}}
    made = (await user("POST", "/volumes", 202, body))["volume"]
    assert made["status"] == "creating" and made["name"] == "data" and made["volume_type"] == "__DEFAULT__"
    assert made["metadata"] == {"a": "b"} and made["attachments"] == [] and made["bootable"] == "false"
    shown = await user.wait_for(made["id"], "available")
    assert shown["size"] == 2 and shown["availability_zone"] == "nova" and shown["multiattach"] is False
    assert shown["links"][0]["href"].endswith(f"/volume/v3/volumes/{made['id']}")
    path = f"/{user.client.project_id}/volumes/{made['id']}"  # as clients wrote it until 3.67
    assert (await user("GET", path, 200))["volume"]["links"][0]["href"].endswith(f"/volume/v3{path}")
    assert manager.volumes == {made["id"]: {"size": 2, "source": None}}
    changed = await user("PUT", f"/volumes/{made['id']}", 200, {"volume": {"name": "x", "metadata": {"c": "d"}}})
    assert (changed["volume"]["name"], changed["volume"]["metadata"]) == ("x", {"c": "d"})
    assert changed["volume"]["updated_at"] is not None
    await user("DELETE", f"/volumes/{made['id']}", 202)
    await user.wait_for(made["id"], "gone")
    await cloud.idle()
    assert manager.holds_nothing()
    assert (await cloud.runtime.ledger())["cinder"]["volumes"] == []


async def test_who_sees_what(user: Volumes, admin: Volumes, cloud: CinderCloud) -> None:
    volume_id = await user.create(name="mine")
    other = Volumes(await cloud.new_project("bob"))
    reader = Volumes(await cloud.new_project("carol", roles=["reader"]))
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/metadata"), ("PUT", "")):
        await other(method, f"/volumes/{volume_id}{path}", 404, {"volume": {"name": "stolen"}})
    assert (await other("GET", "/volumes/detail", 200))["volumes"] == []
    assert (await other("GET", "/volumes?all_tenants=1", 200))["volumes"] == []
    await reader("POST", "/volumes", 403, {"volume": {"size": 1}})
    mine = await user.show(volume_id)
    assert "migration_status" not in mine and "os-vol-host-attr:host" not in mine
    assert mine["os-vol-tenant-attr:tenant_id"] == user.client.project_id
    seen = await admin.show(volume_id)
    assert seen["os-vol-host-attr:host"] == f"{HOST}@files#files" and "migration_status" in seen
    assert [v["id"] for v in (await admin("GET", "/volumes/detail?all_tenants=1", 200))["volumes"]] == [volume_id]
    assert (await admin("GET", "/volumes/detail", 200))["volumes"] == []
    # the project in the URL decides nothing
    path = f"/{user.client.project_id}/volumes/{volume_id}"
    await user("GET", path, 200)
    await other("GET", path, 400)


@pytest.mark.parametrize("body", [
    {}, {"size": 0}, {"size": -1}, {"size": "x"}, {"size": None}, {"size": 1, "name": "x" * 256}, {"size": 2**40},
    {"size": 1, "metadata": {"k": "v" * 256}}, {"size": 1, "metadata": {"": "v"}}, {"size": 1, "metadata": 3},
    {"size": 1, "snapshot_id": "x"}, {"size": 1, "availability_zone": "nowhere"}, {"size": 1, "status": "error"},
    {"size": 1, "name": "a\x00b"}, {"size": 1, "multiattach": True}, {"size": True}, {"size": 1.5}])
async def test_bad_volumes_are_refused(user: Volumes, body: dict[str, Any]) -> None:
    await user("POST", "/volumes", 400, {"volume": body})


async def test_what_is_named_must_be_there(user: Volumes) -> None:
    nobody = str(uuid.uuid4())
    for field, value in (("snapshot_id", nobody), ("source_volid", nobody), ("volume_type", nobody)):
        answer = await user("POST", "/volumes", 404, {"volume": {"size": 1, field: value}})
        assert nobody in answer["itemNotFound"]["message"]
    for path in (nobody, "x", "!@#", nobody + "/metadata", nobody + "/metadata/x"):
        await user("GET", f"/volumes/{path}", 404)
    await user("DELETE", "/volumes/", 404)
    await user("GET", "/volumes/", 404)


async def test_old_versions_see_old_shapes(user: Volumes) -> None:
    volume_id = await user.create()
    old, new = await Volumes(user.client, "3.0").show(volume_id), await user.show(volume_id)
    added = {"group_id", "shared_targets", "service_uuid", "volume_type_id", "consumes_quota"}
    assert set(new) - set(old) == added
    for version, path in (("3.11", "/volumes/summary"), ("3.26", "/attachments"), ("3.32", "/resource_filters")):
        await Volumes(user.client, version)("GET", path, 404)
    assert (await user.client.get(f"{V3}/volumes", headers={"OpenStack-API-Version": "volume 3.72"})).status == 406
    answer = await user.client.get(f"{V3}/volumes", headers={"OpenStack-API-Version": "volume latest"})
    assert answer.headers["openstack-api-version"] == "volume 3.71"
    # before 3.53 unknown fields meant nothing
    await Volumes(user.client, "3.52")("POST", "/volumes", 202, {"volume": {"size": 1, "status": "error"}})


async def test_lists_are_filtered_sorted_and_paged(user: Volumes) -> None:
    ids = [await user.create(size, name=name, metadata={"n": name}) for name, size in (("b", 1), ("a", 3), ("c", 2))]

    async def listed(query: str, status: int = 200, detail: str = "/detail") -> Any:
        answer = await user("GET", f"/volumes{detail}?{query}", status)
        return [v["name"] for v in answer["volumes"]] if status == 200 else answer

    assert await listed("") == ["c", "a", "b"] and await listed("", detail="") == ["c", "a", "b"]
    assert await listed("sort=name:asc") == ["a", "b", "c"]
    assert await listed("sort_key=size&sort_dir=asc") == ["b", "c", "a"]
    assert await listed("sort=name:asc&limit=2") == ["a", "b"]
    assert await listed(f"sort=name:asc&limit=2&marker={ids[0]}") == ["c"]
    assert await listed("sort=name:asc&offset=1&limit=1") == ["b"]
    assert await listed("limit=0") == []
    assert await listed("name=a") == ["a"] and await listed("name=nobody") == []
    assert await listed("name~=b") == ["b"] and await listed("status=available&size=2") == ["c"]
    assert await listed("metadata={'n': 'a'}") == ["a"] and await listed('metadata={"n": "x"}') == []
    assert await listed("bootable=false&availability_zone=nova&limit=1&sort=name:asc") == ["a"]
    assert await listed("bootable=true") == [] and await listed("status=error") == []
    assert await listed("created_at=gt:2020-01-01T00:00:00,lt:2021-01-01T00:00:00") == []
    for query in ("limit=-1", "limit=x", "sort=name:up", "sort=nothing", "created_at=2020", "nonsense=1", "offset=-1",
                  "consumes_quota=perhaps", "sort=name&sort_key=name"):
        await listed(query, 400)
    await listed(f"marker={uuid.uuid4()}", 404)
    page = await user("GET", "/volumes/detail?limit=2&with_count=true", 200)
    assert page["count"] == 3 and f"marker={ids[1]}" in page["volumes_links"][0]["href"]
    summary = (await user("GET", "/volumes/summary", 200))["volume-summary"]
    assert summary == {"total_count": 3, "total_size": 6, "metadata": {"n": ["a", "b", "c"]}}


async def test_metadata(user: Volumes) -> None:
    path = f"/volumes/{await user.create(metadata={'a': '1'})}/metadata"
    assert await user("POST", path, 200, {"metadata": {"b": "2"}}) == {"metadata": {"a": "1", "b": "2"}}
    assert await user("PUT", f"{path}/a", 200, {"meta": {"a": "3"}}) == {"meta": {"a": "3"}}
    assert await user("GET", f"{path}/a", 200) == {"meta": {"a": "3"}}
    await user("PUT", f"{path}/a", 400, {"meta": {"b": "3"}})
    await user("DELETE", f"{path}/a", 200)
    await user("DELETE", f"{path}/a", 404)
    assert await user("PUT", path, 200, {"metadata": {"c": "d"}}) == {"metadata": {"c": "d"}}
    assert await user("GET", path, 200) == {"metadata": {"c": "d"}}
    await user("POST", path, 400, {"metadata": {str(i): "x" for i in range(129)}})


async def test_image_metadata(user: Volumes) -> None:
    volume_id = await user.create()
    pairs = {"image_name": "x", "hw_disk_bus": "scsi"}
    assert (await user.act(volume_id, "os-set_image_metadata", {"metadata": pairs}, 200))["metadata"] == pairs
    assert (await user.act(volume_id, "os-show_image_metadata", status=200))["metadata"] == pairs
    assert (await user.show(volume_id))["volume_image_metadata"] == pairs
    await user.act(volume_id, "os-unset_image_metadata", {"key": "image_name"}, 200)
    await user.act(volume_id, "os-unset_image_metadata", {"key": "image_name"}, 404)
    assert [v["id"] for v in (await user("GET", "/volumes?glance_metadata={'hw_disk_bus':'scsi'}", 200))["volumes"]]


async def test_quotas_hold(user: Volumes, admin: Volumes) -> None:
    path = f"/os-quota-sets/{user.client.project_id}"
    await user("PUT", path, 403, {"quota_set": {"volumes": 100}})
    await admin("PUT", path, 200, {"quota_set": {"volumes": 2, "gigabytes": 5, "per_volume_gigabytes": 4}})
    error = (await user("POST", "/volumes", 413, {"volume": {"size": 5}}))["overLimit"]
    assert "larger than maximum allowed limit 4" in error["message"]
    first = await user.create(3)
    error = (await user("POST", "/volumes", 413, {"volume": {"size": 3}}))["overLimit"]
    assert "Requested 3G, quota is 5G and 3G has been consumed" in error["message"]
    await user("POST", "/snapshots", 413, {"snapshot": {"volume_id": first}})
    await user.create(1)
    error = (await user("POST", "/volumes", 413, {"volume": {"size": 1}}))["overLimit"]
    assert "Maximum number of volumes allowed (2) exceeded" in error["message"]
    await user.act(first, "os-extend", {"new_size": 5}, 413)
    shown = (await user("GET", f"{path}?usage=true", 200))["quota_set"]
    assert shown["gigabytes"] == {"limit": 5, "in_use": 4, "reserved": 0}
    assert shown["volumes___DEFAULT__"]["in_use"] == 2
    await admin("PUT", path, 400, {"quota_set": {"volumes": 1}})
    limits = (await user("GET", "/limits", 200))["limits"]["absolute"]
    assert (limits["maxTotalVolumes"], limits["totalVolumesUsed"], limits["totalGigabytesUsed"]) == (2, 2, 4)
    await admin("DELETE", path, 200)
    assert (await user("GET", path, 200))["quota_set"]["volumes"] == 10
    await admin("PUT", "/os-quota-class-sets/default", 200, {"quota_class_set": {"volumes": 7}})
    assert (await user("GET", f"{path}/defaults", 200))["quota_set"]["volumes"] == 7


async def test_two_at_once_do_not_exceed_a_quota(user: Volumes, admin: Volumes) -> None:
    await admin("PUT", f"/os-quota-sets/{user.client.project_id}", 200, {"quota_set": {"volumes": 1}})
    answers = await asyncio.gather(*(user("POST", "/volumes", None, {"volume": {"size": 1}}) for _ in range(4)))
    assert sorted("volume" in answer for answer in answers) == [False, False, False, True]


async def test_a_failure_is_told(user: Volumes, manager: Manager) -> None:
    manager.failures["create_volume"] = [Conflict("the disk has bad blocks")]
    volume_id = await user.create(wait="error")
    assert manager.holds_nothing()
    messages = (await user("GET", f"/messages?resource_uuid={volume_id}", 200))["messages"]
    assert "the disk has bad blocks" in messages[0]["user_message"]
    await user("DELETE", f"/messages/{messages[0]['id']}", 204)
    await user("GET", f"/messages/{messages[0]['id']}", 404)
    manager.failures["delete_volume"] = [Conflict("it is stuck")]
    await user("DELETE", f"/volumes/{volume_id}", 202)
    await user.wait_for(volume_id, "error_deleting")


async def test_a_manager_that_is_away_is_asked_again(user: Volumes, manager: Manager) -> None:
    manager.failures["create_volume"] = [Unavailable("it starts"), Unavailable("it still starts")]
    await user.create()
    assert manager.calls == ["create_volume"] * 3


async def test_nobody_takes_a_volume_that_is_too_large(user: Volumes, admin: Volumes) -> None:
    await admin("PUT", "/os-services/disable-log-reason", 200,
                {"host": HOST, "binary": "cinder-volume", "disabled_reason": "repair"})
    volume_id = await user.create(wait="error")
    message = (await user("GET", "/messages", 200))["messages"][0]
    assert message["resource_uuid"] == volume_id and "disabled" in message["user_message"]
    services = {s["binary"]: s for s in (await admin("GET", "/os-services", 200))["services"]}
    assert services["cinder-volume"]["status"] == "disabled" and services["cinder-volume"]["state"] == "up"
    assert services["cinder-volume"]["disabled_reason"] == "repair" and "cinder-scheduler" in services
    await admin("PUT", "/os-services/enable", 200, {"host": HOST, "binary": "cinder-volume"})
    await admin("PUT", "/os-services/enable", 404, {"host": "nobody", "binary": "cinder-volume"})
    await user("GET", "/os-services", 403)
    await user.create(400, volume_type="__DEFAULT__")
    await user.create(550, wait="error")


async def test_force_delete_ends_what_is_being_made(user: Volumes, admin: Volumes, manager: Manager,
                                                    cloud: CinderCloud) -> None:
    manager.hold["create_volume"] = asyncio.Event()
    volume_id = await user.create(wait="creating")
    await user("DELETE", f"/volumes/{volume_id}", 400)
    await user.act(volume_id, "os-force_delete", status=403)
    await admin.act(volume_id, "os-force_delete")
    assert (await user.show(volume_id))["status"] == "deleting"
    manager.hold.pop("create_volume").set()
    await user.wait_for(volume_id, "gone")
    await cloud.idle()
    assert manager.holds_nothing()


async def test_extending(user: Volumes, manager: Manager) -> None:
    volume_id = await user.create(2)
    await user.act(volume_id, "os-extend", {"new_size": 2}, 400)
    await user.act(volume_id, "os-extend", {"new_size": 4})
    assert (await user.wait_for(volume_id, "available"))["size"] == 4 and manager.volumes[volume_id]["size"] == 4
    manager.failures["extend_volume"] = [Conflict("no room")]
    await user.act(volume_id, "os-extend", {"new_size": 5})
    assert (await user.wait_for(volume_id, "error_extending"))["size"] == 4


async def test_flags(user: Volumes, admin: Volumes) -> None:
    volume_id = await user.create()
    await user.act(volume_id, "os-set_bootable", {"bootable": True}, 200)
    await user.act(volume_id, "os-update_readonly_flag", {"readonly": True})
    shown = await user.show(volume_id)
    assert shown["bootable"] == "true" and shown["metadata"]["readonly"] == "True"
    await user.act(volume_id, "os-update_readonly_flag", {"readonly": False})
    assert (await user.show(volume_id))["metadata"]["readonly"] == "False"
    await user.act(volume_id, "os-set_bootable", {"bootable": "perhaps"}, 400)
    await user.act(volume_id, "os-reset_status", {"status": "error"}, 403)
    await admin.act(volume_id, "os-reset_status", {"status": "error"})
    assert (await user.show(volume_id))["status"] == "error"
    await admin.act(volume_id, "os-reset_status", {"status": "in-use"}, 400)
    await admin.act(volume_id, "os-reset_status", {"status": "nonsense"}, 400)
    for action in ("os-nonsense", "revert"):
        await user.act(volume_id, action, status=400)
    await admin.act(volume_id, "os-migrate_volume", {"host": "b"}, 400)


async def test_documents_and_small_lists(user: Volumes, admin: Volumes, cloud: CinderCloud) -> None:
    anonymous = cloud.anonymous()
    assert (await anonymous.get("/volume/")).status == 300
    document = (await anonymous.get("/volume/v3/")).json()["versions"][0]
    assert (document["id"], document["version"], document["min_version"]) == ("v3.0", "3.71", "3.0")
    zones = (await user("GET", "/os-availability-zone", 200))["availabilityZoneInfo"]
    assert zones == [{"zoneName": "nova", "zoneState": {"available": True}}]
    assert {"os-quota-sets", "backups"} <= {e["alias"] for e in (await user("GET", "/extensions", 200))["extensions"]}
    await user("GET", "/scheduler-stats/get_pools", 403)
    pool = (await admin("GET", "/scheduler-stats/get_pools?detail=true", 200))["pools"][0]
    assert pool["name"] == f"{HOST}@files#files" and pool["capabilities"]["free_capacity_gb"] == 500.0
    assert (await admin("GET", f"/capabilities/{HOST}", 200))["volume_backend_name"] == "files"
    for host, body in (("/os-hosts", {"host": HOST, "status": "disable"}), (f"/os-hosts/{HOST}", {"status": "enable"})):
        assert (await admin("PUT", host, 200, body))["status"] == f"{body['status']}d"
    await admin("PUT", "/os-hosts/nobody", 404, {"status": "enable"})
    assert (await admin("GET", f"/os-hosts/{HOST}", 200))["host"][0]["resource"]["volume_count"] == "0"
    types = {entry["type"]: entry for entry in user.client.info["catalog"]}
    assert types["block-storage"]["endpoints"][0]["url"].endswith("/volume/v3")
    assert types["volumev3"]["endpoints"][0]["url"].endswith(f"/volume/v3/{user.client.project_id}")
