"""Traits, resource classes and aggregates over HTTP: the names that everything else uses."""

from __future__ import annotations

import os_resource_classes
import os_traits
import pytest

from cloudseed.placement.vocabulary import Vocabulary, sync_standards
from tests.placement.conftest import Api
from tests.support.cloud import Cloud

AGGREGATES = [f"aaaaaaaa-0000-4000-8000-{number:012d}" for number in range(3)]


async def test_the_ecosystems_names_are_there(api: Api, cloud: Cloud) -> None:
    traits = (await api.get("/traits"))["traits"]
    assert set(traits) == set(os_traits.get_traits())
    classes = [entry["name"] for entry in (await api.get("/resource_classes"))["resource_classes"]]
    assert classes == list(os_resource_classes.STANDARDS)
    placement = cloud.service("placement").handle
    async with placement.db.write() as tx:
        await sync_standards(tx)  # nothing to do: the same versions wrote them
    assert len((await api.get("/traits"))["traits"]) == len(traits)


async def test_own_traits(api: Api) -> None:
    url = "/traits/CUSTOM_GOLD"
    await api.get(url, 404)
    answer = await api.raw("PUT", url)
    assert answer.status == 201 and answer.headers["location"].endswith("/placement/traits/CUSTOM_GOLD")
    assert answer.body == b"" and (await api.raw("PUT", url)).status == 204
    await api.get(url, 204)
    assert (await api.get("/traits?name=startswith:CUSTOM_"))["traits"] == ["CUSTOM_GOLD"]
    assert (await api.get("/traits?name=in:CUSTOM_GOLD,HW_CPU_X86_VMX,NOPE"))["traits"] == [
        "CUSTOM_GOLD", "HW_CPU_X86_VMX"]
    host = await api.provider("host", traits=["CUSTOM_GOLD"])
    assert (await api.get("/traits?associated=true"))["traits"] == ["CUSTOM_GOLD"]
    assert "CUSTOM_GOLD" not in (await api.get("/traits?associated=false"))["traits"]
    await api.call("DELETE", url, status=409)
    await api.call("DELETE", f"/resource_providers/{host}/traits", status=204)
    await api.call("DELETE", url, status=204)
    await api.call("DELETE", url, status=404)
    await api.get(f"/resource_providers?required={'CUSTOM_GOLD'}", 400)


@pytest.mark.parametrize("name", [
    "GOLD", "CUSTOM_", "CUSTOM_gold", "HW_CPU_X86_VMX", "CUSTOM_" + "X" * 249, "CUSTOM_A\n"])
async def test_traits_that_nobody_may_make(api: Api, name: str) -> None:
    await api.call("PUT", f"/traits/{name}", status=400)


async def test_standard_traits_stay(api: Api) -> None:
    await api.call("DELETE", "/traits/HW_CPU_X86_VMX", status=400)
    for query in ("name=x", "associated=x", "more=1"):
        await api.get(f"/traits?{query}", 400)
    await api.at("1.5").get("/traits", 404)


async def test_a_providers_traits(api: Api) -> None:
    host = await api.provider("host")
    url = f"/resource_providers/{host}/traits"
    assert await api.get(url) == {"traits": [], "resource_provider_generation": 0}
    body = {"traits": ["HW_CPU_X86_VMX", "HW_CPU_X86_AVX"], "resource_provider_generation": 0}
    assert await api.call("PUT", url, body) == {
        "traits": ["HW_CPU_X86_AVX", "HW_CPU_X86_VMX"], "resource_provider_generation": 1}
    error = await api.call("PUT", url, body, 409)
    assert error["errors"][0]["code"] == "placement.concurrent_update"
    same = await api.call("PUT", url, {**body, "resource_provider_generation": 1})
    assert same["resource_provider_generation"] == 1  # nothing changed
    await api.call("PUT", url, {"traits": ["NOPE"], "resource_provider_generation": 1}, 400)
    await api.call("PUT", url, {"traits": ["HW_CPU_X86_AVX"], "resource_provider_generation": 1})
    assert (await api.get(url))["traits"] == ["HW_CPU_X86_AVX"]
    await api.call("DELETE", url, status=204)
    assert await api.get(url) == {"traits": [], "resource_provider_generation": 3}


