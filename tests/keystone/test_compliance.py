"""Accounts that wrong passwords lock, and passwords that may not come back; neither happens unless asked for."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.keystone import compliance
from tests.keystone.conftest import V3, client_of, create, login
from tests.support.cloud import Client, Cloud


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with Cloud(tmp_path, ["keystone"], lockout_failure_attempts=2, unique_last_password_count=3) as cloud:
        yield cloud


@pytest.fixture
async def ann(admin: Client) -> dict[str, Any]:
    return await create(admin, "user", name="ann", password="p0")


async def test_wrong_passwords_lock_the_account_until_it_is_enabled(cloud: Cloud, admin: Client,
                                                                    ann: dict[str, Any]) -> None:
    async def tried(*passwords: str) -> list[int]:
        return [(await login(cloud, ann, password)).status for password in passwords]

    assert await tried("x", "p0", "x", "p0") == [401, 201, 401, 201]  # a right one ends the count
    assert await tried("x", "x", "p0", "p0") == [401] * 4
    wrong, locked = await login(cloud, {"id": "nobody"}, "x"), await login(cloud, ann, "p0")
    assert wrong.json() == locked.json()  # nobody learns that the password was right
    path = f"{V3}/users/{ann['id']}/password"
    body = {"user": {"original_password": "p0", "password": "p1"}}
    assert (await cloud.anonymous().post(path, body)).status == 401
    enabled = await admin.patch(f"{V3}/users/{ann['id']}", {"user": {"enabled": True}})
    assert enabled.status == 200 and await tried("p0") == [201]
    body["user"]["original_password"] = "x"
    assert [(await cloud.anonymous().post(path, body)).status for _ in range(2)] == [401, 401]
    assert await tried("p0") == [401]  # tries to change the password count too


async def test_a_lock_ends_by_itself_and_some_are_never_locked(
        cloud: Cloud, admin: Client, ann: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        await login(cloud, ann, "x")
    assert (await login(cloud, ann, "p0")).status == 401
    later = compliance.utcnow() + datetime.timedelta(seconds=1800)
    monkeypatch.setattr(compliance, "utcnow", lambda: later)
    # and the count starts afresh
    assert (await login(cloud, ann, "x")).status == 401 and (await login(cloud, ann, "p0")).status == 201
    never = {"user": {"options": {"ignore_lockout_failure_attempts": True}}}
    assert (await admin.patch(f"{V3}/users/{ann['id']}", never)).status == 200
    assert {(await login(cloud, ann, "x")).status for _ in range(4)} == {401}
    assert (await login(cloud, ann, "p0")).status == 201


async def test_old_passwords_do_not_come_back(cloud: Cloud, admin: Client, ann: dict[str, Any]) -> None:
    async def change(old: str, new: str) -> Any:
        client = client_of(cloud, await login(cloud, ann, old))
        return await client.post(f"{V3}/users/{ann['id']}/password",
                                 {"user": {"original_password": old, "password": new}})

    refused = await change("p0", "p0")
    assert refused.status == 400 and b"cannot be identical to a previous password" in refused.body
    assert (await change("p0", "p1")).status == 204
    assert (await admin.patch(f"{V3}/users/{ann['id']}", {"user": {"password": "p2"}})).status == 200
    for old in ("p0", "p1", "p2"):
        assert (await change("p2", old)).status == 400, old
    assert (await change("p2", "p3")).status == 204
    assert (await change("p3", "p0")).status == 204  # the fourth last
    assert (await admin.patch(f"{V3}/users/{ann['id']}", {"user": {"password": "p0"}})).status == 200
    assert (await admin.delete(f"{V3}/users/{ann['id']}")).status == 204
