"""QoS policies and their rules, who may use them, and what hosts are told to do about them."""

from __future__ import annotations

from typing import Any

from cloudseed.host.records import BandwidthWish, PacketRateWish, QosWish
from tests.neutron.conftest import N, NeutronCloud, fails, make_network, make_port, ok, until
from tests.neutron.test_router_wiring import _whole
from tests.neutron.test_wiring import active, bound_port
from tests.support.cloud import Client

Q = f"{N}/qos/policies"


async def make_policy(client: Client, **attributes: Any) -> Any:
    return ok(await client.post(Q, {"policy": {"name": "gold", **attributes}}))


async def make_rule(client: Client, policy: Any, kind: str, **attributes: Any) -> Any:
    return ok(await client.post(f"{Q}/{policy['id']}/{kind}_rules", {f"{kind}_rule": attributes}))


async def test_policies_and_rules(admin: Client) -> None:
    policy = await make_policy(admin, description="fast")
    assert (policy["shared"], policy["is_default"], policy["rules"], policy["project_id"]) == (
        False, False, [], admin.project_id)
    limit = await make_rule(admin, policy, "bandwidth_limit", max_kbps=1000)
    assert limit == {"id": limit["id"], "max_kbps": 1000, "max_burst_kbps": 0, "direction": "egress"}
    mark = await make_rule(admin, policy, "dscp_marking", dscp_mark=26)
    assert mark == {"id": mark["id"], "dscp_mark": 26}
    path = f"{Q}/{policy['id']}/bandwidth_limit_rules"
    fails(await admin.post(path, {"bandwidth_limit_rule": {"max_kbps": 5}}), 409, "QoSRulesConflict")
    await make_rule(admin, policy, "bandwidth_limit", max_kbps=7, direction="ingress")
    changed = ok(await admin.put(f"{path}/{limit['id']}", {"bandwidth_limit_rule": {"max_kbps": 2000,
                                                                                   "max_burst_kbps": 100}}), 200)
    assert (changed["max_kbps"], changed["max_burst_kbps"]) == (2000, 100)
    fails(await admin.put(f"{path}/{limit['id']}", {"bandwidth_limit_rule": {"direction": "ingress"}}), 409,
          "QoSRulesConflict")
    assert ok(await admin.get(f"{path}/{limit['id']}"), 200) == changed
    assert [r["id"] for r in ok(await admin.get(f"{path}?max_kbps=2000"), 200)] == [limit["id"]]
    least = f"{Q}/{policy['id']}/minimum_bandwidth_rules"
    fails(await admin.post(least, {"minimum_bandwidth_rule": {"min_kbps": 3000}}), 409, "QoSRuleParameterConflict")
    shown = ok(await admin.get(f"{Q}/{policy['id']}"), 200)
    assert sorted((r["type"], r["qos_policy_id"] == policy["id"]) for r in shown["rules"]) == [
        ("bandwidth_limit", True), ("bandwidth_limit", True), ("dscp_marking", True)]
    assert shown["revision_number"] > policy["revision_number"]
    alias = f"{N}/qos/alias_bandwidth_limit_rules/{limit['id']}"
    assert ok(await admin.get(alias), 200) == changed
    assert ok(await admin.put(alias, {"alias_bandwidth_limit_rule": {"max_kbps": 1}}), 200)["max_kbps"] == 1
    assert (await admin.delete(alias)).status == 204
    fails(await admin.get(f"{path}/{limit['id']}"), 404, "QosRuleNotFound")
    fails(await admin.get(f"{path}/{mark['id']}"), 404, "QosRuleNotFound")
    assert ok(await admin.put(f"{Q}/{policy['id']}", {"policy": {"name": "silver"}}), 200)["name"] == "silver"
    assert [p["id"] for p in ok(await admin.get(f"{Q}?name=silver&shared=False"), 200)] == [policy["id"]]
    assert (await admin.put(f"{Q}/{policy['id']}/tags/red")).status == 201
    assert ok(await admin.get(f"{Q}/{policy['id']}"), 200)["tags"] == ["red"]
    assert (await admin.delete(f"{Q}/{policy['id']}")).status == 204
    fails(await admin.get(f"{Q}/{policy['id']}"), 404, "QosPolicyNotFound")


