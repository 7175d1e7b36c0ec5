"""A cloud of keystone and placement for each test, copied from one that was set up once."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import Answer, Client, Cloud

SERVICES = ["keystone", "placement"]


class Api:
    """Placement as one client sees it, at a microversion; checks the status on the way."""

    def __init__(self, client: Client, version: str = "1.39") -> None:
        self.client = client
        self.version = version

    def at(self, version: str) -> Api:
        return Api(self.client, version)

    async def call(self, method: str, path: str, body: Any = None, status: int = 200, **options: Any) -> Any:
        """The decoded answer (None when it has no body); fails unless it has `status`."""
        answer = await self.raw(method, path, body, **options)
        assert answer.status == status, (method, path, self.version, answer.status, answer.body)
        return answer.json() if answer.body else None

    async def raw(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        headers = {"OpenStack-API-Version": f"placement {self.version}", **options.pop("headers", {})}
        return await self.client.request(method, f"/placement{path}", json=body, headers=headers, **options)

    async def get(self, path: str, status: int = 200) -> Any:
        return await self.call("GET", path, None, status)

    async def provider(self, name: str, inventories: dict[str, Any] | None = None, *, parent: str | None = None,
                       traits: list[str] | None = None, aggregates: list[str] | None = None) -> str:
        """A new provider with all that hangs on it; its uuid."""
        uuid: str = (await self.call("POST", "/resource_providers",
                                     {"name": name, "parent_provider_uuid": parent}))["uuid"]
        url, generation = f"/resource_providers/{uuid}", 0
        for kind, key, value in (("inventories", "inventories", inventories), ("traits", "traits", traits),
                                 ("aggregates", "aggregates", aggregates)):
            if value:
                body = {key: value, "resource_provider_generation": generation}
                answer = await self.call("PUT", f"{url}/{kind}", body)
                generation = answer["resource_provider_generation"]
        return uuid

    async def claim(self, consumer: str, allocations: dict[str, dict[str, int]], status: int = 204,
                    generation: int | None = None, **more: Any) -> Any:
        body = {"allocations": {uuid: {"resources": resources} for uuid, resources in allocations.items()},
                "project_id": "a-project", "user_id": "a-user", "consumer_generation": generation,
                "consumer_type": "INSTANCE", **more}
        return await self.call("PUT", f"/allocations/{consumer}", body, status)

    async def generation(self, uuid: str) -> int:
        generation: int = (await self.get(f"/resource_providers/{uuid}"))["generation"]
        return generation

    async def candidates(self, query: str) -> list[dict[str, Any]]:
        """What each candidate takes: provider's name -> class -> amount."""
        names = {p["uuid"]: p["name"] for p in (await self.get("/resource_providers"))["resource_providers"]}
        answer = await self.get(f"/allocation_candidates?{query}")
        assert all(uuid in answer["provider_summaries"]
                   for entry in answer["allocation_requests"] for uuid in entry["allocations"])
        return [{names[uuid]: share["resources"] for uuid, share in entry["allocations"].items()}
                for entry in answer["allocation_requests"]]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a cloud that has been started once."""
    path = tmp_path_factory.mktemp("placement") / "state"

    async def start_and_stop() -> None:
        async with Cloud(path, SERVICES):
            pass

    asyncio.run(start_and_stop())
    return path


@pytest.fixture
async def cloud(prepared: Path, tmp_path: Path) -> AsyncIterator[Cloud]:
    shutil.copytree(prepared, tmp_path / "state")
    async with Cloud(tmp_path / "state", SERVICES) as cloud:
        yield cloud


@pytest.fixture
async def api(cloud: Cloud) -> Api:
    return Api(await cloud.login("admin"))
