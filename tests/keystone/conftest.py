"""A keystone of its own for each test, and what tests ask of it again and again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import Answer, Client, Cloud

V3 = "/identity/v3"


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with Cloud(tmp_path, ["keystone"]) as cloud:
        yield cloud


@pytest.fixture
async def admin(cloud: Cloud) -> Client:
    return await cloud.login("admin")


async def create(client: Client, noun: str, collection: str | None = None, **values: Any) -> dict[str, Any]:
    """POST one, and what came back."""
    answer = await client.post(f"{V3}/{collection or noun + 's'}", {noun: values})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json()[noun]
    return made


async def login(cloud: Cloud, user: dict[str, Any], password: str, scope: Any = None, **more: Any) -> Answer:
    """POST /v3/auth/tokens as a user by id."""
    auth: dict[str, Any] = {
        "identity": {"methods": ["password"], "password": {"user": {"id": user["id"], "password": password}}},
        **more,
    }
    if scope is not None:
        auth["scope"] = scope
    return await cloud.anonymous().post(f"{V3}/auth/tokens", {"auth": auth})


def client_of(cloud: Cloud, answer: Answer) -> Client:
    """A client with the token that was just issued."""
    assert answer.status == 201, answer.body
    return Client(cloud, answer.headers["x-subject-token"], answer.json()["token"])


async def validate(client: Client, token: str | None, **params: Any) -> Answer:
    return await client.get(f"{V3}/auth/tokens", headers={"X-Subject-Token": token or ""}, params=params)


async def role_id(admin: Client, name: str) -> str:
    found: str = (await admin.get(f"{V3}/roles", params={"name": name})).json()["roles"][0]["id"]
    return found


async def grant(admin: Client, role: str, user: dict[str, Any], on: str) -> None:
    """`on`: projects/ID, domains/ID or system."""
    answer = await admin.put(f"{V3}/{on}/users/{user['id']}/roles/{await role_id(admin, role)}")
    assert answer.status == 204, answer.body
