"""Reshaping over HTTP: inventories and the allocations on them move together or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.placement.conftest import Api
from tests.support.cloud import Cloud

ONE = "cccccccc-0000-4000-8000-000000000001"
TWO = "cccccccc-0000-4000-8000-000000000002"


@pytest.fixture
async def service(cloud: Cloud) -> Api:
    """As a service user, who alone may reshape."""
    return Api(await cloud.login("nova", project="service"))


async def _setup(api: Api) -> tuple[str, str, dict[str, Any]]:
    """VGPUs on the root, in use; and the body that moves them to a child."""
    root = await api.provider("root", {"VCPU": {"total": 8}, "VGPU": {"total": 2}})
    child = await api.provider("child", parent=root)
    await api.claim(ONE, {root: {"VCPU": 1, "VGPU": 2}})
    return root, child, {
        "inventories": {
            root: {"resource_provider_generation": 2, "inventories": {"VCPU": {"total": 8}}},
            child: {"resource_provider_generation": 0, "inventories": {"VGPU": {"total": 2}}}},
        "allocations": {ONE: {
            "allocations": {root: {"resources": {"VCPU": 1}}, child: {"resources": {"VGPU": 2}}},
            "project_id": "a-project", "user_id": "a-user", "consumer_generation": 1, "consumer_type": "INSTANCE"}}}


async def _state(api: Api, *providers: str) -> list[Any]:
    return [await api.get(f"/resource_providers/{uuid}/{kind}") for uuid in providers
            for kind in ("inventories", "allocations")]


async def test_inventory_in_use_moves_with_its_allocations(api: Api, service: Api) -> None:
    root, child, body = await _setup(api)
    await service.call("POST", "/reshaper", body, 204)
    assert (await api.get(f"/resource_providers/{root}/usages"))["usages"] == {"VCPU": 1}
    assert (await api.get(f"/resource_providers/{child}/usages"))["usages"] == {"VGPU": 2}
    assert (await api.get(f"/allocations/{ONE}"))["consumer_generation"] == 2
    await service.call("POST", "/reshaper", body, 409)  # the generations have moved on


async def test_a_reshape_that_fails_changes_nothing(api: Api, service: Api) -> None:
    root, child, body = await _setup(api)
    before = await _state(api, root, child)
    entry = body["allocations"][ONE]
    stays = {**body, "allocations": {}}
    too_much = {**body, "allocations": {ONE: {**entry, "allocations": {child: {"resources": {"VGPU": 3}}}}}}
    stale = {**body, "allocations": {ONE: {**entry, "consumer_generation": 7}}}
    unknown = {**body, "inventories": {TWO: body["inventories"][child]}}
    nameless = {**body, "inventories": {
        child: {"resource_provider_generation": 0, "inventories": {"NOPE": {"total": 1}}}}}
    for wrong, status, code in (
            (stays, 409, "placement.inventory.inuse"), (too_much, 409, "placement.undefined_code"),
            (stale, 409, "placement.concurrent_update"), (unknown, 400, "placement.resource_provider.not_found"),
            (nameless, 400, "placement.undefined_code"), ({**body, "inventories": {}}, 400, "placement.undefined_code"),
            ({"inventories": body["inventories"]}, 400, "placement.undefined_code")):
        error = await service.call("POST", "/reshaper", wrong, status)
        assert error["errors"][0]["code"] == code, error
        assert await _state(api, root, child) == before


async def test_only_services_reshape_and_only_from_1_30_on(api: Api, service: Api) -> None:
    *_, body = await _setup(api)
    await api.call("POST", "/reshaper", body, 403)
    await service.at("1.29").call("POST", "/reshaper", body, 404)
    await service.at("1.37").call("POST", "/reshaper", body, 400)  # consumer_type is not known yet
    del body["allocations"][ONE]["consumer_type"]
    await service.at("1.30").call("POST", "/reshaper", body, 204)
