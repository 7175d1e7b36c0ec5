"""Ports and their addresses as a client sees them."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.neutron.conftest import N, NeutronCloud, fails, make_network, make_port, ok
from tests.support.cloud import Client
from tests.support.statements import counted_statements

NOBODY = "5a5d2864-06df-49f4-b0cd-456f1cdbe6cb"


async def test_a_new_port_has_upstreams_defaults(admin: Client) -> None:
    network = await make_network(admin, keep=True)
    port = await make_port(admin, network["id"])
    assert port["mac_address"].startswith("fa:16:3e:") and port["status"] == "DOWN"
    assert port["fixed_ips"][0]["subnet_id"] == network["subnet"]
    assert port["fixed_ips"][0]["ip_address"].startswith("10.1.0.")
    assert (port["binding:vif_type"], port["binding:host_id"], port["binding:vnic_type"]) == ("unbound", "", "normal")
    default, = ok(await admin.get(f"{N}/security-groups?name=default"), 200)
    assert port["security_groups"] == [default["id"]] and port["port_security_enabled"] is True
    dashed = port["fixed_ips"][0]["ip_address"].replace(".", "-")
    assert port["dns_assignment"][0]["fqdn"] == f"host-{dashed}.openstacklocal."
    assert ok(await admin.get(f"{N}/ports/{port['id']}"), 200) == port


BAD_PORTS: list[Any] = [
    ({"network_id": NOBODY}, 404, "NetworkNotFound"),
    ({"network_id": "x"}, 400, "HTTPBadRequest"),
    ({"fixed_ips": [{"ip_address": "10.99.0.1"}]}, 400, "InvalidIpForNetwork"),
    ({"fixed_ips": [{"ip_address": "10.1.0.0"}]}, 400, "InvalidIpForNetwork"),
    ({"fixed_ips": [{"subnet_id": NOBODY}]}, 404, "SubnetNotFound"),
    ({"fixed_ips": [{"bogus": "x"}]}, 400, "InvalidInput"),
    ({"fixed_ips": "x"}, 400, "HTTPBadRequest"),
    ({"fixed_ips": [{"ip_address": "10.1.0.5"}, {"ip_address": "10.1.0.5"}]}, 400, "InvalidInput"),
    ({"mac_address": "zz"}, 400, "HTTPBadRequest"),
    ({"security_groups": [NOBODY]}, 404, "SecurityGroupNotFound"),
    ({"security_groups": ["x"]}, 400, "HTTPBadRequest"),
    ({"binding:vnic_type": "bogus"}, 400, "HTTPBadRequest"),
    ({"binding:profile": {"a": 1}}, 403, "PolicyNotAuthorized"),  # services alone may
    ({"allowed_address_pairs": [{"ip_address": "bogus"}]}, 400, "HTTPBadRequest"),
    ({"allowed_address_pairs": [{}]}, 400, "HTTPBadRequest"),
    ({"port_security_enabled": False, "allowed_address_pairs": [{"ip_address": "1.2.3.4"}]}, 409,
     "AddressPairAndPortSecurityRequired"),
    ({"name": None}, 400, "HTTPBadRequest"), ({"dns_name": "foo_bar!"}, 400, "HTTPBadRequest"),
    ({"extra_dhcp_opts": [{"opt_name": "x"}]}, 400, "HTTPBadRequest"),
    ({"status": "ACTIVE"}, 400, "HTTPBadRequest"), ({"dns_domain": "x"}, 400, "HTTPBadRequest")]


async def test_bad_ports(admin: Client) -> None:
    network = await make_network(admin, keep=True)
    for values, status, kind in BAD_PORTS:
        fails(await admin.post(f"{N}/ports", {"port": {"network_id": network["id"], **values}}), status, kind)
    assert [p for p in ok(await admin.get(f"{N}/ports"), 200) if p["device_owner"] != "network:dhcp"] == []


async def test_addresses_and_macs_are_never_shared(admin: Client) -> None:
    network = await make_network(admin, keep=True)
    port = await make_port(admin, network["id"], fixed_ips=[{"ip_address": "10.1.0.50"}])
    fails(await admin.post(f"{N}/ports", {"port": {"network_id": network["id"], "fixed_ips": [
        {"ip_address": "10.1.0.50", "subnet_id": network["subnet"]}]}}), 409, "IpAddressAlreadyAllocated")
    fails(await admin.post(f"{N}/ports", {"port": {"network_id": network["id"],
                                                   "mac_address": port["mac_address"]}}), 409, "MacAddressInUse")


async def test_a_full_subnet_says_so_and_gives_back_what_is_freed(cloud: NeutronCloud, admin: Client) -> None:
    network = await make_network(admin, None)
    subnet = ok(await admin.post(f"{N}/subnets", {"subnet": {
        "network_id": network["id"], "ip_version": 4, "cidr": "10.1.0.0/28", "enable_dhcp": False,
        "allocation_pools": [{"start": "10.1.0.2", "end": "10.1.0.9"}]}}))
    answers = await asyncio.gather(*[admin.post(f"{N}/ports", {"port": {"network_id": network["id"]}})
                                     for _ in range(12)])
    made = [answer.json()["port"] for answer in answers if answer.status == 201]
    assert len({port["fixed_ips"][0]["ip_address"] for port in made}) == len(made) == 8
    for answer in answers:
        if answer.status != 201:
            fails(answer, 409, "IpAddressGenerationFailure")
    assert (await admin.delete(f"{N}/ports/{made[0]['id']}")).status == 204
    again = await make_port(admin, network["id"], fixed_ips=[{"subnet_id": subnet["id"]}])
    assert again["fixed_ips"] == made[0]["fixed_ips"]


async def test_bulk(admin: Client) -> None:
    network = await make_network(admin, keep=True)
    made = ok(await admin.post(f"{N}/ports", {"ports": [{"network_id": network["id"], "name": str(i)}
                                                       for i in range(20)]}))
    assert [port["name"] for port in made] == [str(i) for i in range(20)]
    assert len({port["fixed_ips"][0]["ip_address"] for port in made}) == 20
    taken = made[3]["fixed_ips"][0]["ip_address"]
    fails(await admin.post(f"{N}/ports", {"ports": [{"network_id": network["id"]}, {
        "network_id": network["id"], "fixed_ips": [{"ip_address": taken}]}]}), 409, "IpAddressAlreadyAllocated")
    assert len(ok(await admin.get(f"{N}/ports?device_owner="), 200)) == 20


async def test_ipv6(admin: Client) -> None:
    network = await make_network(admin, keep=True)
    slaac = ok(await admin.post(f"{N}/subnets", {"subnet": {
        "network_id": network["id"], "ip_version": 6, "cidr": "fd00:1::/64", "ipv6_ra_mode": "slaac",
        "ipv6_address_mode": "slaac"}}))
    port = await make_port(admin, network["id"], mac_address="fa:16:3e:01:02:03")
    assert {ip["subnet_id"]: ip["ip_address"] for ip in port["fixed_ips"]}[slaac["id"]] == "fd00:1::f816:3eff:fe01:203"
    stateful = await make_network(admin, "fd00:2::/64")
    other = await make_port(admin, stateful["id"])
    assert other["fixed_ips"][0]["ip_address"].startswith("fd00:2::")
    assert (await admin.delete(f"{N}/subnets/{slaac['id']}")).status == 204
    assert len(ok(await admin.get(f"{N}/ports/{port['id']}"), 200)["fixed_ips"]) == 1


async def test_changing_a_port(admin: Client) -> None:
    network = await make_network(admin, keep=True)
    port = await make_port(admin, network["id"])
    path = f"{N}/ports/{port['id']}"

    async def change(**values: Any) -> Any:
        return ok(await admin.put(path, {"port": values}), 200)

    assert (await change(fixed_ips=[{"ip_address": "10.1.0.99"}]))["fixed_ips"][0]["ip_address"] == "10.1.0.99"
    both = await change(fixed_ips=[{"ip_address": "10.1.0.99"}, {"subnet_id": network["subnet"]}])
    assert len(both["fixed_ips"]) == 2 and both["fixed_ips"][0]["ip_address"] == "10.1.0.99"
    assert (await change(fixed_ips=[]))["fixed_ips"] == []
    assert (await change(mac_address="fa:16:3e:00:00:01"))["mac_address"] == "fa:16:3e:00:00:01"
    pairs = (await change(allowed_address_pairs=[{"ip_address": "10.1.0.0/24"}]))["allowed_address_pairs"]
    assert pairs == [{"mac_address": "fa:16:3e:00:00:01", "ip_address": "10.1.0.0/24"}]
    fails(await admin.put(path, {"port": {"port_security_enabled": False}}), 409, "PortSecurityPortHasSecurityGroup")
    bare = await change(port_security_enabled=False, security_groups=[], allowed_address_pairs=[])
    assert (bare["port_security_enabled"], bare["security_groups"]) == (False, [])
    options = [{"opt_name": "bootfile-name", "opt_value": "x", "ip_version": 4}]
    assert (await change(extra_dhcp_opts=options))["extra_dhcp_opts"] == options
    gone = await change(extra_dhcp_opts=[{"opt_name": "bootfile-name", "opt_value": None}])
    assert gone["extra_dhcp_opts"] == []
    fails(await admin.put(path, {"port": {"network_id": network["id"]}}), 400, "HTTPBadRequest")
    fails(await admin.put(f"{N}/ports/{NOBODY}", {"port": {"name": "x"}}), 404, "PortNotFound")
    fails(await admin.put(f"{N}/ports/nope", {"port": {"name": "x"}}), 404, "PortNotFound")


async def test_bindings_are_for_administrators_and_services(cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    member = await cloud.new_project("p")
    network = await make_network(member)
    port = await make_port(member, network["id"], device_owner="compute:x")
    assert "binding:host_id" not in port and "binding:vif_type" not in port and port["binding:vnic_type"] == "normal"
    fails(await member.put(f"{N}/ports/{port['id']}", {"port": {"binding:host_id": "localhost"}}), 403,
          "PolicyNotAuthorized")
    bound = ok(await nova.put(f"{N}/ports/{port['id']}", {"port": {
        "binding:host_id": "localhost", "binding:profile": {"a": 1}}}), 200)
    assert bound["binding:vif_type"] == "bridge" and bound["binding:profile"] == {"a": 1}
    freed = ok(await nova.put(f"{N}/ports/{port['id']}", {"port": {"binding:host_id": None}}), 200)
    assert (freed["binding:host_id"], freed["binding:vif_type"]) == ("", "unbound")


async def test_owners_of_networks_see_and_delete_ports_on_them(cloud: NeutronCloud, admin: Client) -> None:
    owner, guest = await cloud.new_project("owner"), await cloud.new_project("guest")
    network = await make_network(owner)
    ok(await owner.post(f"{N}/rbac-policies", {"rbac_policy": {
        "object_type": "network", "object_id": network["id"], "action": "access_as_shared",
        "target_tenant": guest.project_id}}))
    port = await make_port(guest, network["id"])
    assert ok(await owner.get(f"{N}/ports/{port['id']}"), 200)["id"] == port["id"]
    fails(await owner.put(f"{N}/ports/{port['id']}", {"port": {"name": "x"}}), 403, "PolicyNotAuthorized")
    others = await make_port(owner, network["id"])
    fails(await guest.get(f"{N}/ports/{others['id']}"), 404, "PortNotFound")
    fails(await guest.delete(f"{N}/ports/{others['id']}"), 404, "PortNotFound")
    rbac, = ok(await owner.get(f"{N}/rbac-policies"), 200)
    fails(await owner.delete(f"{N}/rbac-policies/{rbac['id']}"), 409, "RbacPolicyInUse")
    assert (await owner.delete(f"{N}/ports/{port['id']}")).status == 204
    assert (await owner.delete(f"{N}/rbac-policies/{rbac['id']}")).status == 204
    fails(await guest.get(f"{N}/networks/{network['id']}"), 404, "NetworkNotFound")


async def test_neutrons_own_ports_are_protected(cloud: NeutronCloud, admin: Client) -> None:
    member = await cloud.new_project("p")
    shared = await make_network(admin, shared=True)
    fails(await member.post(f"{N}/ports", {"port": {"network_id": shared["id"], "device_owner": "network:dhcp"}}), 403,
          "PolicyNotAuthorized")
    router = ok(await admin.post(f"{N}/routers", {"router": {"name": "r"}}))
    joined = (await admin.put(f"{N}/routers/{router['id']}/add_router_interface",
                              {"subnet_id": shared["subnet"]})).json()
    port = ok(await admin.get(f"{N}/ports/{joined['port_id']}"), 200)
    assert port["port_security_enabled"] is False and port["security_groups"] == []
    assert (port["device_owner"], port["device_id"]) == ("network:router_interface", router["id"])
    ok(await admin.put(f"{N}/ports/{port['id']}", {"port": {"device_id": ""}}), 200)
    fails(await admin.delete(f"{N}/ports/{port['id']}"), 409, "ServicePortInUse")
    fails(await admin.delete(f"{N}/routers/{router['id']}"), 409, "RouterInUse")


async def test_lists_of_ports(admin: Client) -> None:
    network = await make_network(admin, keep=True)
    one = await make_port(admin, network["id"], name="one", device_id="d1", fixed_ips=[{"ip_address": "10.1.0.20"}])
    two = await make_port(admin, network["id"], name="two", device_id="d2", fixed_ips=[{"ip_address": "10.1.0.21"}])

    async def ids(query: str) -> set[str]:
        return {p["id"] for p in ok(await admin.get(f"{N}/ports?{query}"), 200)} & {one["id"], two["id"]}

    assert await ids("fixed_ips=ip_address%3D10.1.0.20") == {one["id"]}
    assert await ids("fixed_ips=ip_address%3D10.1.0.20&fixed_ips=ip_address%3D10.1.0.21") == {one["id"], two["id"]}
    assert await ids(f"fixed_ips=subnet_id%3D{network['subnet']}&fixed_ips=ip_address_substr%3D0.21") == {two["id"]}
    assert await ids("device_id=d1&device_id=d2") == {one["id"], two["id"]}
    assert await ids(f"security_groups={one['security_groups'][0]}") == {one["id"], two["id"]}
    assert await ids("mac_address=" + one["mac_address"]) == {one["id"]}
    assert await ids("binding:host_id=nowhere") == set()
    fails(await admin.get(f"{N}/ports?fixed_ips=nonsense"), 400, "HTTPBadRequest")


async def test_the_number_of_statements_does_not_grow(cloud: NeutronCloud, admin: Client) -> None:
    network = await make_network(admin, keep=True)

    async def statements() -> int:
        with counted_statements() as counted:
            ok(await admin.get(f"{N}/ports"), 200)
        return len([s for s in counted if s.startswith("SELECT")])

    await make_port(admin, network["id"])
    few = await statements()
    ok(await admin.post(f"{N}/ports", {"ports": [{"network_id": network["id"]} for _ in range(40)]}))
    await asyncio.sleep(0.05)  # the agents' own look after the creation
    assert await statements() == few == 4  # ports, their addresses, groups, and trunks


async def test_address_pairs_are_added_and_removed_one_by_one(admin: Client) -> None:
    network = await make_network(admin)
    port = await make_port(admin, network["id"], allowed_address_pairs=[{"ip_address": "10.7.0.1"}])
    path = f"{N}/ports/{port['id']}"

    def pairs(*addresses: str) -> dict[str, Any]:
        return {"port": {"allowed_address_pairs": [{"ip_address": address} for address in addresses]}}

    added = ok(await admin.put(f"{path}/add_allowed_address_pairs", pairs("10.7.0.2", "10.7.0.1")), 200)
    assert sorted(pair["ip_address"] for pair in added["allowed_address_pairs"]) == ["10.7.0.1", "10.7.0.2"]
    assert {pair["mac_address"] for pair in added["allowed_address_pairs"]} == {port["mac_address"]}
    left = ok(await admin.put(f"{path}/remove_allowed_address_pairs", pairs("10.7.0.1", "10.7.0.9")), 200)
    assert [pair["ip_address"] for pair in left["allowed_address_pairs"]] == ["10.7.0.2"]
    for body in ({}, [], {"port": {}}, {"port": {"allowed_address_pairs": "x"}}, pairs("x"),
                 pairs("10.7.0.4", "10.7.0.4")):
        assert (await admin.put(f"{path}/add_allowed_address_pairs", body)).status == 400, body
    many = pairs(*[f"10.8.0.{number}" for number in range(1, 51)])
    fails(await admin.put(f"{path}/add_allowed_address_pairs", many), 400, "AllowedAddressPairExhausted")
    open_port = await make_port(admin, network["id"], port_security_enabled=False)
    fails(await admin.put(f"{N}/ports/{open_port['id']}/add_allowed_address_pairs", pairs("10.7.0.1")), 409,
          "AddressPairAndPortSecurityRequired")
    assert (await admin.put(f"{N}/ports/nothing/add_allowed_address_pairs", pairs("10.7.0.1"))).status == 404
