"""Flavors as a client sees them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.nova.api.cloud import NovaCloud, message, nova
from tests.support.cloud import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_devstacks_flavors_are_there(cloud: NovaCloud) -> None:
    found = (await nova(cloud.admin, "GET", "/flavors/detail")).json()["flavors"]
    sizes = {f["id"]: (f["name"], f["ram"], f["disk"], f["vcpus"]) for f in found}
    assert sizes["c1"] == ("cirros256", 256, 1, 1)
    assert sizes["1"] == ("m1.tiny", 512, 1, 1) and sizes["5"] == ("m1.xlarge", 16384, 160, 8)
    assert set(sizes) >= {"1", "2", "3", "4", "5", "42", "84", "c1", "d1", "d2", "d3", "d4"}


@pytest.mark.parametrize(("version", "present", "absent"), [
    ("2.1", {"rxtx_factor", "OS-FLV-DISABLED:disabled"}, {"description", "extra_specs"}),
    ("2.55", {"description", "rxtx_factor"}, {"extra_specs"}),
    ("2.61", {"description", "extra_specs", "rxtx_factor"}, set()),
    ("2.102", {"description", "extra_specs"}, {"rxtx_factor", "OS-FLV-DISABLED:disabled"})])
async def test_the_shape_follows_the_microversion(cloud: NovaCloud, version: str, present: set[str],
                                                  absent: set[str]) -> None:
    flavor = (await nova(cloud.admin, "GET", "/flavors/c1", version=version)).json()["flavor"]
    assert present <= set(flavor) and not absent & set(flavor)
    assert flavor["swap"] == ("" if version in ("2.1", "2.55", "2.61") else 0)
    assert [link["rel"] for link in flavor["links"]] == ["self", "bookmark"]
    assert flavor["links"][0]["href"] == "http://127.0.0.1:8080/compute/v2.1/flavors/c1"


async def test_a_flavors_life(cloud: NovaCloud) -> None:
    admin = cloud.admin
    made = await nova(admin, "POST", "/flavors", {"flavor": {
        "name": "life", "ram": "64", "vcpus": 2, "disk": 0, "OS-FLV-EXT-DATA:ephemeral": 3, "swap": 8,
        "description": "text"}})
    assert made.status == 200
    flavor = made.json()["flavor"]
    assert (flavor["ram"], flavor["OS-FLV-EXT-DATA:ephemeral"], flavor["swap"]) == (64, 3, 8)
    path = f"/flavors/{flavor['id']}"
    again = await nova(admin, "POST", "/flavors", {"flavor": {"name": "life", "ram": 1, "vcpus": 1, "disk": 0}})
    assert again.status == 409 and message(again) == "Flavor with name life already exists."
    same_id = {"flavor": {"name": "other", "id": flavor["id"], "ram": 1, "vcpus": 1, "disk": 0}}
    assert message(await nova(admin, "POST", "/flavors", same_id)) == f"Flavor with ID {flavor['id']} already exists."
    changed = await nova(admin, "PUT", path, {"flavor": {"description": None}})
    assert changed.json()["flavor"]["description"] is None
    assert (await nova(admin, "DELETE", path)).status == 202
    gone = await nova(admin, "GET", path)
    assert gone.status == 404 and message(gone) == f"Flavor {flavor['id']} could not be found."


@pytest.mark.parametrize("change", [
    {"name": ""}, {"name": " x"}, {"name": "x" * 256}, {"name": "a\x00b"}, {"name": None}, {"ram": 0}, {"ram": "x"},
    {"ram": 2**31}, {"vcpus": 0}, {"vcpus": -1}, {"disk": -1}, {"swap": "many"}, {"id": "a/b"}, {"id": " a"},
    {"unknown": 1}, {"os-flavor-access:is_public": "perhaps"}, {"id": "x" * 256}, {"id": "a\n"}, {"ram": True}])
async def test_bad_flavors_are_refused(cloud: NovaCloud, change: dict[str, Any]) -> None:
    flavor = {"name": "bad", "ram": 1, "vcpus": 1, "disk": 1, **change}
    answer = await nova(cloud.admin, "POST", "/flavors", {"flavor": flavor})
    assert answer.status == 400 and message(answer)


async def test_lists_are_sorted_filtered_and_paged(cloud: NovaCloud) -> None:
    async def ids(query: str) -> list[str]:
        answer = await nova(cloud.admin, "GET", f"/flavors?{query}")
        assert answer.status == 200, answer.body
        return [flavor["id"] for flavor in answer.json()["flavors"]]

    everything = await ids("")
    assert everything == sorted(everything)
    assert "c1" not in await ids("minRam=1024") and "2" in await ids("minRam=1024&minDisk=20")
    assert (await ids("sort_key=memory_mb&sort_dir=desc"))[0] == "5"
    assert await ids("name=cirros256") == ["c1"]
    first = (await nova(cloud.admin, "GET", "/flavors?limit=5")).json()
    assert [f["id"] for f in first["flavors"]] == everything[:5]
    following = first["flavors_links"][0]["href"].partition("/v2.1")[2]
    assert [f["id"] for f in (await nova(cloud.admin, "GET", following)).json()["flavors"]] == everything[5:10]


@pytest.mark.parametrize("query", ["marker=nobody", "limit=x", "limit=-1", "minRam=x", "sort_key=nope", "sort_dir=up",
                                   "is_public=perhaps", "unknown=1"])
async def test_bad_queries_are_refused(cloud: NovaCloud, query: str) -> None:
    assert (await nova(cloud.admin, "GET", f"/flavors?{query}")).status == 400


@pytest.mark.parametrize(("method", "path", "body"), [
    ("POST", "/flavors", {"flavor": {"name": "u", "ram": 1, "vcpus": 1, "disk": 1}}),
    ("PUT", "/flavors/c1", {"flavor": {"description": "x"}}), ("DELETE", "/flavors/c1", None),
    ("POST", "/flavors/c1/os-extra_specs", {"extra_specs": {"a": "b"}}),
    ("GET", "/flavors/c1/os-flavor-access", None)])
async def test_users_change_no_flavor(cloud: NovaCloud, method: str, path: str, body: Any) -> None:
    user = await _user(cloud)
    answer = await nova(user, method, path, body)
    assert answer.status == 403 and message(answer).startswith("Policy doesn't allow os_compute_api:os-flavor-")


async def _user(cloud: NovaCloud) -> Client:
    found: Client | None = getattr(cloud, "flavor_user", None)
    if found is None:
        found = await cloud.new_project("flavor-user")
        cloud.flavor_user = found  # type: ignore[attr-defined]
    return found


async def test_private_flavors_are_for_those_who_were_let_in(cloud: NovaCloud) -> None:
    admin, user = cloud.admin, await _user(cloud)
    made = await nova(admin, "POST", "/flavors", {"flavor": {
        "name": "private", "id": "private", "ram": 64, "vcpus": 1, "disk": 0, "os-flavor-access:is_public": False}})
    assert made.json()["flavor"]["os-flavor-access:is_public"] is False
    assert (await nova(user, "GET", "/flavors/private")).status == 404
    assert (await nova(admin, "GET", "/flavors/private/os-flavor-access")).json() == {"flavor_access": []}
    assert (await nova(admin, "GET", "/flavors?limit=0")).json() == {"flavors": []}
    allow = {"addTenantAccess": {"tenant": user.project_id}}
    allowed = await nova(admin, "POST", "/flavors/private/action", allow)
    assert {"flavor_id": "private", "tenant_id": user.project_id} in allowed.json()["flavor_access"]
    assert (await nova(admin, "POST", "/flavors/private/action", allow)).status == 409
    assert (await nova(user, "GET", "/flavors/private")).status == 200
    assert "private" in [f["id"] for f in (await nova(user, "GET", "/flavors")).json()["flavors"]]
    remove = {"removeTenantAccess": {"tenant": user.project_id}}
    assert (await nova(admin, "POST", "/flavors/private/action", remove)).status == 200
    assert (await nova(admin, "POST", "/flavors/private/action", remove)).status == 404
    assert (await nova(user, "GET", "/flavors/private")).status == 404
    assert (await nova(admin, "GET", "/flavors/c1/os-flavor-access")).status == 404
    assert (await nova(admin, "POST", "/flavors/c1/action", allow)).status == 409
    public = [f["id"] for f in (await nova(admin, "GET", "/flavors?is_public=false")).json()["flavors"]]
    assert public == ["private"]


async def test_extra_specs(cloud: NovaCloud) -> None:
    admin = cloud.admin
    flavor = {"name": "specs", "id": "specs", "ram": 64, "vcpus": 1, "disk": 0}
    await nova(admin, "POST", "/flavors", {"flavor": flavor})
    path = "/flavors/specs/os-extra_specs"
    assert (await nova(admin, "POST", path, {"extra_specs": {"hw:numa_nodes": "1", "own": "x"}})).status == 200
    assert (await nova(admin, "PUT", path + "/own", {"own": "y"})).json() == {"own": "y"}
    assert (await nova(admin, "GET", path)).json() == {"extra_specs": {"hw:numa_nodes": "1", "own": "y"}}
    assert (await nova(admin, "GET", path + "/own")).json() == {"own": "y"}
    assert (await nova(admin, "DELETE", path + "/own")).status == 200
    assert (await nova(admin, "GET", path + "/own")).status == 404


@pytest.mark.parametrize(("specs", "version", "status"), [
    ({"hw:nonsense": "1"}, "2.86", 400), ({"hw:nonsense": "1"}, "2.85", 200), ({"hw:cpu_policy": "maybe"}, "2.86", 400),
    ({"hw:cpu_policy": "shared"}, "2.86", 200), ({"trait:HW_CPU_X86_VMX": "required"}, "2.86", 200),
    ({"trait:HW_CPU_X86_VMX": "wanted"}, "2.86", 400), ({"resources:VCPU": "2"}, "2.86", 200),
    ({"a/b": "1"}, "2.1", 400), ({"a": ["x"]}, "2.1", 400),
    ({"a": "x" * 256}, "2.1", 400), ([], "2.1", 400), ({"a": None}, "2.1", 400),
    ({"resources1:CUSTOM_X": "2"}, "2.86", 200), ({"own:thing": "free"}, "2.86", 200)])
async def test_extra_specs_are_checked(cloud: NovaCloud, specs: Any, version: str, status: int) -> None:
    answer = await nova(cloud.admin, "POST", "/flavors/84/os-extra_specs", {"extra_specs": specs}, version)
    assert answer.status == status, answer.body
