"""Users and groups as a client sees them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.keystone.conftest import V3, client_of, create, login, role_id
from tests.support.cloud import Client, Cloud


async def test_a_user_from_birth_to_death(cloud: Cloud, admin: Client) -> None:
    made = await create(
        admin, "user", name="ann", password="secret", email="ann@example.org", default_project_id=admin.project_id
    )
    assert "password" not in made and made["email"] == "ann@example.org" and made["password_expires_at"] is None
    assert made["default_project_id"] == admin.project_id and made["domain_id"] == "default"
    path = f"{V3}/users/{made['id']}"
    assert (await admin.get(path)).json()["user"] == made
    changed = (await admin.patch(path, {"user": {"name": "eve", "email": None, "enabled": False}})).json()["user"]
    assert changed["name"] == "eve" and "email" not in changed and changed["enabled"] is False
    assert (await login(cloud, made, "secret")).status == 401
    assert (await admin.delete(path)).status == 204 and (await admin.get(path)).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 256},
        {"name": ["a"]},
        {"name": "a", "password": ""},
        {"name": "a", "password": 5},
        {"name": "a", "password": "x" * 4097},
        {"name": "a", "enabled": 1},
        {"name": "a", "options": {"nonsense": True}},
        {"name": "a", "options": {"lock_password": "x"}},
        {"name": "a", "options": {"multi_factor_auth_rules": ["x"]}},
        {"name": "a", "options": {"multi_factor_auth_rules": [[]]}},
        {"name": "a", "default_project_id": "default"},
        {"name": "a", "note": "\0"},
        {"name": "a", "x" * 300: 1},
    ],
)
async def test_bad_users(admin: Client, body: dict[str, Any]) -> None:
    answer = await admin.post(f"{V3}/users", {"user": body})
    assert answer.status == 400, answer.body
    for body in (None, [], {"users": {}}, {"user": None}, {"user": []}):
        assert (await admin.post(f"{V3}/users", body)).status == 400


async def test_names_and_domains(admin: Client) -> None:
    assert (await admin.post(f"{V3}/users", {"user": {"name": "admin"}})).status == 409
    assert (await admin.post(f"{V3}/users", {"user": {"name": "x", "domain_id": "nowhere"}})).status == 404
    found = (await admin.get(f"{V3}/users", params={"name": "nova"})).json()["users"]
    assert [user["name"] for user in found] == ["nova"]


async def test_a_user_changes_the_own_password_only(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    path = f"{V3}/users/{me.user_id}/password"

    def body(old: Any, new: Any) -> Any:
        return {"user": {"original_password": old, "password": new}}

    assert (await me.post(path, body("wrong", "new"))).status == 401
    assert (await me.post(path, body("secret", ""))).status == 400
    assert (await me.post(path, {"user": {"password": "new"}})).status == 400
    assert (await me.post(f"{V3}/users/{'0' * 32}/password", body("a", "b"))).status == 401
    assert (await me.patch(f"{V3}/users/{me.user_id}", {"user": {"password": "new"}})).status == 403
    assert (await me.post(path, body("secret", "new"))).status == 204
    assert (await login(cloud, me.info["user"], "new")).status == 201
    locked = {"user": {"options": {"lock_password": True}}}
    assert (await admin.patch(f"{V3}/users/{me.user_id}", locked)).status == 200
    assert (await me.post(path, body("new", "newer"))).status == 403


async def test_members_see_themselves(cloud: Cloud) -> None:
    me, other = await cloud.new_project("demo"), await cloud.new_project("other")
    assert (await me.get(f"{V3}/users/{me.user_id}")).json()["user"]["name"] == "demo"
    assert (await me.get(f"{V3}/users/{other.user_id}")).status == 403
    assert (await me.get(f"{V3}/users")).status == 403
    for change in ({"name": "x"}, {"enabled": True}, {"options": {}}):
        assert (await me.patch(f"{V3}/users/{me.user_id}", {"user": change})).status == 403


async def test_groups_give_their_members_roles(cloud: Cloud, admin: Client) -> None:
    group = await create(admin, "group", name="staff", description="all of us", floor=3)
    assert group["floor"] == 3 and group["domain_id"] == "default"
    project = await create(admin, "project", name="p")
    user = await create(admin, "user", name="ann", password="secret")
    member = await role_id(admin, "member")
    granted = f"{V3}/projects/{project['id']}/groups/{group['id']}/roles/{member}"
    assert (await admin.put(granted)).status == 204 and (await admin.get(granted)).status == 204
    scope = {"project": {"id": project["id"]}}
    assert (await login(cloud, user, "secret", scope)).status == 401
    path = f"{V3}/groups/{group['id']}/users/{user['id']}"
    assert (await admin.get(path)).status == 404
    assert (await admin.put(path)).status == 204 and (await admin.put(path)).status == 204
    assert (await admin.request("HEAD", path)).status == 204
    me = client_of(cloud, await login(cloud, user, "secret", scope))
    assert [r["name"] for r in me.info["roles"]] == ["member", "reader"]
    assert [u["id"] for u in (await admin.get(f"{V3}/groups/{group['id']}/users")).json()["users"]] == [user["id"]]
    assert [g["id"] for g in (await me.get(f"{V3}/users/{user['id']}/groups")).json()["groups"]] == [group["id"]]
    assert [p["name"] for p in (await me.get(f"{V3}/auth/projects")).json()["projects"]] == ["p"]
    assert (await admin.delete(path)).status == 204 and (await admin.delete(path)).status == 404
    assert (await me.get(f"{V3}/auth/projects")).status == 401  # the token went with the membership
    assert (await admin.put(path)).status == 204
    assert (await admin.delete(f"{V3}/groups/{group['id']}")).status == 204
    assert (await login(cloud, user, "secret", scope)).status == 401


async def test_groups_themselves(cloud: Cloud, admin: Client) -> None:
    group = await create(admin, "group", name="g")
    path = f"{V3}/groups/{group['id']}"
    changed = (await admin.patch(path, {"group": {"name": "h", "description": "x"}})).json()["group"]
    assert (changed["name"], changed["description"]) == ("h", "x")
    assert (await admin.post(f"{V3}/groups", {"group": {"name": "h"}})).status == 409
    assert (await admin.post(f"{V3}/groups", {"group": {}})).status == 400
    assert [g["name"] for g in (await admin.get(f"{V3}/groups?name__contains=h")).json()["groups"]] == ["h"]
    for missing in (f"{path}/users/unknown", f"{V3}/groups/unknown/users/{admin.user_id}"):
        assert (await admin.put(missing)).status == 404
    me = await cloud.new_project("demo")
    for method, url in (
        ("GET", f"{V3}/groups"),
        ("GET", path),
        ("DELETE", path),
        ("PUT", f"{path}/users/{me.user_id}"),
    ):
        assert (await me.request(method, url)).status == 403
