"""Trusts: acting with another's roles, as far as the other still has them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.keystone.conftest import V3, client_of, login, role_id, validate
from tests.support.cloud import Client, Cloud


async def _make(me: Client, trustee: Client, **values: Any) -> dict[str, Any]:
    answer = await me.post(
        f"{V3}/OS-TRUST/trusts",
        {
            "trust": {
                "trustor_user_id": me.user_id,
                "trustee_user_id": trustee.user_id,
                "project_id": me.project_id,
                "impersonation": False,
                "roles": [{"name": "reader"}],
                **values,
            }
        },
    )
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json()["trust"]
    return made


@pytest.mark.parametrize("impersonation", [False, True])
async def test_a_trustee_acts(cloud: Cloud, admin: Client, impersonation: bool) -> None:
    me, other = await cloud.new_project("demo"), await cloud.new_project("other")
    trust = await _make(me, other, impersonation=impersonation)
    scope = {"OS-TRUST:trust": {"id": trust["id"]}}
    token = client_of(cloud, await login(cloud, other.info["user"], "secret", scope))
    assert token.project_id == me.project_id and [r["name"] for r in token.info["roles"]] == ["reader"]
    assert token.user_id == (me.user_id if impersonation else other.user_id)
    assert token.info["OS-TRUST:trust"]["id"] == trust["id"]
    assert (await login(cloud, me.info["user"], "secret", scope)).status == 401  # not for the trustor
    again = await cloud.anonymous().post(
        f"{V3}/auth/tokens", {"auth": {"identity": {"methods": ["token"], "token": {"id": token.token}}}}
    )
    assert again.status == 403
    assert (await me.delete(f"{V3}/OS-TRUST/trusts/{trust['id']}")).status == 204
    assert (await me.get(f"{V3}/OS-TRUST/trusts/{trust['id']}")).status == 404
    assert (await validate(admin, token.token)).status == 404
    assert (await login(cloud, other.info["user"], "secret", scope)).status == 401


async def test_it_ends_with_the_trustors_role_and_after_its_uses(cloud: Cloud, admin: Client) -> None:
    me, other = await cloud.new_project("demo"), await cloud.new_project("other")
    twice = await _make(me, other, remaining_uses=2)
    scope = {"OS-TRUST:trust": {"id": twice["id"]}}
    for status in (201, 201, 401):
        assert (await login(cloud, other.info["user"], "secret", scope)).status == status
    trust = await _make(me, other)
    token = client_of(cloud, await login(cloud, other.info["user"], "secret", {"OS-TRUST:trust": {"id": trust["id"]}}))
    on = f"{V3}/projects/{me.project_id}/users/{me.user_id}/roles/{await role_id(admin, 'member')}"
    assert (await admin.delete(on)).status == 204
    assert (await validate(admin, token.token)).status == 404


async def test_who_sees_and_makes_them(cloud: Cloud, admin: Client) -> None:
    me, other, third = [await cloud.new_project(name) for name in ("demo", "other", "third")]
    trust = await _make(me, other)
    path = f"{V3}/OS-TRUST/trusts/{trust['id']}"
    for who, status in ((me, 200), (other, 200), (admin, 200), (third, 403)):
        assert (await who.get(path)).status == status
        assert (await who.get(f"{path}/roles")).status == status
    assert (await me.get(f"{path}/roles/{await role_id(admin, 'reader')}")).status == 200
    assert (await me.get(f"{path}/roles/{await role_id(admin, 'admin')}")).status == 404
    assert (await other.delete(path)).status == 403
    listed = await me.get(f"{V3}/OS-TRUST/trusts", params={"trustor_user_id": me.user_id})
    assert [t["id"] for t in listed.json()["trusts"]] == [trust["id"]]
    assert (await third.get(f"{V3}/OS-TRUST/trusts", params={"trustor_user_id": me.user_id})).status == 403
    assert (await me.get(f"{V3}/OS-TRUST/trusts")).status == 403
    good = {
        "trustor_user_id": me.user_id,
        "trustee_user_id": other.user_id,
        "project_id": me.project_id,
        "impersonation": True,
        "roles": [{"name": "reader"}],
    }
    for change, status in (
        ({"trustor_user_id": other.user_id}, 403),
        ({"roles": [{"name": "admin"}]}, 403),
        ({"roles": []}, 403),
        ({"roles": [{"name": "no"}]}, 404),
        ({"project_id": "no"}, 404),
        ({"trustee_user_id": "no"}, 404),
        ({"remaining_uses": 0}, 400),
        ({"impersonation": 5}, 400),
        ({"expires_at": "2001-01-01T00:00:00Z"}, 400),
    ):
        answer = await me.post(f"{V3}/OS-TRUST/trusts", {"trust": {**good, **change}})
        assert answer.status == status, (change, answer.body)
