"""A cloud with keystone and swift, and a project's client whose paths begin at its own account."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import Answer, Client, Cloud


class Account:
    """A client bound to an account: `await account("PUT", "/container/object", body=b"x")`."""

    def __init__(self, client: Client, account: str | None = None) -> None:
        self.client = client
        self.name = account or f"AUTH_{client.project_id}"

    async def __call__(self, method: str, path: str = "", status: int | None = None, **options: Any) -> Answer:
        answer = await self.client.request(method, f"/object-store/v1/{self.name}{path}", **options)
        if status is not None:
            assert answer.status == status, (method, path, answer.status, answer.body)
        return answer


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with Cloud(tmp_path, ["keystone", "swift"]) as cloud:
        yield cloud


@pytest.fixture
async def alice(cloud: Cloud) -> Account:
    """The owner of an account: the admin, in the admin's own project."""
    return Account(await cloud.login("admin"))


@pytest.fixture
async def bob(cloud: Cloud) -> Account:
    return Account(await cloud.new_project("bob"))
