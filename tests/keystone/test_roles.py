"""Roles, what they imply, where they are assigned."""

from __future__ import annotations

from typing import Any

import pytest

from tests.keystone.conftest import V3, client_of, create, grant, login, role_id
from tests.support.cloud import Client, Cloud


async def _assignments(admin: Client, **params: Any) -> list[dict[str, Any]]:
    answer = await admin.get(f"{V3}/role_assignments", params=params)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json()["role_assignments"]
    return found


async def test_a_role_from_birth_to_death(cloud: Cloud, admin: Client) -> None:
    role = await create(admin, "role", name="auditor", description="looks")
    assert role["domain_id"] is None and role["options"] == {}
    path = f"{V3}/roles/{role['id']}"
    assert (await admin.patch(path, {"role": {"name": "inspector"}})).json()["role"]["name"] == "inspector"
    assert (await admin.post(f"{V3}/roles", {"role": {"name": "admin"}})).status == 409
    assert (await admin.post(f"{V3}/roles", {"role": {"name": ""}})).status == 400
    user, project = await create(admin, "user", name="u"), await create(admin, "project", name="p")
    on = f"{V3}/projects/{project['id']}/users/{user['id']}/roles"
    assert (await admin.put(f"{on}/{role['id']}")).status == 204
    assert [r["id"] for r in (await admin.get(on)).json()["roles"]] == [role["id"]]
    assert (await admin.delete(path)).status == 204
    assert (await admin.get(on)).json()["roles"] == [] and (await admin.get(path)).status == 404
    admins = await role_id(admin, "admin")
    assert (await admin.delete(f"{V3}/roles/{admins}")).status == 403  # immutable: nobody locks everybody out
    assert (await admin.patch(f"{V3}/roles/{admins}", {"role": {"name": "x"}})).status == 403


async def test_domain_roles(cloud: Cloud, admin: Client) -> None:
    domain = await create(admin, "domain", name="d")
    special = await create(admin, "role", name="special", domain_id=domain["id"])
    assert "special" not in [r["name"] for r in (await admin.get(f"{V3}/roles")).json()["roles"]]
    listed = (await admin.get(f"{V3}/roles", params={"domain_id": domain["id"]})).json()["roles"]
    assert [r["name"] for r in listed] == ["special"]
    user = await create(admin, "user", name="u", password="secret")
    inside = await create(admin, "project", name="in", domain_id=domain["id"])
    outside = await create(admin, "project", name="out")
    assert (await admin.put(f"{V3}/projects/{outside['id']}/users/{user['id']}/roles/{special['id']}")).status == 403
    assert (await admin.put(f"{V3}/projects/{inside['id']}/users/{user['id']}/roles/{special['id']}")).status == 204
    # on a domain it may be any's, as upstream has it
    other = await create(admin, "domain", name="other")
    assert (await admin.put(f"{V3}/domains/{other['id']}/users/{user['id']}/roles/{special['id']}")).status == 204
    scope = {"project": {"id": inside["id"]}}
    assert (await login(cloud, user, "secret", scope)).status == 401  # it implies nothing yet
    reader = await role_id(admin, "reader")
    assert (await admin.put(f"{V3}/roles/{special['id']}/implies/{reader}")).status == 201
    assert [r["name"] for r in (await login(cloud, user, "secret", scope)).json()["token"]["roles"]] == ["reader"]


async def test_implied_roles(cloud: Cloud, admin: Client) -> None:
    a, b = [(await create(admin, "role", name=name))["id"] for name in ("a", "b")]
    path = f"{V3}/roles/{a}/implies/{b}"
    assert (await admin.get(path)).status == 404
    body = (await admin.put(path)).json()["role_inference"]
    assert body["prior_role"]["id"] == a and body["implies"]["id"] == b
    assert (await admin.get(path)).status == 200 and (await admin.request("HEAD", path)).status == 204
    listed = (await admin.get(f"{V3}/roles/{a}/implies")).json()["role_inference"]["implies"]
    assert [r["name"] for r in listed] == ["b"]
    assert (await admin.put(f"{V3}/roles/{b}/implies/{a}")).status == 400  # no circles
    assert (await admin.put(f"{V3}/roles/{a}/implies/{await role_id(admin, 'admin')}")).status == 403
    assert (await admin.put(f"{V3}/roles/{a}/implies/unknown")).status == 404
    own = (await create(admin, "role", name="own", domain_id="default"))["id"]
    assert (await admin.put(f"{V3}/roles/{a}/implies/{own}")).status == 403  # a domain's own
    rules = (await admin.get(f"{V3}/role_inferences")).json()["role_inferences"]
    assert {r["prior_role"]["name"] for r in rules} == {"admin", "manager", "member", "a"}
    assert (await admin.delete(path)).status == 204 and (await admin.delete(path)).status == 404


