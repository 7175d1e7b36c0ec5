"""Regions, services and endpoints, and the catalogue that they make."""

from __future__ import annotations

from typing import Any

import pytest

from tests.keystone.conftest import V3, create
from tests.support.cloud import Client, Cloud


async def test_regions(admin: Client) -> None:
    made = await create(admin, "region", id="North", description="cold", note="x")
    assert made["id"] == "North" and made["parent_region_id"] is None and made["note"] == "x"
    put = await admin.put(f"{V3}/regions/North-1", {"region": {"parent_region_id": "North"}})
    assert put.status == 201 and put.json()["region"]["id"] == "North-1"
    assert (await admin.put(f"{V3}/regions/a", {"region": {"id": "b"}})).status == 400
    assert (await admin.post(f"{V3}/regions", {"region": {"id": "North"}})).status == 409
    assert (await admin.post(f"{V3}/regions", {"region": {"parent_region_id": "no"}})).status == 404
    anonymous_id = (await create(admin, "region"))["id"]
    assert len(anonymous_id) == 32
    listed = (await admin.get(f"{V3}/regions", params={"parent_region_id": "North"})).json()["regions"]
    assert [r["id"] for r in listed] == ["North-1"]
    changed = await admin.patch(f"{V3}/regions/North", {"region": {"description": None}})
    assert changed.json()["region"]["description"] == ""
    assert (await admin.patch(f"{V3}/regions/North", {"region": {"parent_region_id": "North-1"}})).status == 400
    assert (await admin.delete(f"{V3}/regions/North")).status == 403  # a child
    assert (await admin.delete(f"{V3}/regions/RegionOne")).status == 403  # endpoints
    assert (await admin.delete(f"{V3}/regions/North-1")).status == 204
    assert (await admin.delete(f"{V3}/regions/North")).status == 204
    assert (await admin.get(f"{V3}/regions/North")).status == 404


async def test_a_service_with_endpoints_enters_the_catalogue(cloud: Cloud, admin: Client) -> None:
    service = await create(admin, "service", type="key-manager", name="barbican", description="keys")
    assert service["enabled"] and service["description"] == "keys"
    endpoint = await create(
        admin,
        "endpoint",
        interface="public",
        service_id=service["id"],
        region="Far",
        url="http://10.0.0.1/%(tenant_id)s/$(user_id)s",
    )
    assert endpoint["region"] == endpoint["region_id"] == "Far"
    assert (await admin.get(f"{V3}/regions/Far")).status == 200  # the old attribute makes the region

    async def seen() -> list[dict[str, Any]]:
        fresh = await cloud.login("admin")
        return [entry for entry in fresh.info["catalog"] if entry["type"] == "key-manager"]

    assert (await seen())[0]["name"] == "barbican"
    assert (await seen())[0]["endpoints"][0]["url"] == f"http://10.0.0.1/{admin.project_id}/{admin.user_id}"
    path = f"{V3}/endpoints/{endpoint['id']}"
    assert (await admin.patch(path, {"endpoint": {"enabled": False}})).json()["endpoint"]["enabled"] is False
    assert (await seen())[0]["endpoints"] == []
    assert (await admin.patch(path, {"endpoint": {"region": "Farther"}})).json()["endpoint"]["region_id"] == "Farther"
    assert (await admin.patch(path, {"endpoint": {"region_id": "Nowhere"}})).status == 400
    assert (await admin.patch(f"{V3}/services/{service['id']}", {"service": {"enabled": False}})).status == 200
    assert await seen() == []
    assert (await admin.delete(f"{V3}/services/{service['id']}")).status == 204
    assert (await admin.get(path)).status == 404  # gone with its service


async def test_filters(admin: Client) -> None:
    listed = (await admin.get(f"{V3}/services", params={"name": "glance"})).json()["services"]
    assert [s["type"] for s in listed] == ["image"]
    params = {"service_id": listed[0]["id"], "interface": "internal", "region_id": "RegionOne"}
    endpoints = (await admin.get(f"{V3}/endpoints", params=params)).json()["endpoints"]
    assert [e["interface"] for e in endpoints] == ["internal"]
    assert (await admin.get(f"{V3}/services", params={"type": "nothing"})).json()["services"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"interface": "outer"},
        {"interface": None},
        {"url": ""},
        {"url": "no address"},
        {"url": "http://x/%(secret)s"},
        {"url": "http://x/%(project_id)d"},
        {"url": 5},
        {"service_id": "unknown"},
        {"region_id": "unknown"},
        {"enabled": "maybe"},
    ],
)
async def test_bad_endpoints(admin: Client, change: dict[str, Any]) -> None:
    service = await create(admin, "service", type="t")
    good = {"interface": "public", "service_id": service["id"], "url": "http://x"}
    answer = await admin.post(f"{V3}/endpoints", {"endpoint": {**good, **change}})
    assert answer.status == 400, answer.body
    made = await create(admin, "endpoint", **good)
    answer = await admin.patch(f"{V3}/endpoints/{made['id']}", {"endpoint": change})
    assert answer.status == 400, answer.body


async def test_members_change_no_catalogue(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    assert (await me.get(f"{V3}/regions")).status == 200
    for path in ("services", "endpoints"):
        assert (await me.get(f"{V3}/{path}")).status == 403
    for noun in ("region", "service", "endpoint"):
        body = {
            "region": {},
            "service": {"type": "t"},
            "endpoint": {"interface": "public", "url": "http://x", "service_id": "s"},
        }[noun]
        assert (await me.post(f"{V3}/{noun}s", {noun: body})).status == 403
        assert (await me.delete(f"{V3}/{noun}s/RegionOne")).status == 403
