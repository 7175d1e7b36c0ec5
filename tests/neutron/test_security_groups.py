"""Security groups, their rules, and the address groups that rules refer to."""

from __future__ import annotations

from typing import Any

from tests.neutron.conftest import N, NeutronCloud, fails, make_network, make_port, ok, until
from tests.support.cloud import Client

NOBODY = "5a5d2864-06df-49f4-b0cd-456f1cdbe6cb"


async def new_group(client: Client, name: str = "web") -> Any:
    return ok(await client.post(f"{N}/security-groups", {"security_group": {"name": name}}))


async def new_rule(client: Client, group_id: str, **values: Any) -> Any:
    return await client.post(f"{N}/security-group-rules", {"security_group_rule": {
        "security_group_id": group_id, "direction": "ingress", **values}})


async def test_every_project_has_one_default_group(cloud: NeutronCloud, admin: Client) -> None:
    member = await cloud.new_project("p")
    group, = ok(await member.get(f"{N}/security-groups"), 200)
    assert (group["name"], group["description"], group["stateful"]) == ("default", "Default security group", True)
    assert sorted((r["direction"], r["ethertype"], r["remote_group_id"]) for r in group["security_group_rules"]) == [
        ("egress", "IPv4", None), ("egress", "IPv6", None), ("ingress", "IPv4", group["id"]),
        ("ingress", "IPv6", group["id"])]
    assert len(ok(await member.get(f"{N}/security-groups"), 200)) == 1
    fails(await member.post(f"{N}/security-groups", {"security_group": {"name": "default"}}), 409,
          "SecurityGroupDefaultAlreadyExists")
    fails(await member.put(f"{N}/security-groups/{group['id']}", {"security_group": {"name": "x"}}), 409,
          "SecurityGroupCannotUpdateDefault")
    fails(await member.delete(f"{N}/security-groups/{group['id']}"), 409, "SecurityGroupCannotRemoveDefault")


async def test_no_other_group_is_renamed_default(admin: Client) -> None:
    group = await new_group(admin)
    fails(await admin.put(f"{N}/security-groups/{group['id']}", {"security_group": {"name": "default"}}), 409,
          "SecurityGroupDefaultAlreadyExists")


async def test_a_new_group_lets_everything_out(admin: Client) -> None:
    group = await new_group(admin)
    assert sorted((r["direction"], r["ethertype"]) for r in group["security_group_rules"]) == [
        ("egress", "IPv4"), ("egress", "IPv6")]
    changed = ok(await admin.put(f"{N}/security-groups/{group['id']}", {"security_group": {
        "name": "g", "stateful": False}}), 200)
    assert (changed["name"], changed["stateful"]) == ("g", False)
    assert (await admin.delete(f"{N}/security-groups/{group['id']}")).status == 204
    fails(await admin.get(f"{N}/security-groups/{group['id']}"), 404, "SecurityGroupNotFound")


BAD_RULES: list[Any] = [
    ({"direction": "x"}, 400, "HTTPBadRequest"),
    ({"protocol": "tcp", "port_range_min": 23, "port_range_max": 22}, 400, "SecurityGroupInvalidPortRange"),
    ({"protocol": "tcp", "port_range_min": 22}, 400, "SecurityGroupInvalidPortRange"),
    ({"protocol": "tcp", "port_range_min": 0, "port_range_max": 22}, 400, "SecurityGroupInvalidPortValue"),
    ({"protocol": "tcp", "port_range_min": 1, "port_range_max": 99999}, 400, "SecurityGroupInvalidPortValue"),
    ({"protocol": "tcp", "port_range_min": -16, "port_range_max": 80}, 400, "SecurityGroupInvalidPortValue"),
    ({"remote_group_id": "bad_group_id"}, 404, "SecurityGroupNotFound"),
    ({"port_range_min": 1, "port_range_max": 2}, 400, "SecurityGroupProtocolRequiredWithPorts"),
    ({"protocol": "icmp", "port_range_min": 300}, 400, "SecurityGroupInvalidIcmpValue"),
    ({"protocol": "icmp", "port_range_max": 3}, 400, "SecurityGroupMissingIcmpType"),
    ({"protocol": "bogus"}, 400, "SecurityGroupRuleInvalidProtocol"),
    ({"protocol": "256"}, 400, "SecurityGroupRuleInvalidProtocol"),
    ({"protocol": "\u0663"}, 400, "SecurityGroupRuleInvalidProtocol"),
    ({"protocol": ["tcp"]}, 400, "HTTPBadRequest"),
    ({"protocol": "vrrp", "port_range_min": 1, "port_range_max": 2}, 400, "SecurityGroupInvalidProtocolForPort"),
    ({"protocol": "icmpv6"}, 400, "SecurityGroupEthertypeConflictWithProtocol"),
    ({"ethertype": "x"}, 400, "HTTPBadRequest"),
    ({"remote_ip_prefix": "fd00::/64"}, 400, "SecurityGroupRuleParameterConflict"),
    ({"remote_ip_prefix": "nonsense"}, 400, "HTTPBadRequest"),
    ({"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": NOBODY}, 400, "SecurityGroupMultipleRemoteEntites"),
    ({"remote_group_id": NOBODY}, 404, "SecurityGroupNotFound"),
    ({"remote_address_group_id": NOBODY}, 404, "AddressGroupNotFound"),
    ({"security_group_id": NOBODY}, 404, "SecurityGroupNotFound")]


