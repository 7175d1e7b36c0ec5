"""Trunks and their sub-ports, as records: who may be in one, and what their ports say of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.neutron.conftest import N, NeutronCloud, fails, make_network, make_port, ok
from tests.neutron.test_wiring import bound_port
from tests.support.cloud import Client


def part(port: dict[str, Any], vlan: int) -> dict[str, Any]:
    return {"port_id": port["id"], "segmentation_type": "vlan", "segmentation_id": vlan}


async def make_trunk(user: Client, parent: dict[str, Any], *parts: dict[str, Any], **values: Any) -> dict[str, Any]:
    return ok(await user.post(f"{N}/trunks", {"trunk": {"port_id": parent["id"], "sub_ports": list(parts), **values}}))


async def test_a_trunk_lives_and_its_ports_know(cloud: NeutronCloud, admin: Client) -> None:
    user = await cloud.new_project("trunks")
    network = await make_network(user)
    parent, first, second = [await make_port(user, network["id"]) for _ in range(3)]
    made = await make_trunk(user, parent, part(first, 7), name="t")
    assert (made["status"], made["name"], made["admin_state_up"], made["port_id"]) == ("DOWN", "t", True, parent["id"])
    assert made["sub_ports"] == [part(first, 7)] and made["project_id"] == user.project_id
    path = f"{N}/trunks/{made['id']}"
    changed = (await user.put(f"{path}/add_subports", {"sub_ports": [part(second, 5)]})).json()
    assert changed["sub_ports"] == [part(second, 5), part(first, 7)]
    assert (await user.get(f"{path}/get_subports")).json() == {"sub_ports": [part(second, 5), part(first, 7)]}
    shown = ok(await user.get(f"{N}/ports/{parent['id']}"), 200)["trunk_details"]
    assert shown == {"trunk_id": made["id"], "sub_ports": [
        {**part(second, 5), "mac_address": second["mac_address"]},
        {**part(first, 7), "mac_address": first["mac_address"]}]}
    assert "trunk_details" not in ok(await user.get(f"{N}/ports/{first['id']}"), 200)
    for port, name in ((parent, "PortInUseAsTrunkParent"), (first, "PortInUseAsSubPort")):
        fails(await user.delete(f"{N}/ports/{port['id']}"), 409, name)
    changed = (await user.put(f"{path}/remove_subports", {"sub_ports": [{"port_id": first["id"]}]})).json()
    assert changed["sub_ports"] == [part(second, 5)]
    fails(await user.put(f"{path}/remove_subports", {"sub_ports": [{"port_id": first["id"]}]}), 404, "SubPortNotFound")
    # off, nothing of it changes
    assert ok(await user.put(path, {"trunk": {"admin_state_up": False}}), 200)["admin_state_up"] is False
    fails(await user.put(f"{path}/add_subports", {"sub_ports": [part(first, 8)]}), 409, "TrunkDisabled")
    fails(await user.delete(path), 409, "TrunkDisabled")
    ok(await user.put(path, {"trunk": {"admin_state_up": True, "name": "u"}}), 200)
    # tags, lists
    assert (await user.put(f"{path}/tags", {"tags": ["a"]})).status == 200
    assert [t["id"] for t in ok(await user.get(f"{N}/trunks?tags=a&name=u"), 200)] == [made["id"]]
    assert ok(await user.get(f"{N}/trunks?port_id={first['id']}"), 200) == []
    assert (await user.delete(path)).status == 204
    fails(await user.get(path), 404, "TrunkNotFound")
    for port in (parent, first, second):
        assert (await user.delete(f"{N}/ports/{port['id']}")).status == 204


async def test_who_sees_a_trunk(cloud: NeutronCloud, admin: Client) -> None:
    user, other = await cloud.new_project("seen"), await cloud.new_project("blind")
    network = await make_network(user)
    parent, port = [await make_port(user, network["id"]) for _ in range(2)]
    path = f"{N}/trunks/{(await make_trunk(user, parent))['id']}"
    for method, where in (("GET", ""), ("DELETE", ""), ("GET", "/get_subports"), ("PUT", "/add_subports")):
        body = {"sub_ports": [part(port, 1)]} if method == "PUT" else None
        fails(await other.request(method, path + where, json=body), 404, "TrunkNotFound")
    assert ok(await other.get(f"{N}/trunks"), 200) == []
    assert ok(await admin.get(path), 200)["port_id"] == parent["id"]
    # a stranger's port is none to him
    foreign = await make_port(other, (await make_network(other))["id"])
    fails(await user.put(f"{path}/add_subports", {"sub_ports": [part(foreign, 1)]}), 404, "PortNotFound")


async def test_ports_that_cannot_be_in_a_trunk(cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    parent, first, second = [await make_port(admin, network["id"]) for _ in range(3)]
    trunk = await make_trunk(admin, parent, part(first, 1))
    add = f"{N}/trunks/{trunk['id']}/add_subports"
    taken = await bound_port(admin, nova, network["id"])
    for body, name in ((parent, "ParentPortInUse"), (first, "TrunkPortInUse"), (taken, "ParentPortInUse")):
        fails(await admin.post(f"{N}/trunks", {"trunk": {"port_id": body["id"]}}), 409, name)
    for one, name in ((part(first, 2), "TrunkPortInUse"), (part(parent, 2), "ParentPortInUse"),
                      (part(second, 1), "DuplicateSubPort"), (part(taken, 2), "PortInUse")):
        fails(await admin.put(add, {"sub_ports": [one]}), 409, name)
    assert ok(await admin.get(f"{N}/trunks/{trunk['id']}"), 200)["sub_ports"] == [part(first, 1)]


@pytest.mark.parametrize("parts", [
    5, [5], [{}], [{"port_id": "x"}], [{"segmentation_id": 0}], [{"segmentation_id": 4095}], [{"segmentation_id": "x"}],
    [{"segmentation_type": "gre"}], [{"segmentation_type": "inherit"}], [{"segmentation_type": None}], [{"colour": 1}],
    [{"segmentation_id": None}]])
async def test_bad_sub_ports(cloud: NeutronCloud, admin: Client, parts: Any) -> None:
    network = await make_network(admin)
    parent, port = [await make_port(admin, network["id"]) for _ in range(2)]
    if isinstance(parts, list) and parts and isinstance(parts[0], dict) and parts[0]:
        parts = [{**part(port, 1), **parts[0]}]
    answer = await admin.post(f"{N}/trunks", {"trunk": {"port_id": parent["id"], "sub_ports": parts}})
    assert answer.status == 400, answer.body
    assert ok(await admin.get(f"{N}/trunks?port_id={parent['id']}"), 200) == []
