"""What a project might try against another, the cloud's public network and the host, by routers and sharing."""

from __future__ import annotations

from tests.neutron.conftest import N, NeutronCloud, fails, make_network, make_port, ok
from tests.neutron.test_routers import external, interface, new_router
from tests.support.cloud import Client


async def test_the_gateway_of_a_shared_or_public_network_is_not_for_everybody(cloud: NeutronCloud, admin: Client
                                                                             ) -> None:
    """Who has the gateway's address has what all machines of the network send (upstream's bug 1757482)."""
    attacker, friend, public = await cloud.new_project("a"), await cloud.new_project("f"), await external(admin)
    shared = await make_network(admin, "10.7.0.0/24", shared=True)
    router = await new_router(attacker)
    for network in (shared, public):
        assert "not owned by" in fails(await interface(attacker, router, "add", subnet_id=network["subnet"]), 400,
                                       "BadRequest")
    lent = await make_network(admin, "10.8.0.0/24")
    ok(await admin.post(f"{N}/rbac-policies", {"rbac_policy": {
        "object_type": "network", "object_id": lent["id"], "action": "access_as_shared",
        "target_tenant": friend.project_id}}))
    # named in person, one may
    assert (await interface(friend, await new_router(friend), "add", subnet_id=lent["subnet"])).status == 200


async def test_a_network_owner_does_not_use_others_ports(cloud: NeutronCloud, admin: Client) -> None:
    owner, victim, public = await cloud.new_project("o"), await cloud.new_project("v"), await external(admin)
    network = await make_network(owner, "10.9.0.0/24")
    ok(await owner.post(f"{N}/rbac-policies", {"rbac_policy": {
        "object_type": "network", "object_id": network["id"], "action": "access_as_shared",
        "target_tenant": victim.project_id}}))
    port = await make_port(victim, network["id"])
    router = await new_router(owner, external_gateway_info={"network_id": public["id"]})
    fails(await interface(owner, router, "add", port_id=port["id"]), 403, "PolicyNotAuthorized")
    assert (await interface(owner, router, "add", subnet_id=network["subnet"])).status == 200
    fip = ok(await owner.post(f"{N}/floatingips", {"floatingip": {"floating_network_id": public["id"]}}))
    path = f"{N}/floatingips/{fip['id']}"
    assert "different project" in fails(await owner.put(path, {"floatingip": {"port_id": port["id"]}}), 400,
                                        "BadRequest")
    assert "different project" in fails(await owner.post(f"{path}/port_forwardings", {"port_forwarding": {
        "internal_port_id": port["id"], "internal_ip_address": port["fixed_ips"][0]["ip_address"], "internal_port": 22,
        "external_port": 22, "protocol": "tcp"}}), 400, "BadRequest")


async def test_a_floating_address_goes_by_the_gateway_not_by_somebodys_router(cloud: NeutronCloud, admin: Client
                                                                            ) -> None:
    attacker, victim, public = await cloud.new_project("a"), await cloud.new_project("v"), await external(admin)
    shared = await make_network(admin, "10.7.0.0/24", shared=True)
    gateway = {"external_gateway_info": {"network_id": public["id"]}}
    other = await new_router(attacker, **gateway)
    foot = await make_port(attacker, shared["id"])
    assert (await interface(attacker, other, "add", port_id=foot["id"])).status == 200
    door = await new_router(admin, **gateway)
    assert (await interface(admin, door, "add", subnet_id=shared["subnet"])).status == 200
    port = await make_port(victim, shared["id"])
    fip = ok(await victim.post(f"{N}/floatingips", {"floatingip": {
        "floating_network_id": public["id"], "port_id": port["id"]}}))
    assert fip["router_id"] == door["id"]


async def test_only_administrators_make_networks_external(cloud: NeutronCloud, admin: Client) -> None:
    """The host takes an address in an external network: a user's range would lead the host's own traffic to him."""
    attacker = await cloud.new_project("a")
    network = await make_network(attacker, "10.20.0.0/16")
    body = {"rbac_policy": {"object_type": "network", "object_id": network["id"], "action": "access_as_external",
                            "target_tenant": attacker.project_id}}
    fails(await attacker.post(f"{N}/rbac-policies", body), 403, "PolicyNotAuthorized")
    assert ok(await attacker.get(f"{N}/networks/{network['id']}"), 200)["router:external"] is False
    ok(await admin.post(f"{N}/rbac-policies", body))
