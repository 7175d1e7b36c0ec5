"""Tokens: validating, revoking, expiring, forging; rotating the keys."""

from __future__ import annotations

import time

import pytest

from cloudseed.kernel.context import Context
from cloudseed.keystone.tokens import seal, unseal
from tests.keystone.conftest import V3, client_of, create, grant, login, role_id, validate
from tests.support.cloud import Client, Cloud


async def test_validation_says_what_issuing_said(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    nova = await cloud.login("nova", project="service")
    for who in (admin, nova, me):
        answer = await validate(who, me.token)
        assert answer.status == 200 and answer.json()["token"] == me.info
        assert answer.headers["x-subject-token"] == me.token
    head = await nova.request("HEAD", f"{V3}/auth/tokens", headers={"X-Subject-Token": me.token or ""})
    assert head.status == 200 and head.body == b""
    assert "catalog" not in (await validate(nova, me.token, nocatalog="")).json()["token"]
    assert len(me.token or "") <= 255


async def test_who_may_validate(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    other = await cloud.new_project("other")
    assert (await validate(other, me.token)).status == 403
    assert (await validate(cloud.anonymous(), me.token)).status == 401
    assert (await validate(admin, None)).status == 404


@pytest.mark.parametrize("forged", ["x", "gAAAAAB" + "x" * 200, "x" * 5000, "ü", "\u20ac" * 3, "a b", "="])
async def test_forged_tokens(cloud: Cloud, admin: Client, forged: str) -> None:
    subject = forged.encode().decode("latin-1")
    assert (await validate(admin, subject)).status == 404
    assert (await Client(cloud, subject).get(f"{V3}/users")).status == 401


async def test_a_changed_token_is_no_token(cloud: Cloud, admin: Client) -> None:
    token = admin.token or ""
    for position in range(10, len(token), 25):
        changed = token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]
        assert (await validate(admin, changed)).status == 404


async def test_expired_tokens(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    nova = await cloud.login("nova", project="service")
    ks = cloud.service("keystone").handle
    claims = unseal(ks.token_keys, me.token or "")
    import msgspec

    expired = seal(
        ks.token_keys, msgspec.structs.replace(claims, issued_at=time.time() - 4000, expires_at=time.time() - 400)
    )
    assert (await validate(nova, expired)).status == 404
    assert (await validate(nova, expired, allow_expired="1")).status == 200  # a service ends what a user began
    assert (await Client(cloud, expired).get(f"{V3}/auth/projects")).status == 401
    ancient = seal(ks.token_keys, msgspec.structs.replace(claims, expires_at=time.time() - 200_000))
    assert (await validate(nova, ancient, allow_expired="1")).status == 404


async def test_a_revoked_token_is_dead_at_once_and_elsewhere(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    again = client_of(cloud, await login(cloud, me.info["user"], "secret", {"project": {"id": me.project_id}}))
    ctx = Context()
    validator = cloud.env.validator(cloud.env.session("glance-api", "glance"))
    assert (await validator.validate(ctx, me.token or "")).user_id == me.user_id
    assert (await me.delete(f"{V3}/auth/tokens", headers={"X-Subject-Token": me.token or ""})).status == 204
    assert (await validate(admin, me.token)).status == 404
    assert (await me.get(f"{V3}/auth/projects")).status == 401
    assert (await validate(admin, again.token)).status == 200  # another token of the same user lives
    await cloud.env.bus_engine.drain()
    from cloudseed.kernel.errors import Unauthenticated

    with pytest.raises(Unauthenticated):
        await validator.validate(ctx, me.token or "")
    events = (await admin.get(f"{V3}/OS-REVOKE/events")).json()["events"]
    assert [e["audit_id"] for e in events] == me.info["audit_ids"]


async def test_nobody_revokes_a_strangers_token(cloud: Cloud) -> None:
    me, other = await cloud.new_project("demo"), await cloud.new_project("other")
    assert (await other.delete(f"{V3}/auth/tokens", headers={"X-Subject-Token": me.token or ""})).status == 403


async def test_what_ends_tokens(cloud: Cloud, admin: Client) -> None:
    async def fresh() -> Client:
        return client_of(cloud, await login(cloud, user, password, {"project": {"id": project["id"]}}))

    domain = await create(admin, "domain", name="d")
    project = await create(admin, "project", name="p", domain_id=domain["id"])
    user = await create(admin, "user", name="u", password="first", domain_id=domain["id"])
    await grant(admin, "member", user, f"projects/{project['id']}")
    password = "first"
    on = f"{V3}/projects/{project['id']}/users/{user['id']}/roles"

    me = await fresh()  # the password is changed by the user
    answer = await cloud.anonymous().post(
        f"{V3}/users/{user['id']}/password", {"user": {"original_password": "first", "password": "second"}}
    )
    assert answer.status == 204 and (await validate(admin, me.token)).status == 404
    assert (await login(cloud, user, "first")).status == 401
    password = "second"

    me = await fresh()  # by an administrator
    assert (await admin.patch(f"{V3}/users/{user['id']}", {"user": {"password": "third"}})).status == 200
    assert (await validate(admin, me.token)).status == 404
    password = "third"

    for path, noun in (
        (f"users/{user['id']}", "user"),
        (f"projects/{project['id']}", "project"),
        (f"domains/{domain['id']}", "domain"),
    ):
        me = await fresh()
        assert (await admin.patch(f"{V3}/{path}", {noun: {"enabled": False}})).status == 200
        assert (await validate(admin, me.token)).status == 404, noun
        assert (await admin.patch(f"{V3}/{path}", {noun: {"enabled": True}})).status == 200

    me = await fresh()  # the last role is gone; one that is left keeps the token
    reader = await role_id(admin, "reader")
    assert (await admin.put(f"{on}/{reader}")).status == 204
    assert (await admin.delete(f"{on}/{await role_id(admin, 'member')}")).status == 204
    assert [r["name"] for r in (await validate(admin, me.token)).json()["token"]["roles"]] == ["reader"]
    assert (await admin.delete(f"{on}/{reader}")).status == 204
    assert (await validate(admin, me.token)).status == 404

    await grant(admin, "member", user, f"projects/{project['id']}")
    me = await fresh()
    assert (await admin.delete(f"{V3}/users/{user['id']}")).status == 204
    assert (await validate(admin, me.token)).status == 404


async def test_a_new_name_shows_in_old_tokens(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    await admin.patch(f"{V3}/projects/{me.project_id}", {"project": {"name": "renamed"}})
    assert (await validate(admin, me.token)).json()["token"]["project"]["name"] == "renamed"


async def test_key_rotation(cloud: Cloud, admin: Client) -> None:
    ks = cloud.service("keystone").handle
    folder = cloud.env.state / "keystone" / "fernet-keys"
    assert sorted(p.name for p in folder.iterdir()) == ["0", "1"]
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in folder.iterdir())
    staged = (folder / "0").read_bytes()
    bus = cloud.env.bus("cloudseed")
    assert await bus.call(Context(), "keystone", "rotate_keys") == 2
    assert (folder / "2").read_bytes() == staged  # what was staged is primary now
    assert (await validate(admin, admin.token)).status == 200
    newer = await cloud.login("admin")
    ks.memory.clear()
    assert (await validate(newer, admin.token)).status == 200  # signed with what is secondary now
    await bus.call(Context(), "keystone", "rotate_keys")
    assert sorted(p.name for p in folder.iterdir()) == ["0", "2", "3"]
    ks.memory.clear()
    assert (await validate(newer, admin.token)).status == 404  # its key is gone
    assert (await validate(newer, newer.token)).status == 200
