"""Domains and projects as a client sees them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.keystone.conftest import V3, client_of, create, grant, login
from tests.support.cloud import Client, Cloud


async def _names(client: Client, path: str, kind: str = "projects", **params: Any) -> list[str]:
    answer = await client.get(f"{V3}/{path}", params=params)
    assert answer.status == 200, answer.body
    return sorted(item["name"] for item in answer.json()[kind])


async def test_a_project_from_birth_to_death(admin: Client) -> None:
    made = await create(admin, "project", name="p", description="d", tags=["b", "a"], colour="green")
    assert made["domain_id"] == made["parent_id"] == "default" and made["enabled"] and not made["is_domain"]
    assert made["tags"] == ["a", "b"] and made["colour"] == "green" and made["options"] == {}
    path = f"{V3}/projects/{made['id']}"
    assert (await admin.get(path)).json()["project"] == made
    changed = (await admin.patch(path, {"project": {"name": "q", "description": "", "colour": None}})).json()["project"]
    assert changed["name"] == "q" and changed["description"] == "" and "colour" not in changed
    assert (await admin.delete(path)).status == 204
    assert (await admin.get(path)).status == (await admin.delete(path)).status == 404
    assert (await admin.patch(path, {"project": {"name": "x"}})).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": " "},
        {"name": 5},
        {"name": "x" * 65},
        {"name": "a\0b"},
        {"name": "a\nb"},
        {"name": "p", "enabled": "yes"},
        {"name": "p", "tags": ["a/b"]},
        {"name": "p", "tags": ["x" * 256]},
        {"name": "p", "tags": [str(i) for i in range(81)]},
        {"name": "p", "options": {"unknown": True}},
        {"name": "p", "options": {"immutable": "yes"}},
        {"name": "p", "description": "\0"},
        {"name": "p", "is_domain": True, "domain_id": "default"},
        {"name": "p", "description": 5},
    ],
)
async def test_bad_projects(admin: Client, body: dict[str, Any]) -> None:
    answer = await admin.post(f"{V3}/projects", {"project": body})
    assert answer.status == 400 and answer.json()["error"]["message"], answer.body


async def test_names_are_unique_in_a_domain(admin: Client) -> None:
    domain = await create(admin, "domain", name="d")
    await create(admin, "project", name="p")
    await create(admin, "project", name="p", domain_id=domain["id"])
    assert (await admin.post(f"{V3}/projects", {"project": {"name": "p"}})).status == 409
    assert (await admin.post(f"{V3}/domains", {"domain": {"name": "d"}})).status == 409
    other = await create(admin, "project", name="other")
    assert (await admin.patch(f"{V3}/projects/{other['id']}", {"project": {"name": "p"}})).status == 409
    assert (await admin.post(f"{V3}/projects", {"project": {"name": "x", "domain_id": "no"}})).status == 404
    assert (await admin.post(f"{V3}/projects", {"project": {"name": "x", "parent_id": "no"}})).status == 404


async def test_filters_and_pages(admin: Client) -> None:
    for name in ("Alpha", "alphabet", "beta", "a_c", "abc"):
        await create(admin, "project", name=name, enabled=name != "beta")
    assert await _names(admin, "projects", name="beta") == ["beta"]
    assert await _names(admin, "projects", enabled="false") == ["beta"]
    assert await _names(admin, "projects", name__contains="lpha") == ["Alpha", "alphabet"]
    assert await _names(admin, "projects", name__startswith="al") == ["alphabet"]
    assert await _names(admin, "projects", name__istartswith="AL") == ["Alpha", "alphabet"]
    assert await _names(admin, "projects", name__endswith="bet") == ["alphabet"]
    assert await _names(admin, "projects", name__contains="_") == ["a_c"]  # no wildcard
    assert await _names(admin, "projects", name__iexact="ALPHA") == ["Alpha"]
    seen: list[str] = []
    path: str | None = f"{V3}/projects?limit=3&enabled=true"
    while path:
        body = (await admin.get(path.removeprefix("http://127.0.0.1:8080"))).json()
        seen += [p["name"] for p in body["projects"]]
        assert len(body["projects"]) <= 3
        path = body["links"]["next"]
    assert sorted(seen) == ["Alpha", "a_c", "abc", "admin", "alphabet", "service"]
    for bad in ("limit=x", "limit=-1", "enabled=maybe", "name=%00"):
        assert (await admin.get(f"{V3}/projects?{bad}")).status == 400, bad
    assert (await admin.get(f"{V3}/projects?marker=unknown")).status == 404


async def test_the_tree(admin: Client) -> None:
    top = await create(admin, "project", name="top")
    middle = await create(admin, "project", name="middle", parent_id=top["id"])
    leaf = await create(admin, "project", name="leaf", parent_id=middle["id"])
    assert await _names(admin, "projects", parent_id=top["id"]) == ["middle"]
    show = f"{V3}/projects/{middle['id']}"
    body = (await admin.get(f"{show}?parents_as_ids&subtree_as_ids")).json()["project"]
    assert body["parents"] == {top["id"]: {"default": None}} and body["subtree"] == {leaf["id"]: None}
    body = (await admin.get(f"{show}?parents_as_list&subtree_as_list")).json()["project"]
    assert [p["project"]["name"] for p in body["parents"]] == ["top"]
    assert [p["project"]["name"] for p in body["subtree"]] == ["leaf"]
    assert (await admin.get(f"{show}?parents_as_list&parents_as_ids")).status == 400
    assert (await admin.delete(show)).status == 403  # not a leaf
    assert (await admin.patch(show, {"project": {"enabled": False}})).status == 403  # something enabled below
    leaf_path = f"{V3}/projects/{leaf['id']}"
    assert (await admin.patch(leaf_path, {"project": {"enabled": False}})).status == 200
    assert (await admin.patch(show, {"project": {"enabled": False}})).status == 200
    assert (await admin.patch(leaf_path, {"project": {"enabled": True}})).status == 403  # its parent is disabled
    body = {"project": {"name": "n", "parent_id": middle["id"]}}
    assert (await admin.post(f"{V3}/projects", body)).status == 403
    assert (await admin.patch(show, {"project": {"parent_id": "default"}})).status == 403
    assert (await admin.patch(show, {"project": {"domain_id": "elsewhere"}})).status == 400


async def test_the_tree_has_a_depth(admin: Client) -> None:
    parent = None
    for depth in range(5):
        parent = (await create(admin, "project", name=f"p{depth}", parent_id=parent))["id"]
    answer = await admin.post(f"{V3}/projects", {"project": {"name": "p5", "parent_id": parent}})
    assert answer.status == 403 and "depth" in answer.json()["error"]["message"]


async def test_tags(admin: Client) -> None:
    one = await create(admin, "project", name="one", tags=["red", "big"])
    await create(admin, "project", name="two", tags=["red"])
    path = f"{V3}/projects/{one['id']}/tags"
    assert (await admin.get(path)).json()["tags"] == ["big", "red"]
    assert (await admin.put(f"{path}/new")).status == 201 and (await admin.get(f"{path}/new")).status == 204
    assert (await admin.put(f"{path}/new")).status == 201
    assert (await admin.delete(f"{path}/new")).status == 204 and (await admin.get(f"{path}/new")).status == 404
    assert (await admin.delete(f"{path}/new")).status == 404
    assert await _names(admin, "projects", tags="red,big") == ["one"]
    assert await _names(admin, "projects", **{"tags-any": "red,big"}) == ["one", "two"]
    assert await _names(admin, "projects", **{"not-tags": "red,big"}) == ["admin", "service", "two"]
    assert await _names(admin, "projects", **{"not-tags-any": "red,big"}) == ["admin", "service"]
    assert (await admin.put(path, {"tags": ["x", "y"]})).json()["tags"] == ["x", "y"]
    assert (await admin.put(path, {"tags": "x"})).status == 400
    assert (await admin.delete(path)).status == 204 and (await admin.get(path)).json()["tags"] == []


async def test_a_domain_takes_all_with_it_but_only_when_disabled(cloud: Cloud, admin: Client) -> None:
    domain = await create(admin, "domain", name="d", description="x")
    project = await create(admin, "project", name="p", domain_id=domain["id"])
    below = await create(admin, "project", name="c", parent_id=project["id"])
    assert below["domain_id"] == domain["id"]
    user = await create(admin, "user", name="u", password="secret", domain_id=domain["id"])
    group = await create(admin, "group", name="g", domain_id=domain["id"])
    await grant(admin, "member", user, f"projects/{below['id']}")
    await grant(admin, "admin", user, f"domains/{domain['id']}")
    path = f"{V3}/domains/{domain['id']}"
    assert (await admin.get(path)).json()["domain"]["description"] == "x"
    assert (await admin.delete(path)).status == 403
    assert (await admin.patch(path, {"domain": {"enabled": False, "name": "e"}})).json()["domain"]["name"] == "e"
    assert (await login(cloud, user, "secret")).status == 401
    assert (await admin.delete(path)).status == 204
    for gone in (path, f"{V3}/projects/{below['id']}", f"{V3}/users/{user['id']}", f"{V3}/groups/{group['id']}"):
        assert (await admin.get(gone)).status == 404
    answer = await admin.get(f"{V3}/role_assignments", params={"user.id": user["id"]})
    assert answer.json()["role_assignments"] == []
    default = await admin.patch(f"{V3}/domains/default", {"domain": {"description": "y"}})
    assert default.status == 200 and (await admin.delete(f"{V3}/domains/default")).status == 403


async def test_immutable_projects(admin: Client) -> None:
    made = await create(admin, "project", name="p", options={"immutable": True})
    path = f"{V3}/projects/{made['id']}"
    assert (await admin.patch(path, {"project": {"name": "q"}})).status == 403
    assert (await admin.delete(path)).status == 403
    assert (await admin.patch(path, {"project": {"options": {"immutable": False}}})).status == 200
    assert (await admin.delete(path)).status == 204


async def test_members_see_their_own_and_change_nothing(cloud: Cloud, admin: Client) -> None:
    me, other = await cloud.new_project("demo"), await cloud.new_project("other")
    assert (await me.get(f"{V3}/projects/{me.project_id}")).status == 200
    assert (await me.get(f"{V3}/projects/{other.project_id}")).status == 403
    assert (await me.get(f"{V3}/projects/unknown")).status == 403  # whether it exists is not told
    assert (await me.get(f"{V3}/projects")).status == 403
    assert (await me.patch(f"{V3}/projects/{me.project_id}", {"project": {"name": "x"}})).status == 403
    assert (await me.delete(f"{V3}/projects/{me.project_id}")).status == 403
    assert (await me.post(f"{V3}/projects", {"project": {"name": "x"}})).status == 403
    assert await _names(me, f"users/{me.user_id}/projects") == ["demo"]
    assert (await me.get(f"{V3}/users/{other.user_id}/projects")).status == 403


async def test_a_domains_manager_manages_the_domain_alone(cloud: Cloud, admin: Client) -> None:
    domain = await create(admin, "domain", name="d")
    boss = await create(admin, "user", name="boss", password="secret", domain_id=domain["id"])
    await grant(admin, "manager", boss, f"domains/{domain['id']}")
    me = client_of(cloud, await login(cloud, boss, "secret", {"domain": {"id": domain["id"]}}))
    project = await create(me, "project", name="mine")
    assert project["domain_id"] == domain["id"]  # the token's
    user = await create(me, "user", name="worker", password="secret")
    assert user["domain_id"] == domain["id"]
    assert await _names(me, "projects") == ["mine"]
    assert await _names(me, "users", "users") == ["boss", "worker"]
    body = {"project": {"name": "x", "domain_id": "default"}}
    assert (await me.post(f"{V3}/projects", body)).status == 403
    assert (await me.get(f"{V3}/projects/{admin.project_id}")).status == 403
    assert (await me.patch(f"{V3}/users/{admin.user_id}", {"user": {"password": "mine now"}})).status == 403
    member, power = [
        (await admin.get(f"{V3}/roles", params={"name": name})).json()["roles"][0]["id"] for name in ("member", "admin")
    ]
    on = f"{V3}/projects/{project['id']}/users/{user['id']}/roles"
    assert (await me.put(f"{on}/{member}")).status == 204
    assert (await me.put(f"{on}/{power}")).status == 403  # a manager hands on no more than manager
    assert (await me.put(f"{V3}/projects/{admin.project_id}/users/{user['id']}/roles/{member}")).status == 403
    assert (await me.delete(f"{V3}/users/{user['id']}")).status == 204
