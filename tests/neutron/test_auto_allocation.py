"""A network for a project that has none."""

from __future__ import annotations

from typing import Any

from tests.neutron.conftest import N, NeutronCloud, fails, make_port, ok
from tests.neutron.test_routers import external
from tests.support.cloud import Client

A = f"{N}/auto-allocated-topology"


async def means(admin: Client) -> Any:
    public = await external(admin)
    ok(await admin.put(f"{N}/networks/{public['id']}", {"network": {"is_default": True}}), 200)
    ok(await admin.post(f"{N}/subnetpools", {"subnetpool": {
        "name": "all", "prefixes": ["10.40.0.0/16"], "default_prefixlen": 26, "is_default": True, "shared": True}}))
    return public


async def test_a_network_is_made_once_and_removed(cloud: NeutronCloud, admin: Client) -> None:
    member = await cloud.new_project("p")
    dry = {"fields": "dry-run"}
    assert "external network" in fails(await member.get(f"{A}/None"), 409, "AutoAllocationFailure")
    public = await means(admin)
    assert ok(await member.get(f"{A}/None", params=dry), 200)["id"] == "dry-run=pass"
    assert [n for n in ok(await member.get(f"{N}/networks"), 200) if n["project_id"] == member.project_id] == []
    made = ok(await member.get(f"{A}/{member.project_id}"), 200)
    assert made["project_id"] == member.project_id
    assert ok(await member.get(f"{A}/None"), 200) == made
    network = ok(await member.get(f"{N}/networks/{made['id']}"), 200)
    assert (network["name"], network["admin_state_up"], len(network["subnets"])) == (
        "auto_allocated_network", True, 1)
    router, = ok(await member.get(f"{N}/routers"), 200)
    assert router["external_gateway_info"]["network_id"] == public["id"]
    port = await make_port(member, made["id"])
    assert port["fixed_ips"][0]["ip_address"].startswith("10.40.")
    stranger = await cloud.new_project("q")
    fails(await stranger.get(f"{A}/{member.project_id}"), 403, "PolicyNotAuthorized")
    fails(await stranger.delete(f"{A}/{member.project_id}"), 403, "PolicyNotAuthorized")
    fails(await member.delete(f"{A}/None"), 409, "NetworkInUse")
    assert (await member.delete(f"{N}/ports/{port['id']}")).status == 204
    assert (await admin.delete(f"{A}/{member.project_id}")).status == 204
    assert ok(await member.get(f"{N}/routers"), 200) == []
    assert (await member.delete(f"{A}/None")).status == 204  # nothing is there any more


async def test_what_was_begun_is_finished(cloud: NeutronCloud, admin: Client) -> None:
    member = await cloud.new_project("p")
    await means(admin)
    begun = ok(await member.post(f"{N}/networks", {"network": {
        "name": "auto_allocated_network", "admin_state_up": False}}))
    ok(await member.post(f"{N}/routers", {"router": {"name": "auto_allocated_router"}}))
    assert ok(await member.get(f"{A}/None"), 200)["id"] == begun["id"]
    assert ok(await member.get(f"{N}/networks/{begun['id']}"), 200)["admin_state_up"]
    assert len(ok(await member.get(f"{N}/routers"), 200)) == 1
    ok(await member.put(f"{N}/networks/{begun['id']}", {"network": {"name": "mine"}}), 200)
    assert ok(await member.get(f"{A}/None"), 200)["id"] == begun["id"]


async def test_one_external_network_is_the_default(admin: Client) -> None:
    public = await means(admin)
    fails(await admin.post(f"{N}/networks", {"network": {"router:external": True, "is_default": True}}), 409,
          "DefaultExternalNetworkExists")
    ok(await admin.put(f"{N}/networks/{public['id']}", {"network": {"is_default": True}}), 200)
