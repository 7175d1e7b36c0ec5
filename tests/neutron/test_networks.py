"""Networks and subnets as a client sees them."""

from __future__ import annotations

from typing import Any

from tests.neutron.conftest import N, NeutronCloud, fails, make_network, make_port, ok
from tests.support.cloud import Client

NOBODY = "5a5d2864-06df-49f4-b0cd-456f1cdbe6cb"


async def test_a_new_network_has_upstreams_defaults(admin: Client) -> None:
    network = ok(await admin.post(f"{N}/networks", {"network": {"name": "n"}}))
    shown = ok(await admin.get(f"{N}/networks/{network['id']}"), 200)
    assert shown == network
    assert {k: network[k] for k in ("mtu", "status", "shared", "router:external", "port_security_enabled", "subnets",
                                    "provider:network_type", "revision_number", "project_id", "tenant_id")} == {
        "mtu": 1450, "status": "ACTIVE", "shared": False, "router:external": False, "port_security_enabled": True,
        "subnets": [], "provider:network_type": "vxlan", "revision_number": 1, "project_id": admin.project_id,
        "tenant_id": admin.project_id}
    assert 1 <= network["provider:segmentation_id"] < 65536


BAD_NETWORKS: list[Any] = [
    ({}, "HTTPBadRequest", "Unable to find 'network'"),
    ({"network": []}, "HTTPBadRequest", "contains invalid data"),
    ({"network": {"name": 5}}, "HTTPBadRequest", "Invalid input for name. Reason: '5' is not a valid string."),
    ({"network": {"name": "x" * 256}}, "HTTPBadRequest", "exceeds maximum length of 255"),
    ({"network": {"name": "a\0b"}}, "HTTPBadRequest", "not a valid string"),
    ({"network": {"bogus": 1}}, "HTTPBadRequest", "Unrecognized attribute(s) 'bogus'"),
    ({"network": {"id": "x"}}, "HTTPBadRequest", "Attribute 'id' not allowed in POST"),
    ({"network": {"admin_state_up": "maybe"}}, "InvalidInput", "cannot be converted to boolean"),
    ({"network": {"mtu": 9000}}, "InvalidInput", "Requested MTU is too big, maximum is 1450"),
    ({"network": {"provider:network_type": "bogus"}}, "InvalidInput", "network_type value 'bogus' not supported"),
    ({"network": {"provider:segmentation_id": 5}}, "InvalidInput", "network_type required"),
    ({"networks": []}, "HTTPBadRequest", "Resources required"),
    ({"network": {"project_id": "a", "tenant_id": "b"}}, "HTTPBadRequest", "do not match"),
    ([], "HTTPBadRequest", "Unable to find 'network'")]


async def test_bad_networks(admin: Client) -> None:
    for body, kind, words in BAD_NETWORKS:
        assert words in fails(await admin.post(f"{N}/networks", body), 400, kind), body


async def test_hostile_json(admin: Client) -> None:
    for raw in (b'{"network"', b"[" * 200_000, b"\xff", b'{"network": {"name": "\\ud800"}}', b""):
        answer = await admin.request("POST", f"{N}/networks", body=raw)
        assert answer.status in (400, 413), (raw[:20], answer.status)


async def test_bulk_is_all_or_none(admin: Client) -> None:
    made = ok(await admin.post(f"{N}/networks", {"networks": [{"name": "a"}, {"name": "b"}]}))
    assert [network["name"] for network in made] == ["a", "b"]
    fails(await admin.post(f"{N}/networks", {"networks": [
        {"name": "c"}, {"name": "d", "provider:network_type": "flat", "provider:physical_network": "p"},
        {"name": "e", "provider:network_type": "flat", "provider:physical_network": "p"}]}), 409, "FlatNetworkInUse")
    assert len(ok(await admin.get(f"{N}/networks"), 200)) == 2


