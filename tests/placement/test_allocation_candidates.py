"""Allocation candidates over HTTP: what is found, what each microversion knows, and that it is always current."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from cloudseed.placement.allocations import Claim, replace_allocations
from cloudseed.placement.providers import delete_provider
from cloudseed.placement.service import Placement
from tests.placement.conftest import Api
from tests.support.cloud import Cloud
from tests.support.databases import beside

AGGREGATE = "aaaaaaaa-0000-4000-8000-000000000001"
ONE = "cccccccc-0000-4000-8000-000000000001"
SHARES = "MISC_SHARES_VIA_AGGREGATE"


async def test_hosts_with_room_in_the_order_of_their_creation(api: Api) -> None:
    for number in range(5):
        await api.provider(f"host{number}", {"VCPU": {"total": number + 1}, "MEMORY_MB": {"total": 1024}})
    assert await api.candidates("resources=VCPU:3,MEMORY_MB:512") == [
        {f"host{number}": {"VCPU": 3, "MEMORY_MB": 512}} for number in (2, 3, 4)]
    fit = [{f"host{number}": {"VCPU": 3}} for number in (2, 3, 4)]
    two = await api.candidates("resources=VCPU:3&limit=2")
    assert len(two) == 2 and two[0] != two[1] and all(candidate in fit for candidate in two)
    answer = await api.get("/allocation_candidates?resources=VCPU:3&limit=1")
    assert len(answer["provider_summaries"]) == 1
    assert await api.get("/allocation_candidates?resources=VCPU:6") == {
        "allocation_requests": [], "provider_summaries": {}}


async def test_the_whole_answer(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 8, "allocation_ratio": 2.0}, "DISK_GB": {"total": 10}},
                              traits=["HW_CPU_X86_VMX"])
    await api.claim(ONE, {host: {"VCPU": 3}})
    assert await api.get("/allocation_candidates?resources=VCPU:2") == {
        "allocation_requests": [{"allocations": {host: {"resources": {"VCPU": 2}}}, "mappings": {"": [host]}}],
        "provider_summaries": {host: {
            "resources": {"VCPU": {"capacity": 16, "used": 3}, "DISK_GB": {"capacity": 10, "used": 0}},
            "traits": ["HW_CPU_X86_VMX"], "parent_provider_uuid": None, "root_provider_uuid": host}}}


async def test_older_microversions_see_less(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 8}, "DISK_GB": {"total": 10}})
    query = "/allocation_candidates?resources=VCPU:2"

    async def summary(version: str) -> Any:
        return (await api.at(version).get(query))["provider_summaries"][host]

    async def entry(version: str) -> Any:
        return (await api.at(version).get(query))["allocation_requests"][0]

    assert set(await summary("1.29")) == {"resources", "traits", "parent_provider_uuid", "root_provider_uuid"}
    assert set(await summary("1.28")) == {"resources", "traits"}
    assert set((await summary("1.27"))["resources"]) == {"VCPU", "DISK_GB"}
    assert set((await summary("1.26"))["resources"]) == {"VCPU"}
    assert set(await summary("1.16")) == {"resources"}
    assert set(await entry("1.34")) == {"allocations", "mappings"}
    assert await entry("1.33") == {"allocations": {host: {"resources": {"VCPU": 2}}}}
    assert await entry("1.11") == {"allocations": [{"resource_provider": {"uuid": host}, "resources": {"VCPU": 2}}]}
    await api.at("1.9").get(query, 404)
    # what an answer says can be claimed as it is
    body = {**await entry("1.39"), "project_id": "p", "user_id": "u", "consumer_generation": None,
            "consumer_type": "INSTANCE"}
    await api.call("PUT", f"/allocations/{ONE}", body, 204)


async def _numa(api: Api) -> None:
    """A host with two NUMA nodes, each with a device; a lone host; and a disk that is shared with all."""
    root = await api.provider("root", {"MEMORY_MB": {"total": 1000}}, aggregates=[AGGREGATE])
    for number in range(2):
        node = await api.provider(f"numa{number}", {"VCPU": {"total": 4}}, parent=root)
        await api.provider(f"device{number}", {"VGPU": {"total": 1}}, parent=node,
                           traits=["CUSTOM_FAST"] if number else None)
    await api.provider("lone", {"VCPU": {"total": 4}, "MEMORY_MB": {"total": 1000}}, aggregates=[AGGREGATE])
    await api.provider("disk", {"DISK_GB": {"total": 1000}}, traits=[SHARES], aggregates=[AGGREGATE])


async def test_trees_and_sharing_providers(api: Api) -> None:
    await api.call("PUT", "/traits/CUSTOM_FAST", status=201)
    await _numa(api)
    assert await api.candidates("resources=VCPU:1,MEMORY_MB:1") == [
        {"numa0": {"VCPU": 1}, "root": {"MEMORY_MB": 1}}, {"numa1": {"VCPU": 1}, "root": {"MEMORY_MB": 1}},
        {"lone": {"VCPU": 1, "MEMORY_MB": 1}}]
    assert await api.candidates("resources=MEMORY_MB:1,DISK_GB:5") == [
        {"root": {"MEMORY_MB": 1}, "disk": {"DISK_GB": 5}}, {"lone": {"MEMORY_MB": 1}, "disk": {"DISK_GB": 5}}]
    only = await api.at("1.28").get("/allocation_candidates?resources=VCPU:1,MEMORY_MB:1")
    assert len(only["allocation_requests"]) == len(only["provider_summaries"]) == 1
    near = "resources=MEMORY_MB:1&resources_C=VCPU:1&resources_D=VGPU:1&group_policy=none"
    assert len(await api.candidates(near)) == 4
    assert await api.candidates(near + "&same_subtree=_C,_D") == [
        {"root": {"MEMORY_MB": 1}, f"numa{n}": {"VCPU": 1}, f"device{n}": {"VGPU": 1}} for n in range(2)]
    assert await api.candidates(near + "&same_subtree=_C,_D&required_D=CUSTOM_FAST") == [
        {"root": {"MEMORY_MB": 1}, "numa1": {"VCPU": 1}, "device1": {"VGPU": 1}}]
    both = "resources_A=VCPU:2&resources_B=VCPU:2"
    assert await api.candidates(both + "&group_policy=isolate") == [
        {"numa0": {"VCPU": 2}, "numa1": {"VCPU": 2}}] * 2  # each way round: the mappings differ
    assert {"lone": {"VCPU": 4}} in await api.candidates(both + "&group_policy=none")


@pytest.mark.parametrize(("version", "query", "status"), [
    ("1.15", "resources=VCPU:1&limit=1", 400), ("1.16", "resources=VCPU:1&limit=1", 200),
    ("1.16", "resources=VCPU:1&required=HW_CPU_X86_VMX", 400),
    ("1.17", "resources=VCPU:1&required=HW_CPU_X86_VMX", 200),
    ("1.20", f"resources=VCPU:1&member_of={AGGREGATE}", 400), ("1.21", f"resources=VCPU:1&member_of={AGGREGATE}", 200),
    ("1.21", "resources=VCPU:1&required=!HW_CPU_X86_VMX", 400),
    ("1.22", "resources=VCPU:1&required=!HW_CPU_X86_VMX", 200),
    ("1.24", "resources1=VCPU:1", 400), ("1.25", "resources1=VCPU:1", 200), ("1.24", "required=HW_CPU_X86_VMX", 400),
    ("1.30", f"resources=VCPU:1&in_tree={ONE}", 400), ("1.31", f"resources=VCPU:1&in_tree={ONE}", 200),
    ("1.31", f"resources=VCPU:1&member_of=!{AGGREGATE}", 400),
    ("1.32", f"resources=VCPU:1&member_of=!{AGGREGATE}", 200),
    ("1.32", "resources_A=VCPU:1", 400), ("1.33", "resources_A=VCPU:1", 200), ("1.33", "resources_ä=VCPU:1", 400),
    ("1.34", "resources=VCPU:1&root_required=HW_CPU_X86_VMX", 400),
    ("1.35", "resources=VCPU:1&root_required=HW_CPU_X86_VMX", 200),
    ("1.35", "resources_A=VCPU:1&same_subtree=_A", 400), ("1.36", "resources_A=VCPU:1&same_subtree=_A", 200),
    ("1.38", "resources=VCPU:1&required=in:HW_CPU_X86_VMX", 400),
    ("1.39", "resources=VCPU:1&required=in:HW_CPU_X86_VMX", 200)])
async def test_parameters_came_with_their_microversions(api: Api, version: str, query: str, status: int) -> None:
    await api.at(version).get(f"/allocation_candidates?{query}", status)


@pytest.mark.parametrize(("query", "code"), [
    ("", "placement.query.missing_value"), ("required=HW_CPU_X86_VMX", "placement.query.missing_value"),
    ("resources=VCPU:1&required_A=HW_CPU_X86_VMX", "placement.query.bad_value"),
    ("resources_A=VCPU:1&same_subtree=_B", "placement.query.bad_value"),
    ("resources_A=VCPU:1&same_subtree=", "placement.query.bad_value"),
    ("resources=VCPU:1&root_required=HW_CPU_X86_VMX&root_required=HW_CPU_X86_AVX", "placement.query.duplicate_key"),
    ("resources=VCPU:1&root_required=HW_CPU_X86_VMX,!HW_CPU_X86_VMX", "placement.query.bad_value"),
    ("resources=VCPU:1&required=HW_CPU_X86_VMX,!HW_CPU_X86_VMX", "placement.undefined_code"),
    ("resources=NOPE:1", "placement.undefined_code"), ("resources=VCPU:1&required=NOPE", "placement.undefined_code"),
    ("resources=VCPU:1&root_required=NOPE", "placement.undefined_code"),
    ("resources=VCPU:1&limit=0", "placement.undefined_code"), ("resources=VCPU:1&limit=x", "placement.undefined_code"),
    ("resources=VCPU:1&limit=" + "9" * 30, "placement.undefined_code"),
    ("resources=VCPU:1&group_policy=x", "placement.undefined_code"),
    ("resources=VCPU:1&x=1", "placement.undefined_code"),
    ("resources_A=VCPU:1&resources_B=VCPU:1", "placement.undefined_code"),
    ("resources=VCPU:1&in_tree=x", "placement.undefined_code"),
    ("resources=VCPU:1&member_of=x", "placement.undefined_code"),
    ("&".join(f"resources_{n}=VCPU:1" for n in range(101)) + "&group_policy=none", "placement.undefined_code")])
async def test_bad_requests_are_named(api: Api, query: str, code: str) -> None:
    error = (await api.get(f"/allocation_candidates?{query}", 400))["errors"][0]
    assert error["code"] == code and error["detail"]


async def test_every_change_shows_at_once(api: Api) -> None:
    await api.provider("other", {"VCPU": {"total": 1}})

    async def names(query: str = "resources=VCPU:2") -> list[str]:
        return [name for candidate in await api.candidates(query) for name in candidate]

    host = await api.provider("host", {"VCPU": {"total": 4}})
    url = f"/resource_providers/{host}"
    assert await names() == ["host"]
    await api.claim(ONE, {host: {"VCPU": 3}})
    assert await names() == []
    await api.call("DELETE", f"/allocations/{ONE}", status=204)
    assert await names() == ["host"]
    await api.call("PUT", f"{url}/traits", {"traits": ["HW_CPU_X86_VMX"],
                                            "resource_provider_generation": await api.generation(host)})
    assert await names("resources=VCPU:2&required=HW_CPU_X86_VMX") == ["host"]
    assert await names(f"resources=VCPU:2&member_of={AGGREGATE}") == []
    await api.at("1.18").call("PUT", f"{url}/aggregates", [AGGREGATE])  # without touching the generation
    assert await names(f"resources=VCPU:2&member_of={AGGREGATE}") == ["host"]
    await api.call("PUT", url, {"name": "renamed"})
    assert await names() == ["renamed"]
    root = await api.provider("root", traits=["HW_CPU_X86_AVX"])
    await api.call("PUT", url, {"name": "renamed", "parent_provider_uuid": root})
    assert await names("resources=VCPU:2&root_required=HW_CPU_X86_AVX") == ["renamed"]
    await api.call("DELETE", f"{url}/inventories", status=204)
    assert await names() == []
    await api.call("DELETE", url, status=204)
    await api.call("DELETE", f"/resource_providers/{root}", status=204)
    assert await names("resources=VCPU:1") == ["other"]


async def test_what_another_process_writes_shows_at_once(api: Api, cloud: Cloud) -> None:
    host = await api.provider("host", {"VCPU": {"total": 4}})
    gone = await api.provider("gone", {"VCPU": {"total": 4}})
    assert len(await api.candidates("resources=VCPU:2")) == 2
    mine = cloud.service("placement").handle
    database = beside(mine.db)
    other = Placement(database, mine.policy)  # as a second process on the same file
    try:
        await replace_allocations(other, [Claim(ONE, {host: {"VCPU": 3}}, "p", "u")])
        await delete_provider(other, gone)
    finally:
        await database.close()
    assert await api.candidates("resources=VCPU:2") == []
    assert await api.candidates("resources=VCPU:1") == [{"host": {"VCPU": 1}}]


async def test_a_refresh_that_breaks_off_is_done_again(api: Api, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    from cloudseed.placement import picture_sync

    await api.provider("host", {"VCPU": {"total": 4}})
    real = picture_sync._load

    async def broken(*_: Any) -> Any:
        raise sa.exc.OperationalError("SELECT", {}, Exception("interrupted"))

    monkeypatch.setattr(picture_sync, "_load", broken)
    assert (await api.raw("GET", "/allocation_candidates?resources=VCPU:1")).status == 500
    monkeypatch.setattr(picture_sync, "_load", real)
    assert await api.candidates("resources=VCPU:1") == [{"host": {"VCPU": 1}}]


async def test_candidates_and_claims_at_once_agree(api: Api) -> None:
    """Twenty clients each search and claim until nothing is left: all room is used, none twice."""
    for number in range(3):
        await api.provider(f"host{number}", {"VCPU": {"total": 10}})

    async def client(number: int) -> int:
        claimed = 0
        while True:
            found = (await api.get("/allocation_candidates?resources=VCPU:1&limit=1"))["allocation_requests"]
            if not found:
                return claimed
            answer = await api.raw("PUT", f"/allocations/cccccccc-0000-4000-{number:04d}-{claimed:012d}", {
                **found[0], "project_id": "p", "user_id": "u", "consumer_generation": None,
                "consumer_type": "INSTANCE"})
            assert answer.status in (204, 409), answer.body
            claimed += answer.status == 204

    assert sum(await asyncio.gather(*(client(number) for number in range(20)))) == 30
