"""Volume types and what hangs on them; transfers."""

from __future__ import annotations

import uuid
from typing import Any

from tests.cinder.conftest import CinderCloud, Volumes


async def make(admin: Volumes, name: str, **fields: Any) -> str:
    type_id: str = (await admin("POST", "/types", 200, {"volume_type": {"name": name, **fields}}))["volume_type"]["id"]
    return type_id


async def test_types(user: Volumes, admin: Volumes) -> None:
    await user("POST", "/types", 403, {"volume_type": {"name": "x"}})
    type_id = await make(admin, "fast", description="d", extra_specs={"volume_backend_name": "files",
                                                                       "multiattach": "<is> False"})
    await admin("POST", "/types", 409, {"volume_type": {"name": "fast"}})
    for bad in ({"name": ""}, {"name": " "}, {"name": "x" * 256}, {}, {"name": "x", "y": 1}):
        await admin("POST", "/types", 400, {"volume_type": bad})
    names = [t["name"] for t in (await user("GET", "/types?sort=name:asc", 200))["volume_types"]]
    assert names == ["__DEFAULT__", "fast"]
    seen = (await user("GET", f"/types/{type_id}", 200))["volume_type"]
    assert seen["extra_specs"] == {"multiattach": "<is> False"} and "qos_specs_id" not in seen
    assert (await user("GET", "/types/default", 200))["volume_type"]["name"] == "__DEFAULT__"
    shown = (await admin("GET", f"/types/{type_id}", 200))["volume_type"]
    assert shown["extra_specs"]["volume_backend_name"] == "files" and shown["qos_specs_id"] is None
    changed = (await admin("PUT", f"/types/{type_id}", 200, {"volume_type": {"name": "faster"}}))["volume_type"]
    assert changed["name"] == "faster" and changed["description"] == "d"
    await admin("PUT", f"/types/{type_id}", 400, {"volume_type": {}})
    volume_id = await user.create(volume_type="faster")
    assert (await user.show(volume_id))["volume_type_id"] == type_id
    await admin("DELETE", f"/types/{type_id}", 400)
    default = (await user("GET", "/types/default", 200))["volume_type"]["id"]
    await admin("DELETE", f"/types/{default}", 400)
    await user.act(volume_id, "os-retype", {"new_type": "__DEFAULT__"})
    assert (await user.show(volume_id))["volume_type"] == "__DEFAULT__"
    await user.act(volume_id, "os-retype", {"new_type": "__DEFAULT__"}, 400)
    await user.act(volume_id, "os-retype", {"new_type": "nobody"}, 404)
    await admin("DELETE", f"/types/{type_id}", 202)
    await admin("GET", f"/types/{type_id}", 404)


async def test_extra_specs(user: Volumes, admin: Volumes) -> None:
    path = f"/types/{await make(admin, 't')}/extra_specs"
    await user("POST", path, 403, {"extra_specs": {"a": "b"}})
    body = {"extra_specs": {"a": "b", "c": "d"}}
    assert await admin("POST", path, 200, body) == body
    assert await admin("PUT", f"{path}/a", 200, {"a": "x"}) == {"a": "x"}
    await admin("PUT", f"{path}/a", 400, {"b": "x"})
    assert await admin("GET", f"{path}/a", 200) == {"a": "x"}
    await user("GET", f"{path}/a", 404)
    await admin("DELETE", f"{path}/a", 202)
    await admin("DELETE", f"{path}/a", 404)
    assert await admin("GET", path, 200) == {"extra_specs": {"c": "d"}}


async def test_a_backend_that_nobody_has(user: Volumes, admin: Volumes) -> None:
    await make(admin, "ceph", extra_specs={"volume_backend_name": "ceph"})
    await user.create(wait="error", volume_type="ceph")
    assert "volume_backend_name" in (await user("GET", "/messages", 200))["messages"][0]["user_message"]


async def test_private_types(user: Volumes, admin: Volumes) -> None:
    type_id = await make(admin, "secret", **{"os-volume-type-access:is_public": False})
    await user("GET", f"/types/{type_id}", 404)
    await user("POST", "/volumes", 404, {"volume": {"size": 1, "volume_type": "secret"}})
    order = {"addProjectAccess": {"project": user.client.project_id}}
    await user("POST", f"/types/{type_id}/action", 403, order)
    await admin("POST", f"/types/{type_id}/action", 202, order)
    await admin("POST", f"/types/{type_id}/action", 409, order)
    access = (await admin("GET", f"/types/{type_id}/os-volume-type-access", 200))["volume_type_access"]
    assert access == [{"volume_type_id": type_id, "project_id": user.client.project_id}]  # and not its maker's
    await user.create(volume_type=type_id)
    order = {"removeProjectAccess": {"project": user.client.project_id}}
    await admin("POST", f"/types/{type_id}/action", 202, order)
    await admin("POST", f"/types/{type_id}/action", 404, order)
    await user("GET", f"/types/{type_id}", 404)
    names = {t["name"] for t in (await admin("GET", "/types?is_public=None", 200))["volume_types"]}
    assert names == {"__DEFAULT__", "secret"}
    assert [t["name"] for t in (await admin("GET", "/types?is_public=false", 200))["volume_types"]] == ["secret"]
    described = "/types?description=Default Volume Type"
    assert [t["name"] for t in (await admin("GET", described, 200))["volume_types"]] == ["__DEFAULT__"]


