"""Neutron's security groups under nova's old URLs, and on servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.nova.api.cloud import Json, NovaCloud, message, nova
from tests.support.cloud import Answer, Client

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOBODY = "11111111-1111-1111-1111-111111111111"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def user(cloud: NovaCloud) -> AsyncIterator[Client]:
    yield await cloud.new_project("groups")


async def old(client: Client, method: str, path: str, json: Any = None) -> Answer:
    return await nova(client, method, path, json, version="2.35")


async def new_group(user: Client, name: str) -> Json:
    made = await old(user, "POST", "/os-security-groups", {"security_group": {"name": name, "description": "d"}})
    assert made.status == 200, made.body
    group: Json = made.json()["security_group"]
    return group


def rule(group: Json, **values: Any) -> Json:
    return {"security_group_rule": {"parent_group_id": group["id"], "ip_protocol": "tcp", "from_port": 22,
                                    "to_port": 22, **values}}


async def test_groups(user: Client) -> None:
    group = await new_group(user, " web ")
    assert group == {"id": group["id"], "name": " web ", "description": "d", "tenant_id": user.project_id, "rules": []}
    path = f"/os-security-groups/{group['id']}"
    assert (await old(user, "GET", path)).json() == {"security_group": group}
    changed = await old(user, "PUT", path, {"security_group": {"name": "www", "description": "e"}})
    assert changed.json()["security_group"] == {**group, "name": "www", "description": "e"}
    listed = (await old(user, "GET", "/os-security-groups")).json()["security_groups"]
    assert [g["name"] for g in listed] == ["default", "www"]
    assert [g["name"] for g in (await old(user, "GET", "/os-security-groups?offset=1&limit=5")).json()[
        "security_groups"]] == ["www"]
    default = listed[0]
    assert default["rules"][0]["group"] == {"name": "default", "tenant_id": user.project_id}
    assert (await old(user, "DELETE", path)).status == 202
    assert (await old(user, "DELETE", path)).status == 404
    assert (await old(user, "DELETE", f"/os-security-groups/{default['id']}")).status == 400
    assert (await nova(user, "GET", "/os-security-groups", version="2.36")).status == 404


async def test_rules(user: Client) -> None:
    group = await new_group(user, "rules")
    made = await old(user, "POST", "/os-security-group-rules", rule(group, cidr="10.0.0.1/8"))
    ssh = made.json()["security_group_rule"]
    assert ssh == {"id": ssh["id"], "parent_group_id": group["id"], "ip_protocol": "tcp", "from_port": 22,
                   "to_port": 22, "group": {}, "ip_range": {"cidr": "10.0.0.1/8"}}
    again = await old(user, "POST", "/os-security-group-rules", rule(group, cidr="10.0.0.0/8"))
    assert (again.status, message(again)) == (400, f"This rule already exists in group {group['id']}")
    ping = rule(group, ip_protocol="icmp", from_port=-1, to_port=-1)
    pinged = (await old(user, "POST", "/os-security-group-rules", ping)).json()["security_group_rule"]
    assert (pinged["from_port"], pinged["to_port"], pinged["ip_range"]) == (-1, -1, {"cidr": "0.0.0.0/0"})
    friends = (await old(user, "POST", "/os-security-group-rules", rule(group, group_id=group["id"]))).json()
    assert friends["security_group_rule"]["group"] == {"name": "rules", "tenant_id": user.project_id}
    assert friends["security_group_rule"]["ip_range"] == {}
    shown = (await old(user, "GET", f"/os-security-groups/{group['id']}")).json()["security_group"]
    assert {r["id"] for r in shown["rules"]} == {ssh["id"], pinged["id"], friends["security_group_rule"]["id"]}
    assert (await old(user, "DELETE", f"/os-security-group-rules/{ssh['id']}")).status == 202
    assert (await old(user, "DELETE", f"/os-security-group-rules/{ssh['id']}")).status == 404


@pytest.mark.parametrize("values,reason", [
    ({"from_port": 90, "to_port": 80}, "Invalid port range 90:80."), ({"from_port": -2}, "Invalid port range -2:22."),
    ({"to_port": 80000}, "Invalid port range 22:80000."), ({"from_port": "x"}, "must be integers"),
    ({"ip_protocol": "foo"}, "Invalid IP protocol foo."), ({"to_port": None}, "Not enough parameters"),
    ({"cidr": "10/33"}, "10/33 is not a valid IP network."), ({"group_id": "nope"}, "'nope' is not a 'uuid'"),
    ({"parent_group_id": "nope"}, "'nope' is not a 'uuid'"), ({"ip_protocol": 5}, "ip_protocol")])
async def test_bad_rules_say_why(user: Client, values: Json, reason: str) -> None:
    answer = await old(user, "POST", "/os-security-group-rules", rule({"id": NOBODY}, **values))
    assert answer.status == 400 and reason in message(answer), answer.body


async def test_what_is_not_there(user: Client, cloud: NovaCloud) -> None:
    stranger = await cloud.new_project("strangers-groups")
    group = await new_group(user, "mine")
    for client, group_id in ((user, NOBODY), (stranger, group["id"])):
        path = f"/os-security-groups/{group_id}"
        assert (await old(client, "GET", path)).status == 404
        assert (await old(client, "DELETE", path)).status == 404
        body = {"security_group": {"name": "a", "description": "b"}}
        assert (await old(client, "PUT", path, body)).status == 404
        assert (await old(client, "POST", "/os-security-group-rules", rule({"id": group_id}))).status == 404
    for path in ("/os-security-groups/nope", "/os-security-group-rules/nope"):
        assert (await old(user, "DELETE", path)).status == 400
    for bad in ({"name": "a"}, {"name": 5, "description": "d"}, {"name": "x" * 256, "description": "d"},
                {"name": "a\0", "description": "d"}):
        assert (await old(user, "POST", "/os-security-groups", {"security_group": bad})).status == 400, bad


async def test_groups_of_a_server(user: Client, cloud: NovaCloud) -> None:
    group, server = await new_group(user, "worn"), await cloud.boot(user, name="wearer")
    action, worn = f"/servers/{server['id']}/action", f"/servers/{server['id']}/os-security-groups"
    assert (await nova(user, "POST", action, {"addSecurityGroup": {"name": "worn"}})).status == 202
    assert sorted(g["name"] for g in (await nova(user, "GET", worn)).json()["security_groups"]) == ["default", "worn"]
    used = await old(user, "DELETE", f"/os-security-groups/{group['id']}")
    assert used.status == 400 and "in use" in message(used)
    assert (await nova(user, "POST", action, {"removeSecurityGroup": {"name": group["id"]}})).status == 202
    assert [g["name"] for g in (await nova(user, "GET", worn)).json()["security_groups"]] == ["default"]
    for name, status in (("worn", 404), ("nothing", 404), ("", 400), (5, 400)):
        answer = await nova(user, "POST", action, {"removeSecurityGroup": {"name": name}})
        assert answer.status == status, (name, answer.body)
    await new_group(user, "worn")
    assert (await nova(user, "POST", action, {"addSecurityGroup": {"name": "worn"}})).status == 409