async def test_bad_rules(admin: Client) -> None:
    group = await new_group(admin)
    for values, status, kind in BAD_RULES:
        fails(await new_rule(admin, group["id"], **values), status, kind)


async def test_good_rules_get_their_one_form_and_are_unique(admin: Client) -> None:
    group = await new_group(admin)
    rule = ok(await new_rule(admin, group["id"], protocol=6, remote_ip_prefix="192.0.2.4"))
    assert (rule["protocol"], rule["remote_ip_prefix"], rule["normalized_cidr"]) == ("6", "192.0.2.4/32",
                                                                                     "192.0.2.4/32")
    assert rule["id"] in fails(await new_rule(admin, group["id"], protocol="tcp", remote_ip_prefix="192.0.2.4/32"), 409,
                               "SecurityGroupRuleExists")
    loose = ok(await new_rule(admin, group["id"], protocol="udp", remote_ip_prefix="10.0.0.1/8"))
    assert (loose["remote_ip_prefix"], loose["normalized_cidr"]) == ("10.0.0.1/8", "10.0.0.0/8")
    six = ok(await new_rule(admin, group["id"], ethertype="ipv6", protocol="icmp"))
    assert (six["ethertype"], six["protocol"]) == ("IPv6", "ipv6-icmp")
    assert ok(await new_rule(admin, group["id"], protocol="any"))["protocol"] is None
    fails(await new_rule(admin, group["id"], remote_ip_prefix="0.0.0.0/0"), 409, "SecurityGroupRuleExists")
    assert len(ok(await admin.get(f"{N}/security-group-rules?security_group_id={group['id']}"), 200)) == 6
    assert (await admin.delete(f"{N}/security-group-rules/{rule['id']}")).status == 204
    fails(await admin.get(f"{N}/security-group-rules/{rule['id']}"), 404, "SecurityGroupRuleNotFound")


async def test_groups_in_use_stay_and_others_are_not_found(cloud: NeutronCloud, admin: Client) -> None:
    mine, theirs = await cloud.new_project("mine"), await cloud.new_project("theirs")
    group, network = await new_group(mine), await make_network(mine)
    port = await make_port(mine, network["id"], security_groups=[group["id"]])
    fails(await mine.delete(f"{N}/security-groups/{group['id']}"), 409, "SecurityGroupInUse")
    fails(await theirs.get(f"{N}/security-groups/{group['id']}"), 404, "SecurityGroupNotFound")
    fails(await new_rule(theirs, group["id"]), 404, "SecurityGroupNotFound")
    fails(await theirs.delete(f"{N}/security-groups/{group['id']}"), 404, "SecurityGroupNotFound")
    rule = group["security_group_rules"][0]["id"]
    fails(await theirs.delete(f"{N}/security-group-rules/{rule}"), 404, "SecurityGroupRuleNotFound")
    ok(await mine.put(f"{N}/ports/{port['id']}", {"port": {"security_groups": []}}), 200)
    assert (await mine.delete(f"{N}/security-groups/{group['id']}")).status == 204