async def test_lists_filter_sort_and_page(admin: Client) -> None:
    for name in ("c", "a", "b", ""):
        ok(await admin.post(f"{N}/networks", {"network": {"name": name, "admin_state_up": name != "b"}}))

    async def names(query: str) -> list[str]:
        return [n["name"] for n in ok(await admin.get(f"{N}/networks?{query}"), 200)]

    assert await names("sort_key=name") == ["", "a", "b", "c"]
    assert await names("sort_key=name&sort_dir=desc") == ["c", "b", "a", ""]
    assert await names("name=a&name=c&sort_key=name") == ["a", "c"]
    assert await names("name=") == [""]
    assert await names("admin_state_up=False") == ["b"]
    assert await names("shared=True") == []
    assert ok(await admin.get(f"{N}/networks?name=a&fields=name&fields=mtu"), 200) == [{"name": "a", "mtu": 1450}]
    seen, path = [], f"{N}/networks?limit=3&sort_key=name&sort_dir=asc"
    for _ in range(4):
        body = (await admin.get(path)).json()
        seen += [network["name"] for network in body["networks"]]
        following = [link["href"] for link in body.get("networks_links", ()) if link["rel"] == "next"]
        if not following:
            break
        path = following[0].removeprefix("http://127.0.0.1:8080")
    assert seen == ["", "a", "b", "c"]
    before = ok_page(await admin.get(f"{N}/networks?limit=2&sort_key=name&sort_dir=asc&page_reverse=True"))
    assert before == ["b", "c"]


def ok_page(answer: Any) -> list[str]:
    assert answer.status == 200
    return [network["name"] for network in answer.json()["networks"]]


BAD_LISTS: list[Any] = [
    ("bogus=1", "HTTPBadRequest"), ("limit=-1", "BadRequest"), ("limit=x", "BadRequest"),
    ("sort_key=bogus", "HTTPBadRequest"), ("sort_key=name&sort_dir=up", "HTTPBadRequest"),
    ("shared=maybe", "InvalidInput"), ("name=%00", "HTTPBadRequest")]


async def test_bad_lists(admin: Client) -> None:
    for query, kind in BAD_LISTS:
        fails(await admin.get(f"{N}/networks?{query}"), 400, kind)


async def test_a_lost_marker_is_not_found(admin: Client) -> None:
    fails(await admin.get(f"{N}/networks?limit=1&marker={NOBODY}"), 404, "NetworkNotFound")


async def test_revisions_guard_changes(admin: Client) -> None:
    network = await make_network(admin, None)
    path = f"{N}/networks/{network['id']}"
    changed = ok(await admin.put(path, {"network": {"name": "x"}}, headers={"If-Match": "revision_number=1"}), 200)
    assert changed["revision_number"] == 2 and changed["name"] == "x"
    fails(await admin.put(path, {"network": {"name": "y"}}, headers={"If-Match": "revision_number=1"}), 412,
          "RevisionNumberConstraintFailed")
    assert (await admin.delete(path, headers={"If-Match": "revision_number=2"})).status == 204


async def test_projects_do_not_see_one_another(cloud: NeutronCloud, admin: Client) -> None:
    mine, theirs = await cloud.new_project("mine"), await cloud.new_project("theirs")
    network = await make_network(mine)
    assert ok(await theirs.get(f"{N}/networks"), 200) == []
    for method, path, body in (
            ("GET", f"networks/{network['id']}", None),
            ("PUT", f"networks/{network['id']}", {"network": {"name": "x"}}),
            ("DELETE", f"networks/{network['id']}", None)):
        fails(await theirs.request(method, f"{N}/{path}", json=body), 404, "NetworkNotFound")
    fails(await theirs.get(f"{N}/subnets/{network['subnet']}"), 404, "SubnetNotFound")
    fails(await theirs.post(f"{N}/ports", {"port": {"network_id": network["id"]}}), 404, "NetworkNotFound")
    fails(await theirs.post(f"{N}/networks", {"network": {"project_id": mine.project_id}}), 400, "HTTPBadRequest")
    seen = ok(await admin.get(f"{N}/networks/{network['id']}"), 200)
    assert "provider:network_type" in seen and "provider:network_type" not in network


async def test_sharing_opens_a_network_and_nothing_more(cloud: NeutronCloud, admin: Client) -> None:
    theirs = await cloud.new_project("theirs")
    network = await make_network(admin, shared=True)
    seen = ok(await theirs.get(f"{N}/networks/{network['id']}"), 200)
    assert seen["shared"] is True
    fails(await theirs.put(f"{N}/networks/{network['id']}", {"network": {"name": "x"}}), 403, "PolicyNotAuthorized")
    fails(await theirs.delete(f"{N}/networks/{network['id']}"), 403, "PolicyNotAuthorized")
    port = await make_port(theirs, network["id"])
    assert port["project_id"] == theirs.project_id
    fails(await theirs.post(f"{N}/ports", {"port": {"network_id": network["id"], "fixed_ips": [
        {"ip_address": "10.1.0.77"}]}}), 403, "PolicyNotAuthorized")
    fails(await admin.put(f"{N}/networks/{network['id']}", {"network": {"shared": False}}), 409,
          "InvalidSharedSetting")
    assert (await theirs.delete(f"{N}/ports/{port['id']}")).status == 204
    ok(await admin.put(f"{N}/networks/{network['id']}", {"network": {"shared": False}}), 200)
    fails(await theirs.get(f"{N}/networks/{network['id']}"), 404, "NetworkNotFound")


