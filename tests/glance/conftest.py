"""A cloud with keystone, swift and glance; every test that touches bytes runs on both stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.swift import cleanup
from tests.support.cloud import Answer, Client, Cloud

OCTETS = {"Content-Type": "application/octet-stream"}


class Images:
    """Glance as one client uses it."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def __call__(self, method: str, path: str, status: int | None = None, **options: Any) -> Answer:
        answer = await self.client.request(method, f"/image/v2{path}", **options)
        if status is not None:
            assert answer.status == status, (method, path, answer.status, answer.body)
        return answer

    async def create(self, **body: Any) -> str:
        """A new image's id."""
        body = {"name": "i", "disk_format": "raw", "container_format": "bare", **body}
        image_id: str = (await self("POST", "/images", 201, json=body)).json()["id"]
        return image_id

    async def upload(self, data: Any, status: int = 204, **body: Any) -> str:
        image_id = await self.create(**body)
        await self("PUT", f"/images/{image_id}/file", status, body=data, headers=OCTETS)
        return image_id

    async def show(self, image_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = (await self("GET", f"/images/{image_id}", 200)).json()
        return shown

    async def patch(self, image_id: str, *changes: dict[str, Any], status: int = 200) -> Answer:
        return await self("PATCH", f"/images/{image_id}", status, json=list(changes), headers={
            "Content-Type": "application/openstack-images-v2.1-json-patch"})


async def stored_bytes(cloud: Cloud) -> list[Any]:
    """Everything that any store or half-done work holds, after all work in flight has ended."""
    assert await cloud.service("glance").handle.engine.idle(10)
    swift = cloud.service("swift")
    await cleanup.sync_files(swift.handle)
    ledger = await cloud.runtime.ledger()
    return [*ledger["swift"]["files"], *ledger["swift"]["incoming"], *ledger["glance"]["files"],
            *ledger["glance"]["staged"]]


@pytest.fixture(params=["swift", "file"])
async def cloud(request: Any, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with Cloud(tmp_path, ["keystone", "swift", "glance"], image_store=request.param) as cloud:
        yield cloud


@pytest.fixture
async def fast_cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    """For tests of records, which are the same on every store."""
    async with Cloud(tmp_path, ["keystone", "swift", "glance"], image_store="file") as cloud:
        yield cloud


@pytest.fixture
async def glance(cloud: Cloud) -> Images:
    return Images(await cloud.login("admin"))


@pytest.fixture
async def records(fast_cloud: Cloud) -> Images:
    return Images(await fast_cloud.login("admin"))
