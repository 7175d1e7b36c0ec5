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


@pytest.mark.parametrize("impersonation", [False, True])
async def test_a_trust_hands_on_no_more_than_itself(cloud: Cloud, admin: Client, impersonation: bool) -> None:
    """The trustee is the trustor for a while: he must not give himself more, or for longer, in the trustor's name."""
    me, other = await cloud.new_project("demo", roles=["member", "reader"]), await cloud.new_project("other")
    trust = await _make(me, other, impersonation=impersonation)
    scope = {"OS-TRUST:trust": {"id": trust["id"]}}
    token = client_of(cloud, await login(cloud, other.info["user"], "secret", scope))
    more = {"trustor_user_id": token.user_id, "trustee_user_id": other.user_id, "project_id": me.project_id,
            "impersonation": True, "roles": [{"name": "member"}]}
    assert (await token.post(f"{V3}/OS-TRUST/trusts", {"trust": more})).status == 403
    credential = {"application_credential": {"name": "for ever", "unrestricted": True}}
    answer = await token.post(f"{V3}/users/{token.user_id}/application_credentials", credential)
    assert answer.status == 403
    keys = await token.post(f"{V3}/users/{token.user_id}/credentials/OS-EC2", {"tenant_id": me.project_id})
    assert keys.status in (201, 403)
    if keys.status == 201:  # an EC2 key of a trust is that trust's
        assert keys.json()["credential"]["trust_id"] == trust["id"]
    blob = '{"access": "a-key", "secret": "s"}'
    wish = {"type": "ec2", "blob": blob, "project_id": me.project_id, "user_id": token.user_id}
    made = await token.post(f"{V3}/credentials", {"credential": wish})
    assert made.status == 403 or trust["id"] in made.json()["credential"]["blob"]


async def test_a_trustee_cannot_take_over_the_trustors_ec2_key(cloud: Cloud, admin: Client) -> None:
    me, other = await cloud.new_project("demo"), await cloud.new_project("other")
    key = (await me.post(f"{V3}/users/{me.user_id}/credentials/OS-EC2", {"tenant_id": me.project_id})).json()
    found = (await me.get(f"{V3}/credentials")).json()["credentials"][0]
    trust = await _make(me, other, impersonation=True)
    scope = {"OS-TRUST:trust": {"id": trust["id"]}}
    token = client_of(cloud, await login(cloud, other.info["user"], "secret", scope))
    blob = f'{{"access": "{key["credential"]["access"]}", "secret": "mine", "trust_id": null}}'
    answer = await token.request("PATCH", f"{V3}/credentials/{found['id']}", json={"credential": {"blob": blob}})
    assert answer.status == 403
    mine = await me.request("PATCH", f"{V3}/credentials/{found['id']}", json={"credential": {"blob": blob}})
    assert mine.status == 200
