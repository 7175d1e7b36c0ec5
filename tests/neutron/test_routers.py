"""Routers and floating IPs: the record, and what depends on what."""

from __future__ import annotations

from typing import Any

from tests.neutron.conftest import N, NeutronCloud, fails, make_network, make_port, ok
from tests.support.cloud import Client


async def external(admin: Client) -> Any:
    return await make_network(admin, "203.0.113.0/24", **{
        "router:external": True, "provider:network_type": "flat", "provider:physical_network": "public"})


async def new_router(client: Client, **values: Any) -> Any:
    return ok(await client.post(f"{N}/routers", {"router": {"name": "r", **values}}))


async def interface(client: Client, router: Any, verb: str, **body: Any) -> Any:
    return await client.put(f"{N}/routers/{router['id']}/{verb}_router_interface", body)


async def test_a_floating_ip_needs_the_whole_way(cloud: NeutronCloud, admin: Client) -> None:
    member, public = await cloud.new_project("p"), await external(admin)
    network = await make_network(member)
    port = await make_port(member, network["id"])
    fip = ok(await member.post(f"{N}/floatingips", {"floatingip": {"floating_network_id": public["id"]}}))
    assert fip["floating_ip_address"].startswith("203.0.113.") and fip["status"] == "DOWN"
    path = f"{N}/floatingips/{fip['id']}"
    fails(await member.put(path, {"floatingip": {"port_id": port["id"]}}), 404, "ExternalGatewayForFloatingIPNotFound")
    router = await new_router(member, external_gateway_info={"network_id": public["id"]})
    gateway = router["external_gateway_info"]
    assert gateway["enable_snat"] is True and gateway["external_fixed_ips"][0]["ip_address"].startswith("203.0.113.")
    assert (await interface(member, router, "add", subnet_id=network["subnet"])).status == 200
    bound = ok(await member.put(path, {"floatingip": {"port_id": port["id"]}}), 200)
    assert (bound["router_id"], bound["fixed_ip_address"]) == (router["id"], port["fixed_ips"][0]["ip_address"])
    assert bound["port_details"]["mac_address"] == port["mac_address"]
    again = ok(await member.post(f"{N}/floatingips", {"floatingip": {"floating_network_id": public["id"]}}))
    fails(await member.put(f"{N}/floatingips/{again['id']}", {"floatingip": {"port_id": port["id"]}}), 409,
          "FloatingIPPortAlreadyAssociated")
    fails(await interface(member, router, "remove", subnet_id=network["subnet"]), 409,
          "RouterInterfaceInUseByFloatingIP")
    fails(await member.put(f"{N}/routers/{router['id']}", {"router": {"external_gateway_info": {}}}), 409,
          "RouterExternalGatewayInUseByFloatingIp")
    fails(await admin.delete(f"{N}/networks/{public['id']}"), 409, "NetworkInUse")
    assert (await member.delete(f"{N}/ports/{port['id']}")).status == 204
    assert ok(await member.get(path), 200)["port_id"] is None
    for id in (fip["id"], again["id"]):
        assert (await member.delete(f"{N}/floatingips/{id}")).status == 204
    assert (await interface(member, router, "remove", subnet_id=network["subnet"])).status == 200
    assert (await member.delete(f"{N}/routers/{router['id']}")).status == 204
    assert (await admin.delete(f"{N}/networks/{public['id']}")).status == 204
    assert ok(await admin.get(f"{N}/ports?device_owner=network:floatingip"), 200) == []


async def test_interfaces(admin: Client) -> None:
    network, router = await make_network(admin), await new_router(admin)
    joined = await interface(admin, router, "add", subnet_id=network["subnet"])
    assert joined.status == 200 and joined.json()["subnet_ids"] == [network["subnet"]]
    fails(await interface(admin, router, "add", subnet_id=network["subnet"]), 400, "BadRequest")
    fails(await interface(admin, router, "add"), 400, "BadRequest")
    fails(await interface(admin, router, "add", subnet_id="x"), 400, "HTTPBadRequest")
    overlapping = await make_network(admin, "10.1.0.0/16")
    fails(await interface(admin, router, "add", subnet_id=overlapping["subnet"]), 400, "BadRequest")
    other = await make_network(admin, "10.2.0.0/24")
    port = await make_port(admin, other["id"])
    assert (await interface(admin, router, "add", port_id=port["id"])).status == 200
    fails(await interface(admin, await new_router(admin), "add", port_id=port["id"]), 409, "PortInUse")
    fails(await admin.put(f"{N}/subnets/{network['subnet']}", {"subnet": {"gateway_ip": None}}), 409, "GatewayIpInUse")
    fails(await admin.delete(f"{N}/subnets/{other['subnet']}"), 409, "SubnetInUse")
    route = {"destination": "192.0.2.0/24", "nexthop": "10.2.0.254"}
    changed = ok(await admin.put(f"{N}/routers/{router['id']}/add_extraroutes", {"router": {"routes": [route]}}), 200)
    assert changed["routes"] == [route]
    fails(await interface(admin, router, "remove", port_id=port["id"]), 409, "RouterInterfaceInUseByRoute")
    fails(await admin.put(f"{N}/routers/{router['id']}", {"router": {"routes": [
        {"destination": "192.0.2.0/24", "nexthop": "10.99.0.1"}]}}), 400, "InvalidRoutes")
    ok(await admin.put(f"{N}/routers/{router['id']}", {"router": {"routes": []}}), 200)
    assert (await interface(admin, router, "remove", port_id=port["id"])).status == 200
    fails(await interface(admin, router, "remove", subnet_id=other["subnet"]), 404, "RouterInterfaceNotFoundForSubnet")