PROVIDERS: list[Any] = [{"shared": True}, {"router:external": True},
                                        {"provider:network_type": "vxlan"}]


async def test_members_may_not_make_providers_networks(cloud: NeutronCloud) -> None:
    member = await cloud.new_project("p")
    for attributes in PROVIDERS:
        fails(await member.post(f"{N}/networks", {"network": attributes}), 403, "PolicyNotAuthorized")


async def test_readers_read(cloud: NeutronCloud) -> None:
    reader = await cloud.new_project("r", roles=["reader"])
    assert ok(await reader.get(f"{N}/networks"), 200) == []
    fails(await reader.post(f"{N}/networks", {"network": {}}), 403, "PolicyNotAuthorized")


async def test_an_external_network_is_visible_but_not_to_plug_into(cloud: NeutronCloud, admin: Client) -> None:
    member = await cloud.new_project("p")
    public = await make_network(admin, "203.0.113.0/24", **{
        "router:external": True, "provider:network_type": "flat", "provider:physical_network": "public"})
    assert public["mtu"] == 1500 and public["provider:segmentation_id"] is None
    assert [n["id"] for n in ok(await member.get(f"{N}/networks?router:external=True"), 200)] == [public["id"]]
    (subnet,) = ok(await member.get(f"{N}/subnets?network_id={public['id']}"), 200)
    assert subnet["cidr"] == "203.0.113.0/24"
    fails(await member.post(f"{N}/ports", {"port": {"network_id": public["id"]}}), 403, "PolicyNotAuthorized")


async def test_quotas(cloud: NeutronCloud, admin: Client) -> None:
    member = await cloud.new_project("p")
    limits = ok(await member.get(f"{N}/quotas/{member.project_id}"), 200)
    assert (limits["network"], limits["subnet"], limits["port"], limits["security_group"]) == (100, 100, 500, 10)
    fails(await member.put(f"{N}/quotas/{member.project_id}", {"quota": {"network": 1}}), 403, "PolicyNotAuthorized")
    ok(await admin.put(f"{N}/quotas/{member.project_id}", {"quota": {"network": 1, "port": 0}}), 200)
    network = await make_network(member)
    message = fails(await member.post(f"{N}/networks", {"network": {}}), 409, "OverQuota")
    assert message == "Quota exceeded for resources: ['network']."
    fails(await member.post(f"{N}/ports", {"port": {"network_id": network["id"]}}), 409, "OverQuota")
    details = ok(await admin.get(f"{N}/quotas/{member.project_id}/details"), 200)
    assert details["network"] == {"limit": 1, "used": 1, "reserved": 0}
    fails(await admin.put(f"{N}/quotas/{member.project_id}", {"quota": {"network": 0, "check_limit": True}}), 400,
          "HTTPBadRequest")
    assert (await admin.delete(f"{N}/quotas/{member.project_id}")).status == 204
    assert ok(await admin.get(f"{N}/quotas/{member.project_id}"), 200)["network"] == 100
    assert ok(await admin.get(f"{N}/quotas"), 200) == []


# ---- subnets

async def test_a_new_subnet_has_upstreams_defaults(admin: Client) -> None:
    network = await make_network(admin, None)
    subnet = ok(await admin.post(f"{N}/subnets", {"subnet": {
        "network_id": network["id"], "ip_version": 4, "cidr": "10.9.0.7/24"}}))
    assert (subnet["cidr"], subnet["gateway_ip"], subnet["allocation_pools"], subnet["enable_dhcp"]) == (
        "10.9.0.0/24", "10.9.0.1", [{"start": "10.9.0.2", "end": "10.9.0.254"}], True)
    assert ok(await admin.get(f"{N}/networks/{network['id']}"), 200)["subnets"] == [subnet["id"]]
    assert ok(await admin.get(f"{N}/subnets/{subnet['id']}"), 200) == subnet


