"""Unified limits, and policy documents."""

from __future__ import annotations

from typing import Any

from tests.keystone.conftest import V3, create
from tests.support.cloud import Client, Cloud


async def _register(admin: Client, **values: Any) -> dict[str, Any]:
    service = (await admin.get(f"{V3}/services", params={"name": "glance"})).json()["services"][0]["id"]
    answer = await admin.post(
        f"{V3}/registered_limits",
        {
            "registered_limits": [
                {"service_id": service, "resource_name": "image_count_total", "default_limit": 10, **values}
            ]
        },
    )
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json()["registered_limits"][0]
    return made


async def test_a_project_gets_its_own_limit(cloud: Cloud, admin: Client) -> None:
    me, other = await cloud.new_project("demo"), await cloud.new_project("other")
    registered = await _register(admin)
    limit = {
        "service_id": registered["service_id"],
        "resource_name": "image_count_total",
        "resource_limit": 5,
        "project_id": me.project_id,
    }
    answer = await admin.post(f"{V3}/limits", {"limits": [limit]})
    assert answer.status == 201, answer.body
    made = answer.json()["limits"][0]
    assert made["resource_limit"] == 5 and made["service_id"] == registered["service_id"]
    path = f"{V3}/limits/{made['id']}"
    assert (await me.get(path)).json()["limit"] == made and (await other.get(path)).status == 403
    assert [item["id"] for item in (await me.get(f"{V3}/limits")).json()["limits"]] == [made["id"]]
    assert (await other.get(f"{V3}/limits")).json()["limits"] == []
    assert (await admin.get(f"{V3}/limits?resource_name=other")).json()["limits"] == []
    assert (await admin.post(f"{V3}/limits", {"limits": [limit]})).status == 409
    assert (await admin.delete(f"{V3}/registered_limits/{registered['id']}")).status == 403
    assert (await admin.patch(path, {"limit": {"resource_limit": 7}})).json()["limit"]["resource_limit"] == 7
    assert (await me.patch(path, {"limit": {"resource_limit": 7}})).status == 403
    for change, status in (
        ({"resource_name": "unknown"}, 403),
        ({"resource_limit": "x"}, 400),
        ({"resource_limit": 2**31}, 400),
        ({"domain_id": "default"}, 400),
        ({"project_id": "no"}, 400),
        ({"colour": 1}, 400),
    ):
        assert (await admin.post(f"{V3}/limits", {"limits": [{**limit, **change}]})).status == status, change
    assert (await admin.delete(path)).status == 204
    assert (await admin.delete(f"{V3}/registered_limits/{registered['id']}")).status == 204
    assert (await me.get(f"{V3}/limits/model")).json()["model"]["name"] == "flat"


async def test_registered_limits(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    made = await _register(admin)
    path = f"{V3}/registered_limits/{made['id']}"
    assert (await me.get(path)).json()["registered_limit"] == made
    assert (await me.delete(path)).status == 403
    changed = await admin.patch(path, {"registered_limit": {"default_limit": -1, "description": "d"}})
    assert changed.json()["registered_limit"]["default_limit"] == -1
    body = {
        "registered_limits": [
            {"service_id": made["service_id"], "resource_name": "a", "default_limit": 1},
            {"service_id": made["service_id"], "resource_name": "image_count_total", "default_limit": 1},
        ]
    }
    assert (await admin.post(f"{V3}/registered_limits", body)).status == 409
    assert len((await admin.get(f"{V3}/registered_limits")).json()["registered_limits"]) == 1  # all or none
    for bad in ({"default_limit": -2}, {"service_id": "no"}, {"region_id": "no"}, {"resource_name": ""}):
        assert (await admin.patch(path, {"registered_limit": bad})).status == 400, bad
    assert (await admin.delete(path)).status == 204 and (await admin.get(path)).status == 404


async def test_policy_documents(cloud: Cloud, admin: Client) -> None:
    made = await create(admin, "policy", "policies", type="application/json", blob='{"a": "b"}')
    path = f"{V3}/policies/{made['id']}"
    assert (await admin.patch(path, {"policy": {"blob": "x"}})).json()["policy"]["blob"] == "x"
    assert len((await admin.get(f"{V3}/policies?type=application/json")).json()["policies"]) == 1
    me = await cloud.new_project("demo")
    assert (await me.get(path)).status == 403
    assert (await admin.post(f"{V3}/policies", {"policy": {"blob": "x"}})).status == 400
    assert (await admin.delete(path)).status == 204 and (await admin.get(path)).status == 404