async def test_routers_of_others(cloud: NeutronCloud, admin: Client) -> None:
    mine, theirs = await cloud.new_project("mine"), await cloud.new_project("theirs")
    router, network = await new_router(mine), await make_network(theirs)
    fails(await theirs.get(f"{N}/routers/{router['id']}"), 404, "RouterNotFound")
    fails(await theirs.delete(f"{N}/routers/{router['id']}"), 404, "RouterNotFound")
    fails(await interface(mine, router, "add", subnet_id=network["subnet"]), 404, "SubnetNotFound")
    public = await external(admin)
    fails(await mine.put(f"{N}/routers/{router['id']}", {"router": {"external_gateway_info": {
        "network_id": public["id"], "enable_snat": False}}}), 403, "PolicyNotAuthorized")
    fails(await mine.put(f"{N}/routers/{router['id']}", {"router": {"external_gateway_info": {
        "network_id": (await make_network(mine))["id"]}}}), 400, "BadRequest")
    fails(await mine.post(f"{N}/floatingips", {"floatingip": {
        "floating_network_id": public["id"], "floating_ip_address": "203.0.113.9"}}), 403, "PolicyNotAuthorized")


async def test_subnet_pools_and_scopes(admin: Client) -> None:
    scope = ok(await admin.post(f"{N}/address-scopes", {"address_scope": {"name": "s", "ip_version": "4"}}))
    assert scope["ip_version"] == 4
    pool = ok(await admin.post(f"{N}/subnetpools", {"subnetpool": {
        "name": "p", "prefixes": ["10.200.1.0/24", "10.200.0.0/24"], "default_prefixlen": 25, "min_prefixlen": 24,
        "max_prefixlen": 26, "address_scope_id": scope["id"]}}))
    assert pool["prefixes"] == ["10.200.0.0/23"]
    fails(await admin.post(f"{N}/subnetpools", {"subnetpool": {
        "name": "q", "prefixes": ["10.200.0.0/25"], "address_scope_id": scope["id"]}}), 409,
        "AddressScopePrefixConflict")
    network = await make_network(admin, None)

    async def cut(**values: Any) -> Any:
        return await admin.post(f"{N}/subnets", {"subnet": {
            "network_id": network["id"], "ip_version": 4, "subnetpool_id": pool["id"], **values}})

    assert [ok(await cut())["cidr"], ok(await cut(prefixlen=26))["cidr"], ok(await cut(prefixlen=24))["cidr"]] == [
        "10.200.0.0/25", "10.200.0.128/26", "10.200.1.0/24"]
    assert ok(await cut(prefixlen=26))["cidr"] == "10.200.0.192/26"
    fails(await cut(), 409, "SubnetAllocationError")
    fails(await cut(prefixlen=27), 400, "MaxPrefixSubnetAllocationError")
    fails(await cut(prefixlen=8), 400, "MinPrefixSubnetAllocationError")
    fails(await cut(cidr="10.200.0.0/26"), 409, "SubnetAllocationError")
    assert ok(await admin.get(f"{N}/networks/{network['id']}"), 200)["ipv4_address_scope"] == scope["id"]
    fails(await admin.delete(f"{N}/subnetpools/{pool['id']}"), 409, "SubnetPoolDeleteError")
    fails(await admin.delete(f"{N}/address-scopes/{scope['id']}"), 409, "AddressScopeInUse")
    added = await admin.put(f"{N}/subnetpools/{pool['id']}/add_prefixes", {"prefixes": ["10.200.2.0/24"]})
    assert added.status == 200 and added.json() == {"prefixes": ["10.200.0.0/23", "10.200.2.0/24"]}
    assert ok(await cut())["cidr"] == "10.200.2.0/25"
    assert (await admin.delete(f"{N}/networks/{network['id']}")).status == 204
    assert (await admin.delete(f"{N}/subnetpools/{pool['id']}")).status == 204
    assert (await admin.delete(f"{N}/address-scopes/{scope['id']}")).status == 204


async def test_a_router_has_one_gateway_by_whatever_call(cloud: NeutronCloud, admin: Client) -> None:
    public = await external(admin)
    member = await cloud.new_project("p")
    router = await new_router(member)
    path = f"{N}/routers/{router['id']}"

    def wish(*gateways: dict[str, Any]) -> dict[str, Any]:
        return {"router": {"external_gateways": list(gateways)}}

    one = {"network_id": public["id"]}
    made = ok(await member.put(f"{path}/add_external_gateways", wish(one)), 200)
    assert made["external_gateway_info"]["network_id"] == public["id"]
    assert "one external network" in fails(await member.put(f"{path}/add_external_gateways", wish(one)), 400,
                                           "BadRequest")
    fails(await member.put(f"{path}/update_external_gateways", wish({**one, "enable_snat": False})), 403,
          "PolicyNotAuthorized")
    changed = ok(await admin.put(f"{path}/update_external_gateways", wish({**one, "enable_snat": False})), 200)
    assert changed["external_gateway_info"]["enable_snat"] is False
    other = {"network_id": (await make_network(member))["id"]}
    fails(await member.put(f"{path}/remove_external_gateways", wish(other)), 400, "BadRequest")
    for body in ({}, [], {"router": {}}, wish({}), wish({"network_id": 5}), {"router": {"external_gateways": {}}}):
        assert (await member.put(f"{path}/add_external_gateways", body)).status == 400, body
    gone = ok(await member.put(f"{path}/remove_external_gateways", wish(one)), 200)
    assert gone["external_gateway_info"] is None
    assert (await member.put(f"{N}/routers/none/remove_external_gateways", wish(one))).status == 404
