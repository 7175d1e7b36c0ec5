"""Allocations over HTTP: replaced as a whole, guarded by generations, never beyond capacity."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.placement.conftest import Api
from tests.support.cloud import Cloud


def consumer(number: int) -> str:
    return f"cccccccc-0000-4000-8000-{number:012d}"


ONE, TWO = consumer(1), consumer(2)


async def _used(api: Api, host: str) -> dict[str, int]:
    used: dict[str, int] = (await api.get(f"/resource_providers/{host}/usages"))["usages"]
    return used


async def test_a_consumers_life(api: Api) -> None:
    first = await api.provider("first", {"VCPU": {"total": 8}, "DISK_GB": {"total": 100}})
    second = await api.provider("second", {"VCPU": {"total": 8}})
    await api.claim(ONE, {first: {"VCPU": 2, "DISK_GB": 10}})
    assert await api.get(f"/allocations/{ONE}") == {
        "allocations": {first: {"generation": 2, "resources": {"VCPU": 2, "DISK_GB": 10}}},
        "project_id": "a-project", "user_id": "a-user", "consumer_generation": 1, "consumer_type": "INSTANCE"}
    assert await api.get(f"/resource_providers/{first}/allocations") == {
        "allocations": {ONE: {"resources": {"VCPU": 2, "DISK_GB": 10}, "consumer_generation": 1}},
        "resource_provider_generation": 2}
    await api.claim(ONE, {second: {"VCPU": 3}}, generation=1, project_id="moved", consumer_type="MIGRATION")
    shown = await api.get(f"/allocations/{ONE}")
    assert shown["project_id"] == "moved" and shown["consumer_type"] == "MIGRATION"
    assert shown["consumer_generation"] == 2 and list(shown["allocations"]) == [second]
    assert await _used(api, first) == {"VCPU": 0, "DISK_GB": 0} and await _used(api, second) == {"VCPU": 3}
    await api.claim(ONE, {}, generation=2)
    assert await api.get(f"/allocations/{ONE}") == {"allocations": {}}
    await api.claim(ONE, {first: {"VCPU": 1}})  # a new consumer again
    await api.call("DELETE", f"/allocations/{ONE}", status=204)
    await api.call("DELETE", f"/allocations/{ONE}", status=404)
    assert await _used(api, first) == {"VCPU": 0, "DISK_GB": 0}


async def test_a_consumers_generation_guards_it(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 8}})
    await api.claim(ONE, {host: {"VCPU": 1}})
    for generation in (None, 0, 2):
        error = await api.claim(ONE, {host: {"VCPU": 2}}, 409, generation)
        assert error["errors"][0]["code"] == "placement.concurrent_update"
        assert "consumer generation conflict" in error["errors"][0]["detail"]
    error = await api.claim(TWO, {host: {"VCPU": 2}}, 409, 1)
    assert error["errors"][0]["code"] == "placement.concurrent_update"
    assert await _used(api, host) == {"VCPU": 1}


@pytest.mark.parametrize(("resources", "status"), [
    ({"VCPU": 8}, 204), ({"VCPU": 9}, 409), ({"VCPU": 1, "DISK_GB": 10}, 204), ({"DISK_GB": 5}, 409),
    ({"DISK_GB": 15}, 409), ({"DISK_GB": 60}, 409), ({"MEMORY_MB": 1}, 409), ({"NOPE": 1}, 400), ({"VCPU": 0}, 400),
    ({}, 400), ({"VCPU": "1"}, 400), ({"vcpu": 1}, 400), ({"VCPU": 2**62}, 409), ({"VCPU": 10**30}, 409)])
async def test_a_claim_must_fit_the_inventorys_terms(api: Api, resources: dict[str, Any], status: int) -> None:
    host = await api.provider("host", {
        "VCPU": {"total": 6, "reserved": 2, "allocation_ratio": 2.0},
        "DISK_GB": {"total": 100, "min_unit": 10, "max_unit": 50, "step_size": 10}})
    answer = await api.claim(ONE, {host: resources}, status)
    if status != 204:
        assert answer["errors"][0]["detail"]
        assert await api.get(f"/allocations/{ONE}") == {"allocations": {}}
        assert sum((await _used(api, host)).values()) == 0


async def test_unknown_providers_and_malformed_ids(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 8}})
    error = await api.claim(ONE, {host: {"VCPU": 1}, TWO: {"VCPU": 1}}, 400)
    assert TWO in error["errors"][0]["detail"]
    await api.claim("no-uuid", {host: {"VCPU": 1}}, 400)
    await api.claim(ONE, {"no-uuid": {"VCPU": 1}}, 400)
    assert await api.get("/allocations/whatever") == {"allocations": {}}
    await api.call("DELETE", "/allocations/whatever", status=404)
    assert await _used(api, host) == {"VCPU": 0}


async def test_many_consumers_at_once_or_none(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 4}})
    body = {"project_id": "p", "user_id": "u", "consumer_generation": None, "consumer_type": "INSTANCE"}
    take = {"allocations": {host: {"resources": {"VCPU": 2}}}, **body}
    await api.call("POST", "/allocations", {ONE: take, TWO: take}, 204)
    assert await _used(api, host) == {"VCPU": 4}
    # moving what one holds to the other fits, although both together would not
    await api.call("POST", "/allocations", {
        ONE: {**take, "allocations": {}, "consumer_generation": 1},
        TWO: {**take, "allocations": {host: {"resources": {"VCPU": 4}}}, "consumer_generation": 1}}, 204)
    assert await api.get(f"/allocations/{ONE}") == {"allocations": {}}
    await api.call("POST", "/allocations", {ONE: take, TWO: {**take, "consumer_generation": 2}}, 204)
    more = {**take, "allocations": {host: {"resources": {"VCPU": 3}}}, "consumer_generation": 3}
    await api.call("POST", "/allocations", {ONE: {**take, "consumer_generation": 1}, TWO: more}, 409)
    assert await _used(api, host) == {"VCPU": 4}
    assert (await api.get(f"/allocations/{ONE}"))["consumer_generation"] == 1
    await api.call("POST", "/allocations", {}, 400)
    await api.at("1.12").call("POST", "/allocations", {ONE: take}, 404)


async def test_more_consumers_than_a_statement_holds(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 1200}})
    entry: dict[str, Any] = {"allocations": {host: {"resources": {"VCPU": 1}}}, "project_id": "p", "user_id": "u",
                             "consumer_generation": None, "consumer_type": "INSTANCE"}
    await api.call("POST", "/allocations", {consumer(n): entry for n in range(1200)}, 204)
    assert await _used(api, host) == {"VCPU": 1200}
    gone = {**entry, "allocations": {}, "consumer_generation": 1}
    await api.call("POST", "/allocations", {consumer(n): gone for n in range(1200)}, 204)
    assert await _used(api, host) == {"VCPU": 0}


async def test_an_overcommitted_host_can_be_drained_in_steps(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 8}})
    await api.claim(ONE, {host: {"VCPU": 8}})
    url = f"/resource_providers/{host}/inventories/VCPU"
    await api.call("PUT", url, {"total": 2, "resource_provider_generation": await api.generation(host)})
    await api.claim(ONE, {host: {"VCPU": 9}}, 409, 1)
    await api.claim(TWO, {host: {"VCPU": 1}}, 409)
    await api.claim(ONE, {host: {"VCPU": 6}}, 204, 1)
    assert await _used(api, host) == {"VCPU": 6}


async def test_two_hundred_claims_for_twenty_places(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 10, "allocation_ratio": 4.0}, "DISK_GB": {"total": 10**6}})
    answers = await asyncio.gather(*(api.raw("PUT", f"/allocations/{consumer(number)}", {
        "allocations": {host: {"resources": {"VCPU": 2, "DISK_GB": 1}}}, "project_id": "p", "user_id": "u",
        "consumer_generation": None, "consumer_type": "INSTANCE"}) for number in range(200)))
    assert Counter(answer.status for answer in answers) == {204: 20, 409: 180}
    assert await _used(api, host) == {"VCPU": 40, "DISK_GB": 20}
    refused = next(answer for answer in answers if answer.status == 409).json()["errors"][0]
    assert "would exceed the capacity" in refused["detail"] and host in refused["detail"]
    assert (await api.candidates("resources=VCPU:1")) == []


async def test_racing_writes_to_one_consumer_let_one_through(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 100}})
    answers = await asyncio.gather(*(api.raw("PUT", f"/allocations/{ONE}", {
        "allocations": {host: {"resources": {"VCPU": number}}}, "project_id": "p", "user_id": "u",
        "consumer_generation": None, "consumer_type": "INSTANCE"}) for number in range(1, 31)))
    assert Counter(answer.status for answer in answers) == {204: 1, 409: 29}


OLDEST = {"allocations": [{"resource_provider": {"uuid": ""}, "resources": {"VCPU": 1}}]}


@pytest.mark.parametrize(("version", "fields"), [
    ("1.0", set()), ("1.12", {"project_id", "user_id"}), ("1.28", {"project_id", "user_id", "consumer_generation"}),
    ("1.38", {"project_id", "user_id", "consumer_generation", "consumer_type"})])
async def test_older_microversions_see_less(api: Api, version: str, fields: set[str]) -> None:
    host = await api.provider("host", {"VCPU": {"total": 8}})
    await api.claim(ONE, {host: {"VCPU": 1}})
    assert set(await api.at(version).get(f"/allocations/{ONE}")) == {"allocations"} | fields
    shown = (await api.at(version).get(f"/resource_providers/{host}/allocations"))["allocations"][ONE]
    assert ("consumer_generation" in shown) is (version >= "1.28")


async def test_older_microversions_write_their_own_shapes(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 80}})
    share = {"resources": {"VCPU": 1}}
    listed: dict[str, Any] = {"allocations": [{"resource_provider": {"uuid": host}, **share}]}
    owner = {"project_id": "p", "user_id": "u"}
    by_provider: dict[str, Any] = {"allocations": {host: share}, **owner}
    guarded = {**by_provider, "consumer_generation": None}
    mapped = {**guarded, "mappings": {"": [host]}}
    typed = {**mapped, "consumer_type": "INSTANCE"}
    bodies = {"listed": listed, "owned": {**listed, **owner}, "by_provider": by_provider, "guarded": guarded,
              "mapped": mapped, "typed": typed, "empty": {**by_provider, "allocations": {}},
              "empty guarded": {**guarded, "allocations": {}}}
    accepted = {"1.0": {"listed"}, "1.7": {"listed"}, "1.8": {"owned"}, "1.11": {"owned"}, "1.12": {"by_provider"},
                "1.27": {"by_provider"}, "1.28": {"guarded", "empty guarded"}, "1.33": {"guarded", "empty guarded"},
                "1.34": {"guarded", "mapped", "empty guarded"}, "1.37": {"guarded", "mapped", "empty guarded"},
                "1.38": {"typed"}, "1.39": {"typed"}}
    for number, (version, names) in enumerate(accepted.items(), 10):
        for name, body in bodies.items():
            wanted = 204 if name in names else 400
            await api.at(version).call("PUT", f"/allocations/{consumer(number)}", body, wanted)
            if wanted == 204:
                await api.raw("DELETE", f"/allocations/{consumer(number)}")
    await api.at("1.7").call("PUT", f"/allocations/{ONE}", listed, 204)
    shown = await api.get(f"/allocations/{ONE}")
    assert shown["consumer_type"] == "unknown" and shown["project_id"] == "00000000-0000-0000-0000-000000000000"


async def test_the_ledger_says_who_holds_what(api: Api, cloud: Cloud) -> None:
    host = await api.provider("host", {"VCPU": {"total": 8, "reserved": 2, "allocation_ratio": 2.0}})
    child = await api.provider("child", {"VGPU": {"total": 1}}, parent=host)
    await api.claim(ONE, {host: {"VCPU": 3}, child: {"VGPU": 1}})
    held = (await cloud.runtime.ledger())["placement"]
    assert held["consumers"] == [{"uuid": ONE, "project_id": "a-project", "user_id": "a-user",
                                  "consumer_type": "INSTANCE", "generation": 1}]
    assert {(a["consumer"], a["provider_name"], tuple(a["resources"].items())) for a in held["allocations"]} == {
        (ONE, "host", (("VCPU", 3),)), (ONE, "child", (("VGPU", 1),))}
    providers = {p["name"]: p for p in held["providers"]}
    assert providers["host"]["inventories"] == {"VCPU": {"total": 8, "capacity": 12, "used": 3}}
    assert providers["child"]["parent_uuid"] == host
