"""Logging in: methods, scopes, and what failures say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.keystone.conftest import V3, client_of, create, grant, login, validate
from tests.support.cloud import Client, Cloud


async def _post(cloud: Cloud, auth: Any) -> Any:
    return await cloud.anonymous().post(f"{V3}/auth/tokens", {"auth": auth})


def _password(**user: Any) -> dict[str, Any]:
    return {"methods": ["password"], "password": {"user": user}}


async def test_discovery(cloud: Cloud) -> None:
    answer = await cloud.anonymous().get("/identity/")
    assert answer.status == 300
    version = answer.json()["versions"]["values"][0]
    assert version["id"] == "v3.14" and version["links"][0]["href"] == "http://127.0.0.1:8080/identity/v3/"
    assert (await cloud.anonymous().get("/identity/v3")).json()["version"] == version
    assert (await cloud.anonymous().request("HEAD", "/identity/v3")).status == 200


async def test_the_administrator_finds_a_usable_cloud(cloud: Cloud, admin: Client) -> None:
    token = admin.info
    assert token["user"]["domain"] == {"id": "default", "name": "Default"}
    assert {role["name"] for role in token["roles"]} == {"admin", "manager", "member", "reader"}
    urls = {entry["type"]: entry["endpoints"] for entry in token["catalog"]}
    assert {"identity", "image", "compute", "placement", "network", "object-store", "block-storage",
            "volumev3"} == set(urls)
    assert {e["interface"] for e in urls["compute"]} == {"public", "internal", "admin"}
    assert urls["compute"][0]["url"].endswith("/compute/v2.1") and urls["compute"][0]["region"] == "RegionOne"
    assert urls["object-store"][0]["url"].endswith(f"/object-store/v1/AUTH_{admin.project_id}")
    nova = await cloud.login("nova", project="service")
    assert {"admin", "service"} <= {role["name"] for role in nova.info["roles"]}


async def test_a_restart_changes_nothing_and_keeps_tokens(cloud: Cloud, admin: Client) -> None:
    before = {kind: (await admin.get(f"{V3}/{kind}")).json() for kind in ("users", "roles", "endpoints", "projects")}
    await cloud.__aexit__(None, None, None)
    async with Cloud(Path(cloud.config.state), ["keystone"], port=8081) as again:
        me = Client(again, admin.token)
        for kind in ("users", "roles", "projects"):
            assert (await me.get(f"{V3}/{kind}")).json() == before[kind]
        endpoints = (await me.get(f"{V3}/endpoints")).json()["endpoints"]
        assert {e["id"] for e in endpoints} == {e["id"] for e in before["endpoints"]["endpoints"]}
        assert all(":8081/" in e["url"] for e in endpoints)  # addresses follow the configuration
    await cloud.__aenter__()


@pytest.mark.parametrize(
    "user", [{"name": "admin", "domain": {"id": "default"}}, {"name": "admin", "domain": {"name": "Default"}}]
)
async def test_users_by_name(cloud: Cloud, user: dict[str, Any]) -> None:
    answer = await _post(cloud, {"identity": _password(**user, password=cloud.env.secrets.passwords["admin"])})
    assert answer.status == 201
    token = answer.json()["token"]
    assert "project" not in token and "roles" not in token and "catalog" not in token  # nothing was asked for
    assert token["methods"] == ["password"] and len(token["audit_ids"]) == 1


@pytest.mark.parametrize(
    "scope",
    [
        {"project": {"name": "admin", "domain": {"name": "Default"}}},
        {"project": {"name": "admin", "domain": {"id": "default"}}},
        {"system": {"all": True}},
        {"domain": {"id": "default"}},
        {"domain": {"name": "Default"}},
    ],
)
async def test_scopes(cloud: Cloud, admin: Client, scope: dict[str, Any]) -> None:
    await grant(admin, "admin", {"id": admin.user_id}, "domains/default")
    answer = await _post(
        cloud, {"identity": _password(id=admin.user_id, password=cloud.env.secrets.passwords["admin"]), "scope": scope}
    )
    token = answer.json()["token"]
    kind = next(iter(scope))
    assert token[kind] and token["roles"] and token["catalog"]
    assert ("is_domain" in token) == (kind == "project")
    if kind != "project":  # an address with a project's id in it cannot be filled in
        assert [e["endpoints"] for e in token["catalog"] if e["type"] == "object-store"] == [[]]


async def test_nocatalog(cloud: Cloud) -> None:
    auth = {
        "identity": _password(name="admin", domain={"id": "default"}, password=cloud.env.secrets.passwords["admin"]),
        "scope": {"system": {"all": True}},
    }
    answer = await cloud.anonymous().post(f"{V3}/auth/tokens?nocatalog", {"auth": auth})
    assert "catalog" not in answer.json()["token"] and answer.json()["token"]["roles"]


async def test_failures_tell_nothing(cloud: Cloud, admin: Client) -> None:
    off = await create(admin, "user", name="off", password="secret", enabled=False)
    free = await create(admin, "user", name="free", password="secret")
    nobody = await create(admin, "user", name="mute")
    gone = {"id": "0" * 32}
    bodies = set()
    for identity, scope in [
        (_password(name="admin", domain={"id": "default"}, password="wrong"), None),
        (_password(name="nobody", domain={"id": "default"}, password="wrong"), None),
        (_password(name="admin", domain={"id": "nowhere"}, password="wrong"), None),
        (_password(name="admin", domain={"name": "nowhere"}, password="wrong"), None),
        (_password(id=off["id"], password="secret"), None),
        (_password(id=gone["id"], password="x"), None),
        (_password(id=nobody["id"], password=""), None),
        (_password(id=free["id"], password="secret\0"), None),
        (_password(id=free["id"], password="x" * 5000), None),
        (_password(id=free["id"], password="secret"), {"project": {"id": admin.project_id}}),
        (_password(id=free["id"], password="secret"), {"project": gone}),
        (_password(id=free["id"], password="secret"), {"domain": {"id": "default"}}),
        (_password(id=free["id"], password="secret"), {"system": {"all": True}}),
    ]:
        answer = await _post(cloud, {"identity": identity, **({"scope": scope} if scope else {})})
        assert answer.status == 401, identity
        assert answer.headers["www-authenticate"].startswith("Keystone uri=")
        bodies.add(answer.body)
    assert len(bodies) == 1
    forged = await _post(cloud, {"identity": {"methods": ["token"], "token": {"id": "gAAAA-forged"}}})
    assert forged.status == 404


@pytest.mark.parametrize(
    "auth",
    [
        {},
        [],
        "x",
        None,
        {"identity": {}},
        {"identity": {"methods": []}},
        {"identity": {"methods": ["password"]}},
        {"identity": {"methods": ["magic"]}},
        {"identity": {"methods": "password"}},
        {"identity": {"methods": [5]}},
        {"identity": _password()},
        {"identity": _password(name="admin")},
        {"identity": _password(name="admin", password="x")},
        {"identity": _password(name="admin", domain={}, password="x")},
        {"identity": _password(name=5, domain={"id": "default"})},
        {"identity": {"methods": ["token"], "token": {}}},
        {"identity": {"methods": ["application_credential"], "application_credential": {"secret": "x"}}},
        {"identity": {"methods": ["application_credential"], "application_credential": {"name": "x", "secret": "x"}}},
    ],
)
async def test_malformed_requests(cloud: Cloud, auth: Any) -> None:
    answer = await _post(cloud, auth)
    assert answer.status == 400 and answer.json()["error"]["code"] == 400, answer.body


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"project": {}},
        {"project": {"name": "admin"}},
        {"system": {}},
        {"system": {"all": False}},
        "everything",
        7,
        {"project": {"id": "x"}, "domain": {"id": "default"}},
        {"domain": {}},
    ],
)
async def test_malformed_scopes(cloud: Cloud, admin: Client, scope: Any) -> None:
    auth = {"identity": _password(id=admin.user_id, password=cloud.env.secrets.passwords["admin"]), "scope": scope}
    assert (await _post(cloud, auth)).status == 400


async def test_bodies_that_are_no_json(cloud: Cloud) -> None:
    for body in (b"", b"{", b"[" * 5000, b"\xff\xfe\x00", b'{"auth": ' + b"1" * 200_000 + b"}"):
        answer = await cloud.anonymous().request("POST", f"{V3}/auth/tokens", body=body)
        assert answer.status in (400, 413), answer.body


async def test_the_default_project_is_used_when_nothing_is_asked(cloud: Cloud, admin: Client) -> None:
    project = await create(admin, "project", name="home")
    user = await create(admin, "user", name="ann", password="secret", default_project_id=project["id"])
    assert "project" not in (await login(cloud, user, "secret")).json()["token"]  # no role there: unscoped
    await grant(admin, "member", user, f"projects/{project['id']}")
    assert (await login(cloud, user, "secret")).json()["token"]["project"]["id"] == project["id"]
    assert "project" not in (await login(cloud, user, "secret", "unscoped")).json()["token"]
    assert "project" not in (await login(cloud, user, "secret", {"unscoped": {}})).json()["token"]


async def test_a_token_is_exchanged_for_another_scope(cloud: Cloud, admin: Client) -> None:
    project = await create(admin, "project", name="home")
    user = await create(admin, "user", name="ann", password="secret")
    await grant(admin, "member", user, f"projects/{project['id']}")
    unscoped = client_of(cloud, await login(cloud, user, "secret"))
    answer = await _post(
        cloud,
        {
            "identity": {"methods": ["token"], "token": {"id": unscoped.token}},
            "scope": {"project": {"id": project["id"]}},
        },
    )
    token = answer.json()["token"]
    assert set(token["methods"]) == {"token", "password"}
    assert token["expires_at"] == unscoped.info["expires_at"]  # not longer than what it came from
    assert token["audit_ids"][1:] == unscoped.info["audit_ids"]
    # its flow is that of the first token: the chain's root
    third = await _post(cloud, {"identity": {"methods": ["token"], "token": {"id": answer.headers["x-subject-token"]}}})
    assert third.json()["token"]["audit_ids"][-1] == unscoped.info["audit_ids"][0]


async def test_long_passwords_count_to_their_end(cloud: Cloud, admin: Client) -> None:
    user = await create(admin, "user", name="long", password="a" * 100)
    assert (await login(cloud, user, "a" * 100)).status == 201
    assert (await login(cloud, user, "a" * 99)).status == 401
    assert (await login(cloud, user, "a" * 72)).status == 401
    other = await create(admin, "user", name="umlaut", password="ü" * 36)  # exactly 72 bytes
    assert (await login(cloud, other, "ü" * 36)).status == 201


async def test_many_factors(cloud: Cloud, admin: Client) -> None:
    user = await create(
        admin,
        "user",
        name="ann",
        password="secret",
        options={"multi_factor_auth_enabled": True, "multi_factor_auth_rules": [["password", "totp"]]},
    )
    assert (await login(cloud, user, "secret")).status == 401
    answer = await admin.patch(f"{V3}/users/{user['id']}", {"user": {"options": {"multi_factor_auth_enabled": False}}})
    assert answer.status == 200
    assert (await login(cloud, user, "secret")).status == 201


async def test_what_one_could_ask_for(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    assert [p["name"] for p in (await me.get(f"{V3}/auth/projects")).json()["projects"]] == ["demo"]
    assert (await me.get(f"{V3}/auth/domains")).json()["domains"] == []
    assert (await me.get(f"{V3}/auth/system")).json()["system"] == []
    assert (await admin.get(f"{V3}/auth/system")).json()["system"] == [{"all": True}]
    catalog = (await me.get(f"{V3}/auth/catalog")).json()["catalog"]
    assert catalog == me.info["catalog"]
    unscoped = client_of(cloud, await login(cloud, me.info["user"], "secret", "unscoped"))
    assert (await unscoped.get(f"{V3}/auth/catalog")).status == 403
    assert (await unscoped.get(f"{V3}/auth/projects")).status == 200


async def test_a_forged_header_gives_nothing(cloud: Cloud) -> None:
    me = await cloud.new_project("demo")
    answer = await me.get(f"{V3}/users", headers={"X-Roles": "admin", "X-Is-Admin-Project": "True"})
    assert answer.status == 403
    assert (await validate(me, me.token)).status == 200  # one's own token
