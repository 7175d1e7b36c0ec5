"""Inventories over HTTP: generations guard them, and nothing in use disappears."""

from __future__ import annotations

from typing import Any

import pytest

from tests.placement.conftest import Api

CONSUMER = "cccccccc-0000-4000-8000-000000000001"
DEFAULTS = {"reserved": 0, "min_unit": 1, "max_unit": 2147483647, "step_size": 1, "allocation_ratio": 1.0}


async def test_the_whole_inventory_is_replaced_under_its_generation(api: Api) -> None:
    host = await api.provider("host")
    url = f"/resource_providers/{host}/inventories"
    assert await api.get(url) == {"resource_provider_generation": 0, "inventories": {}}
    wanted = {"VCPU": {"total": 8, "allocation_ratio": 4}, "DISK_GB": {"total": 100}}
    body = {"resource_provider_generation": 0, "inventories": wanted}
    full = {name: {**DEFAULTS, **terms} for name, terms in wanted.items()}
    assert await api.call("PUT", url, body) == {"resource_provider_generation": 1, "inventories": full}
    assert await api.get(url) == {"resource_provider_generation": 1, "inventories": full}
    error = await api.call("PUT", url, body, 409)
    assert error["errors"][0]["code"] == "placement.concurrent_update"
    await api.call("PUT", url, {"resource_provider_generation": 1, "inventories": {"VCPU": {"total": 4}}})
    assert await api.get(url) == {"resource_provider_generation": 2,
                                  "inventories": {"VCPU": {**DEFAULTS, "total": 4}}}
    await api.call("DELETE", url, status=204)
    assert await api.get(url) == {"resource_provider_generation": 3, "inventories": {}}


async def test_one_inventory_at_a_time(api: Api) -> None:
    host = await api.provider("host")
    url = f"/resource_providers/{host}/inventories"
    answer = await api.raw("POST", url, {"resource_class": "VCPU", "total": 8})
    assert answer.status == 201 and answer.headers["location"].endswith(f"{url}/VCPU")
    assert answer.json() == {**DEFAULTS, "total": 8, "resource_provider_generation": 1}
    error = await api.call("POST", url, {"resource_class": "VCPU", "total": 8}, 409)
    assert error["errors"][0]["code"] == "placement.concurrent_update"
    await api.call("POST", url, {"resource_class": "NOPE", "total": 8}, 400)
    changed = await api.call("PUT", f"{url}/VCPU", {"total": 16, "resource_provider_generation": 1})
    assert changed == {**DEFAULTS, "total": 16, "resource_provider_generation": 2}
    await api.call("PUT", f"{url}/VCPU", {"total": 16, "resource_provider_generation": 1}, 409)
    await api.call("PUT", f"{url}/DISK_GB", {"total": 16, "resource_provider_generation": 2}, 400)
    assert (await api.get(f"{url}/VCPU"))["total"] == 16
    await api.get(f"{url}/DISK_GB", 404)
    await api.call("DELETE", f"{url}/DISK_GB", status=404)
    await api.call("DELETE", f"{url}/NOPE", status=404)
    await api.call("DELETE", f"{url}/VCPU", status=204)
    assert await api.generation(host) == 3


async def test_what_is_in_use_cannot_be_taken_away_but_may_shrink(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 8}, "DISK_GB": {"total": 10}})
    url = f"/resource_providers/{host}/inventories"
    await api.claim(CONSUMER, {host: {"VCPU": 4}})
    generation = await api.generation(host)
    without = {"resource_provider_generation": generation, "inventories": {"DISK_GB": {"total": 10}}}
    for method, path, body, code in (("PUT", url, without, "placement.inventory.inuse"),
                                     ("DELETE", url, None, "placement.inventory.inuse"),
                                     ("DELETE", f"{url}/VCPU", None, "placement.concurrent_update")):
        error = await api.call(method, path, body, 409)
        assert error["errors"][0]["code"] == code
    assert await api.generation(host) == generation
    await api.call("PUT", f"{url}/VCPU", {"total": 2, "resource_provider_generation": generation})
    assert (await api.get(f"/resource_providers/{host}/usages"))["usages"] == {"VCPU": 4, "DISK_GB": 0}


@pytest.mark.parametrize("terms", [
    {}, {"total": 0}, {"total": -1}, {"total": 2**31}, {"total": "8"}, {"total": 8, "reserved": 9},
    {"total": 8, "reserved": -1}, {"total": 8, "step_size": 0}, {"total": 8, "min_unit": 0},
    {"total": 8, "max_unit": 0}, {"total": 8, "allocation_ratio": -1}, {"total": 8, "allocation_ratio": 1e39},
    {"total": 8, "more": 1}, {"total": True}, {"total": 10**30}])
async def test_impossible_terms_are_refused(api: Api, terms: dict[str, Any]) -> None:
    host = await api.provider("host")
    url = f"/resource_providers/{host}/inventories"
    await api.call("PUT", url, {"resource_provider_generation": 0, "inventories": {"VCPU": terms}}, 400)
    await api.call("POST", url, {"resource_class": "VCPU", **terms}, 400)
    assert await api.get(url) == {"resource_provider_generation": 0, "inventories": {}}


async def test_reserving_all_came_with_1_26(api: Api) -> None:
    host = await api.provider("host")
    body = {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 8, "reserved": 8}}}
    await api.at("1.25").call("PUT", f"/resource_providers/{host}/inventories", body, 400)
    await api.at("1.26").call("PUT", f"/resource_providers/{host}/inventories", body)


async def test_deleting_all_came_with_1_5(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 8}})
    await api.at("1.4").call("DELETE", f"/resource_providers/{host}/inventories", status=405)
    await api.at("1.5").call("DELETE", f"/resource_providers/{host}/inventories", status=204)


async def test_enormous_capacities_do_not_overflow(api: Api) -> None:
    host = await api.provider("host", {"VCPU": {"total": 2**31 - 1, "allocation_ratio": 3e38}})
    [candidate] = await api.candidates("resources=VCPU:2147483647")
    assert candidate == {"host": {"VCPU": 2147483647}}
    await api.claim(CONSUMER, {host: {"VCPU": 2147483647}})
    assert len(await api.candidates("resources=VCPU:2147483647")) == 1