async def test_own_resource_classes(api: Api) -> None:
    await api.call("POST", "/resource_classes", {"name": "CUSTOM_FPGA"}, 201)
    await api.call("POST", "/resource_classes", {"name": "CUSTOM_FPGA"}, 409)
    assert await api.get("/resource_classes/CUSTOM_FPGA") == {
        "name": "CUSTOM_FPGA", "links": [{"rel": "self", "href": "/placement/resource_classes/CUSTOM_FPGA"}]}
    await api.call("PUT", "/resource_classes/CUSTOM_FPGA", status=204)
    await api.call("PUT", "/resource_classes/CUSTOM_ASIC", status=201)
    for name in ("FPGA", "VCPU", "CUSTOM_", "CUSTOM_x", "CUSTOM_A\n"):
        await api.call("PUT", f"/resource_classes/{name}", status=400)
        await api.call("POST", "/resource_classes", {"name": name}, 400)
    await api.provider("host", {"CUSTOM_FPGA": {"total": 1}})
    await api.call("DELETE", "/resource_classes/CUSTOM_FPGA", status=409)
    await api.call("DELETE", "/resource_classes/CUSTOM_ASIC", status=204)
    await api.call("DELETE", "/resource_classes/CUSTOM_ASIC", status=404)
    await api.call("DELETE", "/resource_classes/VCPU", status=400)
    await api.get("/resource_classes/CUSTOM_ASIC", 404)
    await api.at("1.1").get("/resource_classes", 404)


async def test_a_renamed_class_is_renamed_everywhere(api: Api) -> None:
    await api.call("PUT", "/resource_classes/CUSTOM_OLD", status=201)
    host = await api.provider("host", {"CUSTOM_OLD": {"total": 1}})
    assert await api.candidates("resources=CUSTOM_OLD:1") == [{"host": {"CUSTOM_OLD": 1}}]
    old = api.at("1.6")
    await old.call("PUT", "/resource_classes/VCPU", {"name": "CUSTOM_NEW"}, 400)
    await old.call("PUT", "/resource_classes/CUSTOM_NOPE", {"name": "CUSTOM_NEW"}, 404)
    await old.call("PUT", "/resource_classes/CUSTOM_OLD", {"name": "CUSTOM_NEW"})
    assert list((await api.get(f"/resource_providers/{host}/inventories"))["inventories"]) == ["CUSTOM_NEW"]
    await api.get("/allocation_candidates?resources=CUSTOM_OLD:1", 400)
    answer = await api.get("/allocation_candidates?resources=CUSTOM_NEW:1")
    assert answer["provider_summaries"][host]["resources"] == {"CUSTOM_NEW": {"capacity": 1, "used": 0}}


async def test_aggregates_and_their_generation(api: Api) -> None:
    host = await api.provider("host")
    url = f"/resource_providers/{host}/aggregates"
    assert await api.get(url) == {"aggregates": [], "resource_provider_generation": 0}
    body = {"aggregates": AGGREGATES[:2], "resource_provider_generation": 0}
    assert await api.call("PUT", url, body) == {**body, "resource_provider_generation": 1}
    error = await api.call("PUT", url, body, 409)
    assert error["errors"][0]["code"] == "placement.concurrent_update"
    old = api.at("1.18")
    assert await old.get(url) == {"aggregates": AGGREGATES[:2]}
    assert await old.call("PUT", url, AGGREGATES[1:]) == {"aggregates": AGGREGATES[1:]}
    assert await api.get(url) == {"aggregates": AGGREGATES[1:], "resource_provider_generation": 1}
    for bad in (["x"], [AGGREGATES[0]] * 2, "x", {}):
        await api.call("PUT", url, {"aggregates": bad, "resource_provider_generation": 1}, 400)
        await old.call("PUT", url, bad, 400)
    await api.at("1.0").get(url, 404)


async def test_names_of_another_process_are_learnt(cloud: Cloud, api: Api) -> None:
    placement = cloud.service("placement").handle
    mine = placement.vocabulary
    placement.vocabulary = placement.picture_sync._vocabulary = Vocabulary()  # as another process has its own
    await api.call("PUT", "/traits/CUSTOM_LATE", status=201)
    placement.vocabulary = placement.picture_sync._vocabulary = mine
    assert "CUSTOM_LATE" not in mine.trait_ids
    await api.get("/resource_providers?required=CUSTOM_LATE")
    assert "CUSTOM_LATE" in mine.trait_ids