@pytest.mark.parametrize("kind", ["users", "groups"])
@pytest.mark.parametrize("on", ["projects", "domains", "system", "OS-INHERIT/projects", "OS-INHERIT/domains"])
async def test_every_kind_of_grant(admin: Client, kind: str, on: str) -> None:
    actor = (await create(admin, kind[:-1], name="actor"))["id"]
    target = (await create(admin, "project", name="p"))["id"] if "projects" in on else "default"
    place = on if on == "system" else f"{on}/{target}"
    tail = "/inherited_to_projects" if "INHERIT" in on else ""
    role = await role_id(admin, "member")
    path = f"{V3}/{place}/{kind}/{actor}/roles/{role}{tail}"
    assert (await admin.get(path)).status == 404
    assert (await admin.put(path)).status == 204 and (await admin.put(path)).status == 204
    assert (await admin.get(path)).status == 204 and (await admin.request("HEAD", path)).status == 204
    listing = f"{V3}/{place}/{kind}/{actor}/roles{tail}"
    assert [r["name"] for r in (await admin.get(listing)).json()["roles"]] == ["member"]
    found = await _assignments(admin, **{f"{kind[:-1]}.id": actor})
    assert [a["links"]["assignment"] for a in found] == [f"http://127.0.0.1:8080{path}"]
    assert (await admin.delete(path)).status == 204 and (await admin.delete(path)).status == 404
    assert (await admin.put(path.replace(role, "unknown"))).status == 404
    assert (await admin.put(path.replace(actor, "unknown"))).status == 404


async def test_inherited_roles_reach_what_lies_below(cloud: Cloud, admin: Client) -> None:
    top = await create(admin, "project", name="top")
    leaf = await create(admin, "project", name="leaf", parent_id=top["id"])
    user = await create(admin, "user", name="u", password="secret")
    role = await role_id(admin, "reader")
    assert (
        await admin.put(f"{V3}/OS-INHERIT/projects/{top['id']}/users/{user['id']}/roles/{role}/inherited_to_projects")
    ).status == 204
    assert (await login(cloud, user, "secret", {"project": {"id": top["id"]}})).status == 401  # not on itself
    me = client_of(cloud, await login(cloud, user, "secret", {"project": {"id": leaf["id"]}}))
    assert [p["name"] for p in (await me.get(f"{V3}/auth/projects")).json()["projects"]] == ["leaf"]
    effective = await _assignments(admin, **{"user.id": user["id"], "effective": ""})
    assert [(a["scope"]["project"]["id"], a["scope"].get("OS-INHERIT:inherited_to")) for a in effective] == [
        (leaf["id"], "projects")
    ]
    assert (
        await admin.put(f"{V3}/OS-INHERIT/domains/default/users/{user['id']}/roles/{role}/inherited_to_projects")
    ).status == 204
    names = {p["name"] for p in (await me.get(f"{V3}/auth/projects")).json()["projects"]}
    assert names == {"admin", "service", "top", "leaf"}


async def test_the_list_of_assignments(cloud: Cloud, admin: Client) -> None:
    top = await create(admin, "project", name="top")
    leaf = await create(admin, "project", name="leaf", parent_id=top["id"])
    user = await create(admin, "user", name="u")
    group = await create(admin, "group", name="g")
    assert (await admin.put(f"{V3}/groups/{group['id']}/users/{user['id']}")).status == 204
    member = await role_id(admin, "member")
    await grant(admin, "manager", user, f"projects/{top['id']}")
    assert (await admin.put(f"{V3}/projects/{leaf['id']}/groups/{group['id']}/roles/{member}")).status == 204

    direct = await _assignments(admin, **{"scope.project.id": top["id"], "include_names": "true"})
    assert [
        (a["user"]["name"], a["user"]["domain"]["name"], a["role"]["name"], a["scope"]["project"]["name"])
        for a in direct
    ] == [("u", "Default", "manager", "top")]
    tree = await _assignments(admin, **{"scope.project.id": top["id"], "include_subtree": "1"})
    assert len(tree) == 2
    effective = await _assignments(admin, **{"user.id": user["id"], "effective": "", "include_names": ""})
    assert {(a["scope"]["project"]["name"], a["role"]["name"]) for a in effective} == {
        ("top", "manager"),
        ("top", "member"),
        ("top", "reader"),
        ("leaf", "member"),
        ("leaf", "reader"),
    }
    own = await create(admin, "role", name="own", domain_id="default")
    on = f"{V3}/projects/{top['id']}/users/{user['id']}/roles/{own['id']}"
    assert (await admin.put(on)).status == 204
    again = await _assignments(admin, **{"user.id": user["id"], "effective": "", "include_names": ""})
    assert again == effective  # a domain's own role is in no token
    through = [a for a in effective if a["scope"]["project"]["name"] == "leaf"]
    assert all(a["links"]["membership"].endswith(f"/groups/{group['id']}/users/{user['id']}") for a in through)
    assert len(await _assignments(admin, **{"role.id": member})) == 1
    assert [a["scope"] for a in await _assignments(admin, **{"scope.system": "all"})] == [{"system": {"all": True}}]
    for bad in (
        {"user.id": "a", "group.id": "b"},
        {"effective": "", "group.id": "b"},
        {"include_subtree": ""},
        {"scope.project.id": "a", "scope.domain.id": "b"},
    ):
        assert (await admin.get(f"{V3}/role_assignments", params=bad)).status == 400
    me = await cloud.new_project("demo")
    assert (await me.get(f"{V3}/role_assignments")).status == 403


async def test_unknown_names_in_lists(admin: Client) -> None:
    """As upstream: a filter that fits nothing is an empty list, an unknown actor of grants a 404."""
    assert await _assignments(admin, **{"role.id": "unknown"}) == []
    assert await _assignments(admin, **{"scope.project.id": "unknown"}) == []
    assert (await admin.get(f"{V3}/projects/{admin.project_id}/users/unknown/roles")).status == 404
    assert (await admin.get(f"{V3}/users/unknown/application_credentials")).json()["application_credentials"] == []
    assert (await admin.get(f"{V3}/endpoints?interface=outer")).status == 400
