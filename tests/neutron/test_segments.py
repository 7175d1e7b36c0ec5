"""Segments of networks, as administrators see them."""

from __future__ import annotations

from typing import Any

from tests.neutron.conftest import N, NeutronCloud, fails, ok
from tests.support.cloud import Client


async def _network(client: Client, **more: Any) -> Any:
    return ok(await client.post(f"{N}/networks", {"network": {"name": "n", **more}}))


async def test_each_network_has_the_one_that_carries_it(cloud: NeutronCloud, admin: Client) -> None:
    network = await _network(admin)
    segment, = ok(await admin.get(f"{N}/segments", params={"network_id": network["id"]}), 200)
    assert (segment["network_type"], segment["segmentation_id"]) == ("vxlan", network["provider:segmentation_id"])
    assert segment["name"] is None and segment["physical_network"] is None
    path = f"{N}/segments/{segment['id']}"
    changed = ok(await admin.put(path, {"segment": {"name": "core", "description": "d"}}), 200)
    assert (changed["name"], changed["description"], changed["revision_number"]) == ("core", "d", 2)
    assert [s["id"] for s in ok(await admin.get(f"{N}/segments?name=core"), 200)] == [segment["id"]]
    assert (await admin.put(path, {"segment": {"segmentation_id": 7}})).status == 400
    fails(await admin.delete(path), 409, "SegmentInUse")
    assert (await admin.delete(f"{N}/networks/{network['id']}")).status == 204
    fails(await admin.get(path), 404, "SegmentNotFound")


async def test_further_ones_are_kept_for_their_network(cloud: NeutronCloud, admin: Client) -> None:
    one, other = await _network(admin), await _network(admin)
    wish = {"network_id": one["id"], "network_type": "vlan", "physical_network": "rack", "segmentation_id": 2000,
            "name": "second"}
    made = ok(await admin.post(f"{N}/segments", {"segment": wish}))
    assert {name: made[name] for name in wish} == wish
    fails(await admin.post(f"{N}/segments", {"segment": wish | {"network_id": other["id"]}}), 409, "TunnelIdInUse")
    fails(await admin.post(f"{N}/networks", {"network": {
        "provider:network_type": "vlan", "provider:physical_network": "rack", "provider:segmentation_id": 2000}}), 409,
        "TunnelIdInUse")
    drawn = ok(await admin.post(f"{N}/segments", {"segment": {"network_id": one["id"], "network_type": "vxlan"}}))
    assert drawn["segmentation_id"] not in (None, one["provider:segmentation_id"])
    assert ok(await admin.get(f"{N}/networks/{one['id']}"), 200)["provider:network_type"] == "vxlan"
    assert (await admin.delete(f"{N}/segments/{made['id']}")).status == 204
    fails(await admin.delete(f"{N}/segments/{made['id']}"), 404, "SegmentNotFound")
    again = ok(await admin.post(f"{N}/segments", {"segment": wish | {"network_id": other["id"]}}))
    for network in (one, other):
        assert (await admin.delete(f"{N}/networks/{network['id']}")).status == 204
    fails(await admin.get(f"{N}/segments/{again['id']}"), 404, "SegmentNotFound")
    await _network(admin, **{"provider:network_type": "vlan", "provider:physical_network": "rack",
                             "provider:segmentation_id": 2000})


async def test_bad_ones_and_strangers(cloud: NeutronCloud, admin: Client) -> None:
    network = await _network(admin)
    for wrong in ({"network_type": "vlan", "physical_network": "rack", "segmentation_id": 5000},
                  {"network_type": "flat"}, {"network_type": "token-ring"}, {}, {"network_type": None},
                  {"network_type": "vxlan", "physical_network": "rack"},
                  {"network_type": "vxlan", "segmentation_id": "x"}, {"network_type": "vxlan", "mtu": 1}):
        answer = await admin.post(f"{N}/segments", {"segment": {"network_id": network["id"], **wrong}})
        assert answer.status == 400, wrong
    nowhere = {"network_id": "6a0c1f58-6f2c-4c1c-9d0b-b1a3f0b3b6f1", "network_type": "vxlan"}
    fails(await admin.post(f"{N}/segments", {"segment": nowhere}), 404, "NetworkNotFound")
    segment, = ok(await admin.get(f"{N}/segments", params={"network_id": network["id"]}), 200)
    member = await cloud.new_project("p")
    own = await _network(member)
    assert ok(await member.get(f"{N}/segments"), 200) == []
    assert (await member.get(f"{N}/segments/{segment['id']}")).status == 404
    for answer in (await member.post(f"{N}/segments", {"segment": {"network_id": own["id"], "network_type": "vxlan"}}),
                   await member.put(f"{N}/segments/{segment['id']}", {"segment": {"name": "x"}}),
                   await member.delete(f"{N}/segments/{segment['id']}")):
        assert answer.status == 403


async def test_subnets_may_be_associated_with_one(cloud: NeutronCloud, admin: Client) -> None:
    network, other = await _network(admin), await _network(admin)
    segment, = ok(await admin.get(f"{N}/segments", params={"network_id": network["id"]}), 200)
    foreign, = ok(await admin.get(f"{N}/segments", params={"network_id": other["id"]}), 200)
    second = ok(await admin.post(f"{N}/segments", {"segment": {"network_id": network["id"], "network_type": "vxlan"}}))

    async def make(cidr: str, segment_id: str | None, client: Client = admin, network_id: str = network["id"]) -> Any:
        return await client.post(f"{N}/subnets", {"subnet": {
            "network_id": network_id, "ip_version": 4, "cidr": cidr, "segment_id": segment_id}})

    fails(await make("10.1.0.0/24", foreign["id"]), 400, "NetworkIdsDontMatch")
    fails(await make("10.1.0.0/24", network["id"]), 404, "SegmentNotFound")
    assert (await make("10.1.0.0/24", "x")).status == 400
    subnet = ok(await make("10.1.0.0/24", None))
    assert subnet["segment_id"] is None
    fails(await make("10.2.0.0/24", second["id"]), 400, "SubnetsNotAllAssociatedWithSegments")
    path = f"{N}/subnets/{subnet['id']}"
    changed = ok(await admin.put(path, {"subnet": {"segment_id": segment["id"]}}), 200)
    assert changed["segment_id"] == segment["id"]
    fails(await admin.put(path, {"subnet": {"segment_id": second["id"]}}), 400,
          "SubnetSegmentAssociationChangeNotAllowed")
    fails(await make("10.2.0.0/24", None), 400, "SubnetsNotAllAssociatedWithSegments")
    of_second = ok(await make("10.2.0.0/24", second["id"]))
    found = ok(await admin.get(f"{N}/subnets", params={"segment_id": second["id"]}), 200)
    assert [each["id"] for each in found] == [of_second["id"]]
    fails(await admin.delete(f"{N}/segments/{second['id']}"), 409, "SegmentInUse")
    assert (await admin.delete(f"{N}/subnets/{of_second['id']}")).status == 204
    assert (await admin.delete(f"{N}/segments/{second['id']}")).status == 204

    member = await cloud.new_project("p")
    own = await _network(member)
    its, = ok(await admin.get(f"{N}/segments", params={"network_id": own["id"]}), 200)
    assert (await make("10.1.0.0/24", its["id"], member, own["id"])).status == 403
    plain = await member.post(f"{N}/subnets", {"subnet": {
        "network_id": own["id"], "ip_version": 4, "cidr": "10.1.0.0/24"}})
    assert "segment_id" not in ok(plain)
