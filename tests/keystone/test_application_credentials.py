"""Application credentials: made, used, limited, and gone."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from tests.keystone.conftest import V3, client_of, role_id, validate
from tests.support.cloud import Answer, Client, Cloud


async def _make(me: Client, **values: Any) -> dict[str, Any]:
    answer = await me.post(
        f"{V3}/users/{me.user_id}/application_credentials", {"application_credential": {"name": "robot", **values}}
    )
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json()["application_credential"]
    return made


async def _login(cloud: Cloud, proof: dict[str, Any], **more: Any) -> Answer:
    return await cloud.anonymous().post(
        f"{V3}/auth/tokens",
        {"auth": {"identity": {"methods": ["application_credential"], "application_credential": proof}, **more}},
    )


async def test_a_program_logs_in_with_fewer_roles(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    made = await _make(me, roles=[{"name": "reader"}], description="d")
    assert made["project_id"] == me.project_id and made["user_id"] == me.user_id and not made["unrestricted"]
    assert [role["name"] for role in made["roles"]] == ["reader"] and len(made["secret"]) >= 64
    path = f"{V3}/users/{me.user_id}/application_credentials/{made['id']}"
    shown = (await me.get(path)).json()["application_credential"]
    assert "secret" not in shown and shown["description"] == "d"
    for proof in (
        {"id": made["id"]},
        {"name": "robot", "user": {"id": me.user_id}},
        {"name": "robot", "user": {"name": "demo", "domain": {"id": "default"}}},
    ):
        token = client_of(cloud, await _login(cloud, {**proof, "secret": made["secret"]}))
        assert [role["name"] for role in token.info["roles"]] == ["reader"]
        assert token.info["project"]["id"] == me.project_id and token.info["methods"] == ["application_credential"]
        assert token.info["application_credential"] == {"id": made["id"], "name": "robot", "restricted": True}
        assert (await _login(cloud, {**proof, "secret": "wrong"})).status == 401
    assert (await me.delete(path)).status == 204 and (await me.get(path)).status == 404
    assert (await validate(admin, token.token)).status == 404
    assert (await _login(cloud, {"id": made["id"], "secret": made["secret"]})).status == 401


async def test_it_dies_with_what_it_rests_on(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    made = await _make(me)
    token = client_of(cloud, await _login(cloud, {"id": made["id"], "secret": made["secret"]}))
    on = f"{V3}/projects/{me.project_id}/users/{me.user_id}/roles/{await role_id(admin, 'member')}"
    assert (await admin.delete(on)).status == 204
    assert (await validate(admin, token.token)).status == 404
    assert (await _login(cloud, {"id": made["id"], "secret": made["secret"]})).status == 401


async def test_it_is_for_one_project(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    made = await _make(me)
    proof = {"id": made["id"], "secret": made["secret"]}
    assert (await _login(cloud, proof, scope={"project": {"id": me.project_id}})).status == 401
    token = client_of(cloud, await _login(cloud, proof))
    again = {"methods": ["token"], "token": {"id": token.token}}
    anonymous = cloud.anonymous()
    same = await anonymous.post(f"{V3}/auth/tokens", {"auth": {"identity": again}})
    assert same.json()["token"]["application_credential"]["id"] == made["id"]  # still limited
    assert (
        await anonymous.post(
            f"{V3}/auth/tokens", {"auth": {"identity": again, "scope": {"project": {"id": admin.project_id}}}}
        )
    ).status == 401
    assert (await anonymous.post(f"{V3}/auth/tokens", {"auth": {"identity": again, "scope": "unscoped"}})).status == 401


async def test_a_restricted_one_makes_no_others(cloud: Cloud) -> None:
    me = await cloud.new_project("demo")
    for free, status in ((False, 403), (True, 201)):
        made = await _make(me, name=f"robot {free}", unrestricted=free)
        robot = client_of(cloud, await _login(cloud, {"id": made["id"], "secret": made["secret"]}))
        path = f"{V3}/users/{me.user_id}/application_credentials"
        answer = await robot.post(path, {"application_credential": {"name": f"child {free}"}})
        assert answer.status == status, answer.body
        assert (await robot.delete(f"{path}/{made['id']}")).status == (204 if free else 403)


@pytest.mark.parametrize(
    "values",
    [
        {"name": ""},
        {"name": 5},
        {"roles": [{}]},
        {"roles": [{"name": "admin"}]},
        {"expires_at": "soon"},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"secret": ""},
        {"access_rules": [{"path": "/x"}]},
        {"access_rules": [{"path": "x", "method": "GET", "service": "compute"}]},
        {"unrestricted": "yes"},
        {"access_rules": [{"path": "/x", "method": "LOOK", "service": "compute"}]},
    ],
)
async def test_bad_ones(cloud: Cloud, values: dict[str, Any]) -> None:
    me = await cloud.new_project("demo")
    answer = await me.post(
        f"{V3}/users/{me.user_id}/application_credentials", {"application_credential": {"name": "robot", **values}}
    )
    assert answer.status == 400, answer.body


async def test_expiry_names_and_strangers(cloud: Cloud, admin: Client) -> None:
    me, other = await cloud.new_project("demo"), await cloud.new_project("other")
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=10)
    made = await _make(me, expires_at=soon.isoformat(), secret="my own")
    token = client_of(cloud, await _login(cloud, {"id": made["id"], "secret": "my own"}))
    assert datetime.datetime.fromisoformat(token.info["expires_at"].replace("Z", "+00:00")) <= soon
    path = f"{V3}/users/{me.user_id}/application_credentials"
    assert (await me.post(path, {"application_credential": {"name": "robot"}})).status == 409
    assert (await me.post(path, {"application_credential": {"name": "x", "roles": [{"name": "no"}]}})).status == 404
    listed = (await me.get(path, params={"name": "robot"})).json()["application_credentials"]
    assert [item["id"] for item in listed] == [made["id"]]
    assert (await other.get(path)).status == 403 and (await other.get(f"{path}/{made['id']}")).status == 403
    assert (await other.delete(f"{path}/{made['id']}")).status == 403
    # through another's URL it is not there, whoever asks
    theirs = f"{V3}/users/{other.user_id}/application_credentials/{made['id']}"
    assert (await other.get(theirs)).status == 404
    assert (await admin.post(path, {"application_credential": {"name": "x"}})).status == 403  # only the user


async def test_access_rules_keep_their_order(cloud: Cloud) -> None:
    me = await cloud.new_project("demo")
    for name, methods in ("one", ["PUT", "GET", "DELETE", "POST", "HEAD"]), ("two", ["HEAD", "DELETE", "PUT", "GET"]):
        rules = [{"service": "compute", "method": method, "path": "/v2.1/servers"} for method in methods]
        made = await _make(me, name=name, access_rules=rules)
        assert [item["method"] for item in made["access_rules"]] == methods


async def test_access_rules(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    rule = {"service": "compute", "method": "GET", "path": "/v2.1/servers"}
    made = await _make(me, access_rules=[rule])
    rule_id = made["access_rules"][0]["id"]
    again = await _make(me, name="second", access_rules=[{"id": rule_id}, rule])
    assert [item["id"] for item in again["access_rules"]] == [rule_id]  # the same rule is not kept twice
    path = f"{V3}/users/{me.user_id}/access_rules"
    assert [item["path"] for item in (await me.get(path)).json()["access_rules"]] == ["/v2.1/servers"]
    assert (await me.delete(f"{path}/{rule_id}")).status == 403  # in use
    token = client_of(cloud, await _login(cloud, {"id": made["id"], "secret": made["secret"]}))
    assert token.info["application_credential"]["access_rules"][0]["method"] == "GET"
    # who does not say that it holds requests against the rules must not accept the token
    assert (await validate(admin, token.token)).status == 404
    answer = await admin.get(
        f"{V3}/auth/tokens", headers={"X-Subject-Token": token.token or "", "OpenStack-Identity-Access-Rules": "1.0"}
    )
    assert answer.status == 200
    assert (await token.get(f"{V3}/auth/projects")).status == 401
    for item in (made, again):
        await me.delete(f"{V3}/users/{me.user_id}/application_credentials/{item['id']}")
    assert (await me.delete(f"{path}/{rule_id}")).status == 204 and (await me.get(f"{path}/{rule_id}")).status == 404
