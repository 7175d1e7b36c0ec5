"""Resource providers over HTTP: their life, their trees, and what lists find."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.placement.conftest import Api

UUID = "0a0b0c0d-0000-4000-8000-000000000001"
OTHER = "0a0b0c0d-0000-4000-8000-000000000002"
AGGREGATE = "aaaaaaaa-0000-4000-8000-000000000001"


async def test_a_provider_is_made_shown_renamed_and_deleted(api: Api) -> None:
    answer = await api.raw("POST", "/resource_providers", {"name": "host", "uuid": UUID.replace("-", "").upper()})
    assert answer.status == 200 and answer.headers["location"].endswith(f"/placement/resource_providers/{UUID}")
    made = answer.json()
    assert (made["uuid"], made["name"], made["generation"]) == (UUID, "host", 0)
    assert made["root_provider_uuid"] == UUID and made["parent_provider_uuid"] is None
    assert [link["rel"] for link in made["links"]] == [
        "self", "inventories", "usages", "aggregates", "traits", "allocations"]
    assert made["links"][1]["href"] == f"/placement/resource_providers/{UUID}/inventories"
    assert await api.get(f"/resource_providers/{UUID}") == made
    renamed = await api.call("PUT", f"/resource_providers/{UUID}", {"name": "other"})
    assert renamed == {**made, "name": "other"}
    await api.call("DELETE", f"/resource_providers/{UUID}", status=204)
    await api.get(f"/resource_providers/{UUID}", 404)
    await api.call("DELETE", f"/resource_providers/{UUID}", status=404)


async def test_names_and_uuids_are_taken_once(api: Api) -> None:
    await api.call("POST", "/resource_providers", {"name": "host", "uuid": UUID})
    for body in ({"name": "host"}, {"name": "new", "uuid": UUID}):
        error = await api.call("POST", "/resource_providers", body, 409)
        assert error["errors"][0]["code"] == "placement.duplicate_name"
    await api.call("POST", "/resource_providers", {"name": "second", "uuid": OTHER})
    error = await api.call("PUT", f"/resource_providers/{OTHER}", {"name": "host"}, 409)
    assert error["errors"][0]["code"] == "placement.duplicate_name"
    await api.call("PUT", f"/resource_providers/{OTHER}", {"name": "second"})


@pytest.mark.parametrize("body", [
    {}, {"name": ""}, {"name": "x" * 201}, {"name": 1}, {"name": "a", "uuid": "no"}, {"name": "a", "more": 1}, [],
    {"name": "a", "parent_provider_uuid": "no"}, {"name": "a", "parent_provider_uuid": OTHER},
    {"name": "a", "uuid": UUID, "parent_provider_uuid": UUID}, "text", None])
async def test_impossible_providers_are_refused(api: Api, body: Any) -> None:
    answer = await api.raw("POST", "/resource_providers", body)
    assert answer.status == (415 if body is None else 400), answer.body
    assert (await api.get("/resource_providers"))["resource_providers"] == []


async def test_media_types(api: Api) -> None:
    for headers, status in (({"content-type": "text/plain"}, 415), ({}, 400),
                            ({"content-type": "application/json; charset=utf-8"}, 200)):
        answer = await api.client.request("POST", "/placement/resource_providers", body=b'{"name": "a"}',
                                          headers={"OpenStack-API-Version": "placement 1.39", **headers})
        assert answer.status == status, (headers, answer.body)
    assert (await api.raw("GET", "/resource_providers", headers={"Accept": "text/html"})).status == 406
    assert (await api.raw("GET", "/resource_providers", headers={"Accept": "*/*"})).status == 200


async def _tree_of(api: Api, uuid: str) -> dict[str, str | None]:
    names: dict[str, str] = {}
    rows = (await api.get(f"/resource_providers?in_tree={uuid}"))["resource_providers"]
    names = {row["uuid"]: row["name"] for row in rows}
    assert len({row["root_provider_uuid"] for row in rows}) == 1
    return {row["name"]: names.get(row["parent_provider_uuid"]) for row in rows}


async def test_trees_can_be_taken_apart_and_put_together(api: Api) -> None:
    root = await api.provider("root")
    child = await api.provider("child", parent=root)
    leaf = await api.provider("leaf", parent=child)
    lone = await api.provider("lone")
    assert await _tree_of(api, leaf) == {"root": None, "child": "root", "leaf": "child"}
    error = await api.call("DELETE", f"/resource_providers/{child}", status=409)
    assert error["errors"][0]["code"] == "placement.resource_provider.cannot_delete_parent"

    for parent in (leaf, child):
        await api.call("PUT", f"/resource_providers/{child}", {"name": "child", "parent_provider_uuid": parent}, 400)
    old = api.at("1.36")
    for wanted in (lone, None):
        await old.call("PUT", f"/resource_providers/{child}", {"name": "child", "parent_provider_uuid": wanted}, 400)
    await api.call("PUT", f"/resource_providers/{child}", {"name": "child", "parent_provider_uuid": None})
    assert await _tree_of(api, leaf) == {"child": None, "leaf": "child"}
    assert await _tree_of(api, root) == {"root": None}
    await old.call("PUT", f"/resource_providers/{child}", {"name": "child", "parent_provider_uuid": lone})
    assert await _tree_of(api, lone) == {"lone": None, "child": "lone", "leaf": "child"}
    await api.call("PUT", f"/resource_providers/{leaf}", {"name": "leaf", "parent_provider_uuid": root})
    assert await _tree_of(api, root) == {"root": None, "leaf": "root"}
    for uuid in (leaf, child, lone, root):
        await api.call("DELETE", f"/resource_providers/{uuid}", status=204)


async def test_a_provider_in_use_stays(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 4}})
    await api.claim(UUID, {host: {"VCPU": 1}})
    error = await api.call("DELETE", f"/resource_providers/{host}", status=409)
    assert error["errors"][0]["code"] == "placement.resource_provider.inuse"
    await api.call("DELETE", f"/allocations/{UUID}", status=204)
    await api.call("DELETE", f"/resource_providers/{host}", status=204)


async def test_lists_filter(api: Api) -> None:
    await api.call("PUT", "/traits/CUSTOM_GOLD", status=201)
    big = await api.provider("big", {"VCPU": {"total": 16}, "DISK_GB": {"total": 100, "step_size": 10}},
                             traits=["CUSTOM_GOLD", "HW_CPU_X86_VMX"], aggregates=[AGGREGATE])
    small = await api.provider("small", {"VCPU": {"total": 2}}, traits=["HW_CPU_X86_VMX"])
    await api.provider("empty", parent=small)

    async def names(query: str) -> list[str]:
        return [row["name"] for row in (await api.get(f"/resource_providers?{query}"))["resource_providers"]]

    assert await names("") == ["big", "small", "empty"]
    assert await names("name=small") == ["small"]
    assert await names(f"uuid={big}") == ["big"]
    assert await names(f"uuid={big}&name=small") == []
    assert await names(f"in_tree={small}") == ["small", "empty"]
    assert await names("resources=VCPU:2") == ["big", "small"]
    assert await names("resources=VCPU:3") == ["big"]
    assert await names("resources=VCPU:1,DISK_GB:10") == ["big"]
    assert await names("resources=VCPU:1,DISK_GB:15") == []
    assert await names("resources=VCPU:99999999999999999999") == []
    assert await names("required=HW_CPU_X86_VMX") == ["big", "small"]
    assert await names("required=HW_CPU_X86_VMX,!CUSTOM_GOLD") == ["small"]
    assert await names("required=in:CUSTOM_GOLD,HW_CPU_X86_AVX&required=HW_CPU_X86_VMX") == ["big"]
    assert await names(f"member_of={AGGREGATE}") == ["big"]
    assert await names(f"member_of=!{AGGREGATE}") == ["small", "empty"]
    assert await names(f"member_of=in:{OTHER},{AGGREGATE}") == ["big"]
    await api.claim(UUID, {big: {"VCPU": 15}})
    assert await names("resources=VCPU:2") == ["small"]


@pytest.mark.parametrize("query", [
    "unknown=1", "uuid=x", "in_tree=x", "resources=", "resources=VCPU", "resources=VCPU:x", "resources=VCPU:0",
    "resources=NOPE:1", "required=", "required=NOPE", "required=in:", "required=in:!HW_CPU_X86_VMX", "member_of=x",
    f"member_of={UUID},{OTHER}", "name=a%01b", "resources=VCPU:" + "9" * 5000])
async def test_bad_filters_are_named(api: Api, query: str) -> None:
    error = await api.get(f"/resource_providers?{query}", 400)
    assert error["errors"][0]["status"] == 400 and error["errors"][0]["detail"]


@pytest.mark.parametrize(("version", "query", "status"), [
    ("1.2", f"member_of={UUID}", 400), ("1.3", f"member_of={UUID}", 200), ("1.3", "resources=VCPU:1", 400),
    ("1.4", "resources=VCPU:1", 200), ("1.13", f"in_tree={UUID}", 400), ("1.14", f"in_tree={UUID}", 200),
    ("1.17", "required=HW_CPU_X86_VMX", 400), ("1.18", "required=HW_CPU_X86_VMX", 200),
    ("1.21", "required=!HW_CPU_X86_VMX", 400), ("1.22", "required=!HW_CPU_X86_VMX", 200),
    ("1.23", f"member_of={UUID}&member_of={OTHER}", 400), ("1.24", f"member_of={UUID}&member_of={OTHER}", 200),
    ("1.31", f"member_of=!{UUID}", 400), ("1.32", f"member_of=!{UUID}", 200),
    ("1.38", "required=in:HW_CPU_X86_VMX", 400), ("1.39", "required=in:HW_CPU_X86_VMX", 200)])
async def test_filters_came_with_their_microversions(api: Api, version: str, query: str, status: int) -> None:
    await api.at(version).get(f"/resource_providers?{query}", status)


@pytest.mark.parametrize(("version", "status", "links", "tree", "dated"), [
    ("1.0", 201, 3, False, False), ("1.1", 201, 4, False, False), ("1.6", 201, 5, False, False),
    ("1.11", 201, 6, False, False), ("1.14", 201, 6, True, False), ("1.15", 201, 6, True, True),
    ("1.20", 200, 6, True, True)])
async def test_shapes_of_older_microversions(api: Api, version: str, status: int, links: int, tree: bool,
                                             dated: bool) -> None:
    old = api.at(version)
    assert (await old.raw("POST", "/resource_providers", {"name": "host", "uuid": UUID})).status == status
    answer = await old.raw("GET", f"/resource_providers/{UUID}")
    body = answer.json()
    assert len(body["links"]) == links and ("root_provider_uuid" in body) is tree
    assert ("last-modified" in answer.headers) is dated and ("cache-control" in answer.headers) is dated
    assert (await old.get("/resource_providers"))["resource_providers"] == [body]


async def test_racing_creations_of_one_name_make_one_provider(api: Api) -> None:
    answers = await asyncio.gather(*(api.raw("POST", "/resource_providers", {"name": "host"}) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 19