BAD_SUBNETS: list[Any] = [
    ({"ip_version": 4}, 400, "BadRequest"),
    ({"cidr": "10.9.0.0/24"}, 400, "HTTPBadRequest"),
    ({"ip_version": 5, "cidr": "10.9.0.0/24"}, 400, "HTTPBadRequest"),
    ({"ip_version": 6, "cidr": "10.9.0.0/24"}, 400, "InvalidInput"),
    ({"ip_version": 4, "cidr": "10.1.0.128/25"}, 400, "InvalidInput"),
    ({"ip_version": 4, "cidr": "nonsense"}, 400, "HTTPBadRequest"),
    ({"ip_version": 4, "cidr": "10.9.0.0/31"}, 400, "InvalidInput"),
    ({"ip_version": 4, "cidr": "224.0.0.0/24"}, 400, "InvalidInput"),
    ({"ip_version": 4, "cidr": "10.9.0.0/24", "gateway_ip": "10.9.0.255"}, 400, "InvalidInput"),
    ({"ip_version": 4, "cidr": "10.9.0.0/24", "gateway_ip": "fd00::1"}, 400, "InvalidInput"),
    ({"ip_version": 4, "cidr": "10.9.0.0/24", "allocation_pools": [{"start": "10.9.0.9", "end": "10.9.0.5"}]}, 400,
     "InvalidAllocationPool"),
    ({"ip_version": 4, "cidr": "10.9.0.0/24", "allocation_pools": [{"start": "10.9.1.9", "end": "10.9.1.10"}]}, 400,
     "OutOfBoundsAllocationPool"),
    ({"ip_version": 4, "cidr": "10.9.0.0/24", "allocation_pools": [{"start": "10.9.0.1", "end": "10.9.0.9"}]}, 409,
     "GatewayConflictWithAllocationPools"),
    ({"ip_version": 4, "cidr": "10.9.0.0/24", "allocation_pools": [
        {"start": "10.9.0.5", "end": "10.9.0.9"}, {"start": "10.9.0.9", "end": "10.9.0.12"}]}, 409,
     "OverlappingAllocationPools"),
    ({"ip_version": 4, "cidr": "10.9.0.0/24", "allocation_pools": [{"start": "10.9.0.5"}]}, 400, "HTTPBadRequest"),
    ({"ip_version": 4, "cidr": "10.9.0.0/24", "dns_nameservers": ["x"]}, 400, "HTTPBadRequest"),
    ({"ip_version": 4, "cidr": "10.9.0.0/24", "dns_nameservers": ["fd00::53"]}, 400, "InvalidInput"),
    ({"ip_version": 4, "cidr": "10.9.0.0/24", "host_routes": [{"destination": "1.0.0.0/8", "nexthop": "x"}]}, 400,
     "HTTPBadRequest"),
    ({"ip_version": 4, "cidr": "10.9.0.0/24", "ipv6_ra_mode": "slaac"}, 400, "InvalidInput"),
    ({"ip_version": 6, "cidr": "fd00:2::/96", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}, 400,
     "InvalidInput"),
    ({"ip_version": 4, "cidr": "10.9.0.0/24", "network_id": NOBODY}, 404, "NetworkNotFound")]


async def test_bad_subnets(admin: Client) -> None:
    network = await make_network(admin)
    for values, status, kind in BAD_SUBNETS:
        fails(await admin.post(f"{N}/subnets", {"subnet": {"network_id": network["id"], **values}}), status, kind)
    assert len(ok(await admin.get(f"{N}/subnets"), 200)) == 1


async def test_changing_a_subnet(admin: Client) -> None:
    network = await make_network(admin)
    path = f"{N}/subnets/{network['subnet']}"
    changed = ok(await admin.put(path, {"subnet": {
        "dns_nameservers": ["192.0.2.53"], "host_routes": [{"destination": "192.0.2.0/24", "nexthop": "10.1.0.9"}],
        "name": "s"}}), 200)
    assert changed["dns_nameservers"] == ["192.0.2.53"] and changed["name"] == "s"
    fails(await admin.put(path, {"subnet": {"cidr": "10.2.0.0/24"}}), 400, "HTTPBadRequest")
    fails(await admin.put(path, {"subnet": {"gateway_ip": "10.1.0.50"}}), 409, "GatewayConflictWithAllocationPools")
    pools = [{"start": "10.1.0.10", "end": "10.1.0.20"}]
    assert ok(await admin.put(path, {"subnet": {"allocation_pools": pools}}), 200)["allocation_pools"] == pools
    assert ok(await admin.put(path, {"subnet": {"gateway_ip": None}}), 200)["gateway_ip"] is None
    assert ok(await admin.put(path, {"subnet": {"enable_dhcp": False}}), 200)["enable_dhcp"] is False


