"""The hot paths: a login that was verified moments ago pays no hash, and lists ask as often for many as for few."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.keystone.conftest import V3, create, grant, login, validate
from tests.support.cloud import Client, Cloud
from tests.support.statements import counted_statements


@pytest.fixture
async def slow_hash(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with Cloud(tmp_path, ["keystone"], password_hash_rounds=11) as cloud:
        yield cloud


async def _seconds(work: Callable[[], Awaitable[Any]], times: int, at_once: int = 1) -> float:
    async def some() -> None:
        for _ in range(times // at_once):
            await work()

    started = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(at_once)))
    return (time.perf_counter() - started) / times


async def test_a_login_again_costs_no_hash(slow_hash: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    admin = await slow_hash.login("admin")
    user = await create(admin, "user", name="ann", password="secret")
    await grant(admin, "member", user, f"projects/{admin.project_id}")
    scope = {"project": {"id": admin.project_id}}
    first = await _seconds(lambda: login(slow_hash, user, "secret", scope), 1)
    again = await _seconds(lambda: login(slow_hash, user, "secret", scope), 200, 8)
    wrong = await _seconds(lambda: login(slow_hash, user, "wrong", scope), 2)
    check = await _seconds(lambda: validate(admin, admin.token), 400, 8)
    with capsys.disabled():
        print(f"\n  issue {1 / again:.0f}/s again ({first * 1000:.0f} ms the first time), validate {1 / check:.0f}/s")
    assert again < first / 10 and wrong > first / 3  # a wrong password is never remembered
    assert (await admin.patch(f"{V3}/users/{user['id']}", {"user": {"password": "new"}})).status == 200
    assert (await login(slow_hash, user, "secret", scope)).status == 401  # what was remembered is void


async def test_nobody_costs_as_much_as_a_wrong_password(slow_hash: Cloud) -> None:
    admin = await slow_hash.login("admin")
    user = await create(admin, "user", name="ann", password="secret")
    nova = (await admin.get(f"{V3}/users?name=nova")).json()["users"][0]  # its random password has a cheap hash
    wrong = await _seconds(lambda: login(slow_hash, user, "wrong"), 4)
    for who in ({"id": "0" * 32}, nova):
        cost = await _seconds(lambda who=who: login(slow_hash, who, "wrong"), 4)  # type: ignore[misc]
        assert wrong / 3 < cost < wrong * 3, who


async def test_lists_ask_the_database_as_often_for_many_as_for_few(cloud: Cloud, admin: Client) -> None:
    async def count(path: str) -> int:
        await admin.get(f"{V3}/{path}")
        with counted_statements() as statements:
            assert (await admin.get(f"{V3}/{path}")).status == 200
        return len(statements)

    paths = (
        "projects",
        "users",
        "groups",
        "roles",
        "role_assignments?effective&include_names",
        "auth/projects",
        f"users/{admin.user_id}/application_credentials",
        "domains",
        "credentials",
    )
    few = {path: await count(path) for path in paths}
    for n in range(12):
        project = await create(admin, "project", name=f"p{n}", tags=["a", "b"])
        user = await create(admin, "user", name=f"u{n}")
        await create(admin, "group", name=f"g{n}")
        await create(admin, "role", name=f"r{n}")
        await create(admin, "domain", name=f"d{n}")
        await grant(admin, "member", user, f"projects/{project['id']}")
        await grant(admin, "member", {"id": admin.user_id}, f"projects/{project['id']}")
        await admin.post(
            f"{V3}/users/{admin.user_id}/application_credentials", {"application_credential": {"name": f"a{n}"}}
        )
        await create(admin, "credential", type="cert", blob="x")
    assert {path: await count(path) for path in paths} == few