async def test_bad_input_is_refused(admin: Client) -> None:
    policy = await make_policy(admin)
    for kind, attributes in (
            ("bandwidth_limit", {}), ("bandwidth_limit", {"max_kbps": -1}), ("bandwidth_limit", {"max_kbps": 2**31}),
            ("bandwidth_limit", {"max_kbps": "x"}), ("bandwidth_limit", {"max_kbps": 1, "direction": "up"}),
            ("bandwidth_limit", {"max_kbps": 1, "dscp_mark": 8}), ("dscp_marking", {"dscp_mark": 3}),
            ("dscp_marking", {"dscp_mark": None}), ("minimum_bandwidth", {"min_kbps": []}),
            ("packet_rate_limit", {"max_kpps": 1, "max_burst_kpps": -5})):
        answer = await admin.post(f"{Q}/{policy['id']}/{kind}_rules", {f"{kind}_rule": attributes})
        assert answer.status == 400, (kind, attributes, answer.body)
    for body in ({}, [], {"policy": 3}, {"policy": {"rules": []}}, {"policy": {"name": "x" * 256}}):
        assert (await admin.post(Q, body)).status == 400, body
    fails(await admin.post(f"{Q}/nothing/dscp_marking_rules", {"dscp_marking_rule": {"dscp_mark": 8}}), 404,
          "QosPolicyNotFound")
    unknown = {"qos_policy_id": "11111111-1111-4111-8111-111111111111"}
    network = await make_network(admin)
    for answer in (await admin.post(f"{N}/networks", {"network": unknown}),
                   await admin.put(f"{N}/networks/{network['id']}", {"network": unknown}),
                   await admin.post(f"{N}/ports", {"port": {"network_id": network["id"], **unknown}})):
        fails(answer, 404, "QosPolicyNotFound")
    assert (await admin.post(f"{N}/networks", {"network": {"qos_policy_id": "x"}})).status == 400


async def test_types_are_told(admin: Client, cloud: NeutronCloud) -> None:
    reader = await cloud.new_project("r", roles=["reader"])
    types = [t["type"] for t in ok(await reader.get(f"{N}/qos/rule-types"), 200)]
    assert types == ["bandwidth_limit", "dscp_marking", "packet_rate_limit"]
    every = [t["type"] for t in ok(await reader.get(f"{N}/qos/rule-types?all_rules=true"), 200)]
    assert set(every) - set(types) == {"minimum_bandwidth"}
    details = ok(await admin.get(f"{N}/qos/rule-types/bandwidth_limit"), 200)
    assert [p["parameter_name"] for p in details["drivers"][0]["supported_parameters"]] == [
        "max_kbps", "max_burst_kbps", "direction"]
    assert (await admin.get(f"{N}/qos/rule-types/magic")).status == 404


async def test_who_may_what(cloud: NeutronCloud, admin: Client) -> None:
    member, other = await cloud.new_project("m", roles=["member"]), await cloud.new_project("o", roles=["manager"])
    fails(await member.post(Q, {"policy": {"name": "mine"}}), 403, "PolicyNotAuthorized")
    policy = await make_policy(admin)
    rule = await make_rule(admin, policy, "bandwidth_limit", max_kbps=10)
    network = await make_network(member)
    own = f"{N}/networks/{network['id']}"
    assert (await member.get(f"{Q}/{policy['id']}")).status == 404
    fails(await member.put(own, {"network": {"qos_policy_id": policy["id"]}}), 404, "QosPolicyNotFound")
    # an administrator's limit is not the member's to lift
    ok(await admin.put(own, {"network": {"qos_policy_id": policy["id"]}}), 200)
    fails(await member.put(own, {"network": {"qos_policy_id": None}}), 403, "PolicyRemoveAuthorizationError")
    assert ok(await member.get(own), 200)["qos_policy_id"] == policy["id"]
    ok(await admin.put(f"{Q}/{policy['id']}", {"policy": {"shared": True}}), 200)
    assert ok(await member.get(f"{Q}/{policy['id']}"), 200)["shared"] is True
    fails(await member.put(f"{Q}/{policy['id']}", {"policy": {"name": "x"}}), 403, "PolicyNotAuthorized")
    path = f"{Q}/{policy['id']}/bandwidth_limit_rules/{rule['id']}"
    fails(await member.put(path, {"bandwidth_limit_rule": {"max_kbps": 0}}), 403, "PolicyNotAuthorized")
    fails(await member.delete(path), 403, "PolicyNotAuthorized")
    fails(await admin.put(f"{Q}/{policy['id']}", {"policy": {"shared": False}}), 409, "RbacPolicyInUse")
    fails(await admin.delete(f"{Q}/{policy['id']}"), 409, "QosPolicyInUse")
    ok(await member.put(own, {"network": {"qos_policy_id": None}}), 200)
    ok(await admin.put(f"{Q}/{policy['id']}", {"policy": {"shared": False}}), 200)
    # one project alone
    ok(await admin.post(f"{N}/rbac-policies", {"rbac_policy": {
        "object_type": "qos_policy", "object_id": policy["id"], "action": "access_as_shared",
        "target_tenant": member.project_id}}))
    ok(await member.put(own, {"network": {"qos_policy_id": policy["id"]}}), 200)
    sharing, = ok(await admin.get(f"{N}/rbac-policies?object_type=qos_policy"), 200)
    fails(await admin.delete(f"{N}/rbac-policies/{sharing['id']}"), 409, "RbacPolicyInUse")
    # managers make their own, and share them with nobody
    mine = await make_policy(other)
    await make_rule(other, mine, "dscp_marking", dscp_mark=8)
    fails(await other.post(Q, {"policy": {"shared": True}}), 403, "PolicyNotAuthorized")