async def test_what_is_in_use_stays(admin: Client) -> None:
    network = await make_network(admin)
    port = await make_port(admin, network["id"])
    fails(await admin.delete(f"{N}/subnets/{network['subnet']}"), 409, "SubnetInUse")
    assert port["id"] in fails(await admin.delete(f"{N}/networks/{network['id']}"), 409, "NetworkInUse")
    assert (await admin.delete(f"{N}/ports/{port['id']}")).status == 204
    assert (await admin.delete(f"{N}/networks/{network['id']}")).status == 204
    fails(await admin.get(f"{N}/subnets/{network['subnet']}"), 404, "SubnetNotFound")
    assert ok(await admin.get(f"{N}/ports"), 200) == []


async def test_availability_and_tags_and_extensions(cloud: NeutronCloud, admin: Client) -> None:
    network = await make_network(admin)
    await make_port(admin, network["id"])
    found, = ok(await admin.get(f"{N}/network-ip-availabilities?network_id={network['id']}"), 200)
    assert found["total_ips"] == 253 and found["used_ips"] >= 1
    path = f"{N}/networks/{network['id']}/tags"
    assert (await admin.put(f"{path}/red")).status == 201
    assert ok(await admin.put(path, {"tags": ["b", "a,c".replace(",", "-"), 'q"uote']}), 200) == ["a-c", "b", 'q"uote']
    fails(await admin.get(f"{path}/red"), 404, "TagNotFound")
    assert (await admin.get(f"{path}/b")).status == 204
    for query, count in (("tags=b", 1), ("tags=b,a-c", 1), ("tags=b,x", 0), ("tags-any=b,x", 1), ("not-tags=b", 0),
                         ("not-tags-any=x", 1), ("tags=q%22uote", 1), ("tags=uote", 0)):
        assert len(ok(await admin.get(f"{N}/networks?{query}"), 200)) == count, query
    aliases = {e["alias"] for e in ok(await admin.get(f"{N}/extensions"), 200)}
    assert {"security-group", "quotas", "binding", "agent", "standard-attr-tag"} <= aliases
    assert ok(await admin.get(f"{N}/extensions/quotas"), 200)["alias"] == "quotas"
    fails(await admin.get(f"{N}/extensions/bogus"), 404, "HTTPNotFound")
    fails(await admin.get(f"{N}/bogus"), 404, "HTTPNotFound")
    assert ok(await admin.get("/networking/"), 200)[0]["id"] == "v2.0"
    zones = ok(await admin.get(f"{N}/availability_zones"), 200)
    assert zones == [{"name": "nova", "resource": resource, "state": "available"} for resource in ("network", "router")]
    stranger = await cloud.anonymous().get(f"{N}/networks")
    assert stranger.status == 401 and stranger.json()["error"]["code"] == 401


async def test_subnets_come_into_a_pool(cloud: NeutronCloud, admin: Client) -> None:
    member = await cloud.new_project("p")
    pool = ok(await member.post(f"{N}/subnetpools", {"subnetpool": {"name": "p", "prefixes": ["10.60.0.0/16"]}}))
    network = await make_network(member, "10.61.0.0/24")
    path = f"{N}/subnetpools/{pool['id']}/onboard_network_subnets"
    answer = await member.put(path, {"network_id": network["id"]})
    assert answer.status == 200 and answer.json() == [{"id": network["subnet"], "cidr": "10.61.0.0/24"}]
    assert ok(await member.get(f"{N}/subnetpools/{pool['id']}"), 200)["prefixes"] == ["10.60.0.0/16", "10.61.0.0/24"]
    assert ok(await member.get(f"{N}/subnets/{network['subnet']}"), 200)["subnetpool_id"] == pool["id"]
    twin = await make_network(member, "10.61.0.128/25")
    fails(await member.put(path, {"network_id": twin["id"]}), 400, "IllegalSubnetPoolPrefixUpdate")
    shared = await make_network(admin, "10.62.0.0/24", shared=True)
    fails(await member.put(path, {"network_id": shared["id"]}), 403, "PolicyNotAuthorized")
    for body in ({}, [], {"network_id": None}, {"network_id": "x"}):
        assert (await member.put(path, body)).status == 400, body
    stranger = await cloud.new_project("q")
    assert (await stranger.put(path, {"network_id": network["id"]})).status == 404