async def test_remote_groups_become_their_members_addresses(cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    from tests.neutron.test_wiring import active, bound_port

    network = await make_network(admin)
    clients, servers = await new_group(admin, "clients"), await new_group(admin, "servers")
    ok(await new_rule(admin, servers["id"], protocol="tcp", port_range_min=80, port_range_max=80,
                      remote_group_id=clients["id"]))
    block = ok(await admin.post(f"{N}/address-groups", {"address_group": {"name": "a", "addresses": ["192.0.2.0/28"]}}))
    ok(await new_rule(admin, servers["id"], protocol="tcp", port_range_min=81, port_range_max=81,
                      remote_address_group_id=block["id"]))
    fails(await admin.delete(f"{N}/address-groups/{block['id']}"), 409, "AddressGroupInUse")
    server = await bound_port(admin, nova, network["id"], security_groups=[servers["id"]])
    await active(admin, server["id"])

    def cidrs(port: int) -> list[str]:
        assert cloud.host is not None
        wished = next(p for p in cloud.host.wish(network["id"]).ports if p.port_id == server["id"])
        return next(rule.remote_cidrs or [] for rule in wished.rules if rule.port_range_min == port)

    assert cidrs(80) == [] and cidrs(81) == ["192.0.2.0/28"]
    member = await make_port(admin, network["id"], security_groups=[clients["id"]],
                             allowed_address_pairs=[{"ip_address": "10.7.0.0/24"}])
    address = member["fixed_ips"][0]["ip_address"]
    await until(lambda: sorted(cidrs(80)) == sorted([f"{address}/32", "10.7.0.0/24"]), 2.0)
    changed = ok(await admin.put(f"{N}/address-groups/{block['id']}/add_addresses",
                                 {"addresses": ["198.51.100.1"]}), 200)
    assert changed["addresses"] == ["192.0.2.0/28", "198.51.100.1/32"]
    await until(lambda: len(cidrs(81)) == 2, 2.0)
    fails(await admin.put(f"{N}/address-groups/{block['id']}/remove_addresses", {"addresses": ["10.0.0.0/8"]}), 404,
          "AddressesNotFound")


async def test_new_groups_begin_with_the_administrators_rules(cloud: NeutronCloud, admin: Client) -> None:
    path = f"{N}/default-security-group-rules"
    first = ok(await admin.get(path), 200)
    assert sorted((r["direction"], r["ethertype"], r["remote_group_id"], r["used_in_default_sg"],
                   r["used_in_non_default_sg"]) for r in first) == [
        ("egress", "IPv4", None, True, True), ("egress", "IPv6", None, True, True),
        ("ingress", "IPv4", "PARENT", True, False), ("ingress", "IPv6", "PARENT", True, False)]

    def wish(**more: Any) -> dict[str, Any]:
        return {"default_security_group_rule": {"direction": "ingress", "protocol": "tcp", "port_range_min": 22,
                                                "port_range_max": 22, **more}}

    shell = ok(await admin.post(path, wish(description="shell")))
    assert (shell["used_in_default_sg"], shell["used_in_non_default_sg"]) == (False, True)
    fails(await admin.post(path, wish()), 409, "DefaultSecurityGroupRuleExists")
    ok(await admin.post(path, wish(used_in_default_sg=True, used_in_non_default_sg=False)))
    assert (await admin.post(path, wish(port_range_min=23))).status == 400
    assert (await admin.post(path, wish(remote_group_id="me"))).status == 400
    missing = "11111111-1111-4111-8111-111111111111"
    fails(await admin.post(path, wish(remote_group_id=missing)), 404, "SecurityGroupNotFound")
    fails(await admin.post(path, wish(remote_address_group_id=missing)), 404, "AddressGroupNotFound")
    assert (await admin.put(f"{path}/{shell['id']}", wish())).status == 405
    for rule in first:
        if rule["ethertype"] == "IPv6":
            assert (await admin.delete(f"{path}/{rule['id']}")).status == 204
    fails(await admin.get(f"{path}/{missing}"), 404, "DefaultSecurityGroupRuleNotFound")
    assert len(ok(await admin.get(f"{path}?remote_group_id=PARENT"), 200)) == 1

    member = await cloud.new_project("fresh")
    fails(await member.post(path, wish(protocol="udp")), 403, "PolicyNotAuthorized")
    fails(await member.delete(f"{path}/{shell['id']}"), 403, "PolicyNotAuthorized")
    assert len(ok(await member.get(path), 200)) == 4
    own, = ok(await member.get(f"{N}/security-groups"), 200)
    assert {(r["direction"], r["protocol"], r["remote_group_id"]) for r in own["security_group_rules"]} == {
        ("egress", None, None), ("ingress", None, own["id"]), ("ingress", "tcp", None)}
    group = ok(await member.post(f"{N}/security-groups", {"security_group": {"name": "web"}}))
    assert {(r["direction"], r["protocol"]) for r in group["security_group_rules"]} == {
        ("egress", None), ("ingress", "tcp")}


async def test_new_groups_are_stateful_as_the_project_has_it(cloud: NeutronCloud, admin: Client) -> None:
    path = f"{N}/security-groups-default-statefulness"
    name = "security_groups_default_statefulness"
    manager, other = await cloud.new_project("m", roles=["manager"]), await cloud.new_project("o")

    async def group(client: Client, **more: Any) -> bool:
        made = ok(await client.post(f"{N}/security-groups", {"security_group": {"name": "g", **more}}))
        return bool(made["stateful"])

    assert await group(manager)
    own = (await manager.post(path, {name: {"stateful": False}})).json()[name]
    assert own["project_id"] == manager.project_id
    fails(await manager.post(path, {name: {"stateful": True}}), 409, "SecurityGroupDefaultStatefulnessAlreadyExists")
    fails(await other.post(path, {name: {"stateful": False}}), 403, "PolicyNotAuthorized")
    assert (await other.get(f"{path}/{own['id']}")).status == 404
    assert not await group(manager) and await group(manager, stateful=True) and await group(other)
    everybody = (await admin.post(path, {name: {"stateful": False}})).json()[name]
    assert everybody["project_id"] is None and not await group(other)
    assert (await manager.put(f"{path}/{own['id']}", {name: {"stateful": True}})).status == 200
    assert await group(manager)
    assert (await manager.delete(f"{path}/{everybody['id']}")).status == 404
    assert (await manager.delete(f"{path}/{own['id']}")).status == 204
    assert not await group(manager)