async def test_new_networks_get_the_projects_default(admin: Client) -> None:
    policy = await make_policy(admin, is_default=True)
    fails(await admin.post(Q, {"policy": {"is_default": True}}), 409, "QoSPolicyDefaultAlreadyExists")
    assert (await make_network(admin))["qos_policy_id"] == policy["id"]
    assert [p["id"] for p in ok(await admin.get(f"{Q}?is_default=true"), 200)] == [policy["id"]]
    ok(await admin.put(f"{Q}/{policy['id']}", {"policy": {"is_default": False}}), 200)
    assert (await make_network(admin, None))["qos_policy_id"] is None


async def test_what_cannot_be_guaranteed_cannot_be_used(admin: Client) -> None:
    network = await make_network(admin)
    port = await make_port(admin, network["id"])
    promise, used = await make_policy(admin), await make_policy(admin)
    await make_rule(admin, promise, "minimum_bandwidth", min_kbps=1000)
    wish = {"qos_policy_id": promise["id"]}
    fails(await admin.put(f"{N}/networks/{network['id']}", {"network": wish}), 409, "QosRuleNotSupportedByNetwork")
    fails(await admin.put(f"{N}/ports/{port['id']}", {"port": wish}), 409, "QosRuleNotSupported")
    ok(await admin.put(f"{N}/ports/{port['id']}", {"port": {"qos_policy_id": used["id"]}}), 200)
    fails(await admin.post(f"{Q}/{used['id']}/minimum_bandwidth_rules", {"minimum_bandwidth_rule": {"min_kbps": 1}}),
          409, "QosRuleNotSupported")


async def test_hosts_are_told_and_follow(cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    policy, other = await make_policy(admin), await make_policy(admin)
    network = await make_network(admin, qos_policy_id=policy["id"])
    assert network["qos_policy_id"] == policy["id"]
    port = await bound_port(admin, nova, network["id"])
    await active(admin, port["id"])
    host = cloud.host
    assert host is not None

    def qos() -> QosWish | None:
        return next(p.qos for p in host.wish(network["id"]).ports if p.port_id == port["id"])

    assert qos() is None
    rule = await make_rule(admin, policy, "bandwidth_limit", max_kbps=500, max_burst_kbps=50)
    await until(lambda: qos() == QosWish(egress=BandwidthWish(kbps=500, burst_kbit=50)))
    await make_rule(admin, other, "packet_rate_limit", max_kpps=2, direction="ingress")
    await make_rule(admin, other, "dscp_marking", dscp_mark=46)
    shown = ok(await admin.put(f"{N}/ports/{port['id']}", {"port": {"qos_policy_id": other["id"]}}), 200)
    assert shown["qos_policy_id"] == other["id"]
    await until(lambda: qos() == QosWish(ingress_packets=PacketRateWish(pps=2000), dscp_mark=46))
    ok(await admin.put(f"{N}/ports/{port['id']}", {"port": {"qos_policy_id": None}}), 200)
    await until(lambda: (found := qos()) is not None and found.egress is not None)
    assert (await admin.delete(f"{Q}/{policy['id']}/bandwidth_limit_rules/{rule['id']}")).status == 204
    await until(lambda: qos() in (None, QosWish()))
    assert [p["id"] for p in ok(await admin.get(f"{N}/networks?qos_policy_id={policy['id']}"), 200)] == [network["id"]]


async def test_floating_addresses_are_limited(cloud: NeutronCloud, admin: Client) -> None:
    member = await cloud.new_project("p")
    made = await _whole(admin, member)
    assert cloud.host is not None
    host, router_id = cloud.host, made["router"]["id"]
    policy = await make_policy(admin, shared=True)
    await make_rule(admin, policy, "bandwidth_limit", max_kbps=800, direction="ingress")
    path = f"{N}/floatingips/{made['fip']['id']}"
    assert ok(await member.put(path, {"floatingip": {"qos_policy_id": policy["id"]}}), 200)["qos_policy_id"]
    await until(lambda: router_id in host.routers and [f.ingress for f in host.routers[router_id].floating] == [
        BandwidthWish(kbps=800)])
    assert ok(await member.get(path), 200)["port_id"] == made["port"]["id"]
    fails(await admin.post(f"{Q}/{policy['id']}/dscp_marking_rules", {"dscp_marking_rule": {"dscp_mark": 8}}), 400,
          "BadRequest")
    ok(await member.put(path, {"floatingip": {"qos_policy_id": None}}), 200)
    await until(lambda: [f.ingress for f in host.routers[router_id].floating] == [None])