async def test_encryption_records(user: Volumes, admin: Volumes) -> None:
    type_id = await make(admin, "luks")
    path = f"/types/{type_id}/encryption"
    await user("GET", path, 403)
    assert await admin("GET", path, 200) == {}
    await admin("POST", path, 400, {"encryption": {"cipher": "aes"}})
    body = {"encryption": {"provider": "luks", "control_location": "front-end", "cipher": "aes", "key_size": 256}}
    made = (await admin("POST", path, 200, body))["encryption"]
    await admin("POST", path, 400, body)
    assert await admin("GET", f"{path}/cipher", 200) == {"cipher": "aes"}
    # it is refused, never ignored
    error = await user("POST", "/volumes", 400, {"volume": {"size": 1, "volume_type": "luks"}})
    assert "asks for encryption" in error["badRequest"]["message"]
    await admin("PUT", f"{path}/{made['encryption_id']}", 200, {"encryption": {"cipher": "x"}})
    await admin("DELETE", f"{path}/{made['encryption_id']}", 202)
    await user.create(volume_type="luks")


async def test_default_types(user: Volumes, admin: Volumes) -> None:
    type_id, path = await make(admin, "ours"), f"/default-types/{user.client.project_id}"
    await user("GET", path, 403)
    await admin("GET", path, 404)
    await admin("PUT", "/default-types/nobody", 404, {"default_type": {"volume_type": "ours"}})
    wanted = {"default_type": {"project_id": user.client.project_id, "volume_type_id": type_id}}
    assert await admin("PUT", path, 200, {"default_type": {"volume_type": "ours"}}) == wanted
    assert await admin("GET", path, 200) == wanted
    assert (await admin("GET", "/default-types", 200))["default_types"] == [wanted["default_type"]]
    assert (await user.show(await user.create()))["volume_type"] == "ours"
    await admin("DELETE", path, 204)
    assert (await user.show(await user.create()))["volume_type"] == "__DEFAULT__"


async def test_qos_specs(user: Volumes, admin: Volumes) -> None:
    await user("GET", "/qos-specs", 403)
    body = {"qos_specs": {"name": "q", "consumer": "front-end", "read_iops_sec": "100"}}
    made = (await admin("POST", "/qos-specs", 200, body))["qos_specs"]
    assert made["specs"] == {"read_iops_sec": "100"} and made["consumer"] == "front-end"
    await admin("POST", "/qos-specs", 409, body)
    await admin("POST", "/qos-specs", 400, {"qos_specs": {"name": "r", "consumer": "x"}})
    path, type_id = f"/qos-specs/{made['id']}", await make(admin, "t")
    await admin("GET", f"{path}/associate?vol_type_id={type_id}", 202)
    assert (await admin("GET", f"{path}/associations", 200))["qos_associations"][0]["id"] == type_id
    await admin("PUT", path, 200, {"qos_specs": {"write_iops_sec": "5"}})
    await admin("PUT", f"{path}/delete_keys", 202, {"keys": ["read_iops_sec"]})
    await admin("PUT", f"{path}/delete_keys", 404, {"keys": ["read_iops_sec"]})
    assert (await admin("GET", path, 200))["qos_specs"]["specs"] == {"write_iops_sec": "5"}
    await admin("DELETE", path, 400)
    await admin("GET", f"{path}/disassociate?vol_type_id={type_id}", 202)
    await admin("GET", f"{path}/disassociate_all", 202)
    assert len((await admin("GET", "/qos-specs", 200))["qos_specs"]) == 1
    await admin("DELETE", path, 202)
    await admin("GET", path, 404)


async def test_transfers(user: Volumes, admin: Volumes, cloud: CinderCloud) -> None:
    volume_id = await user.create(name="gift")
    snapshot_id = await user.snapshot(volume_id)
    other = Volumes(await cloud.new_project("bob"))
    await other("POST", "/volume-transfers", 404, {"transfer": {"volume_id": volume_id}})
    body = {"transfer": {"volume_id": volume_id, "name": "t"}}
    offer = (await user("POST", "/volume-transfers", 202, body))["transfer"]
    assert len(offer["auth_key"]) >= 16 and offer["source_project_id"] == user.client.project_id
    assert (await user.show(volume_id))["status"] == "awaiting-transfer"
    await user("POST", "/volume-transfers", 400, {"transfer": {"volume_id": volume_id}})
    await user("DELETE", f"/volumes/{volume_id}", 400)
    path = f"/volume-transfers/{offer['id']}"
    shown = (await user("GET", path, 200))["transfer"]
    assert "auth_key" not in shown and shown["volume_id"] == volume_id
    await other("GET", path, 404)
    assert [t["id"] for t in (await user("GET", "/os-volume-transfer/detail", 200))["transfers"]] == [offer["id"]]
    assert (await other("GET", "/volume-transfers", 200))["transfers"] == []
    await other("POST", f"{path}/accept", 400, {"accept": {"auth_key": "0" * 32}})
    await admin("PUT", f"/os-quota-sets/{other.client.project_id}", 200, {"quota_set": {"gigabytes": 1}})
    await other("POST", f"{path}/accept", 413, {"accept": {"auth_key": offer["auth_key"]}})
    await admin("DELETE", f"/os-quota-sets/{other.client.project_id}", 200)
    await other("POST", f"{path}/accept", 202, {"accept": {"auth_key": offer["auth_key"]}})
    assert (await other.show(volume_id))["status"] == "available"
    assert (await other.show(snapshot_id, "snapshot"))["id"] == snapshot_id
    await user("GET", f"/volumes/{volume_id}", 404)
    await other("GET", path, 404)
    # withdrawn
    offer = (await other("POST", "/os-volume-transfer", 202, {"transfer": {"volume_id": volume_id}}))["transfer"]
    await other("DELETE", f"/os-volume-transfer/{offer['id']}", 202)
    assert (await other.show(volume_id))["status"] == "available"
    await Volumes(user.client, "3.54")("GET", "/volume-transfers", 404)
    await user("GET", f"/volume-transfers/{uuid.uuid4()}", 404)
