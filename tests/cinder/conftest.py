"""A cloud with keystone and cinder, and a double of the volume manager."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from cloudseed.cli.roles import builders, whole
from cloudseed.kernel.runtime import Environment, Runtime
from tests.cinder.manager_double import Manager
from tests.support.cloud import Answer, Client, Cloud

V3 = "/volume/v3"


_templates: dict[tuple[str, ...], tempfile.TemporaryDirectory[str]] = {}


async def _copy_template(cloud: CinderCloud) -> None:
    """Give a new cloud a state in which its services were started once: that is faster than migrating."""
    path, names = Path(cloud.config.state), tuple(cloud.names)
    if (path / "control").exists():
        return
    if names not in _templates:
        _templates[names] = tempfile.TemporaryDirectory(prefix="cinder-")
        async with Cloud(Path(_templates[names].name), names):
            pass
    shutil.copytree(_templates[names].name, path, dirs_exist_ok=True, symlinks=True)


class CinderCloud(Cloud):
    """The named services, the manager's double and whatever else is given as builders."""

    def __init__(self, path: Path, manager: Manager, services: Iterable[str] = ("keystone", "cinder"),
                 extra: Iterable[Any] = ()) -> None:
        super().__init__(path, services)
        self.manager = manager
        self.extra = list(extra)

    async def __aenter__(self) -> CinderCloud:
        await _copy_template(self)
        self.env = Environment(self.config)  # without a host there are no managers but the double
        self.runtime = Runtime(self.env, [*builders(whole(self.names)), self.manager.build, *self.extra])
        await self.runtime.start(listen=False)
        return self

    @property
    def cinder(self) -> Any:
        return self.service("cinder").handle

    async def idle(self) -> None:
        assert await self.cinder.engine.idle(20)


class Volumes:
    """Cinder as one client uses it, at one microversion."""

    def __init__(self, client: Client, version: str = "3.71") -> None:
        self.client = client
        self.version = version

    async def __call__(self, method: str, path: str, status: int | None = None, json: Any = None, **options: Any
                       ) -> Any:
        headers = {"OpenStack-API-Version": f"volume {self.version}", **options.pop("headers", {})}
        answer: Answer = await self.client.request(method, V3 + path, json=json, headers=headers, **options)
        if status is not None:
            assert answer.status == status, (method, path, answer.status, answer.body)
        return answer.json() if answer.body else None

    async def create(self, size: int | None = 1, wait: str = "available", **fields: Any) -> str:
        """A new volume's id, once it is in the status `wait`."""
        body = {"volume": {**({"size": size} if size is not None else {}), **fields}}
        volume_id: str = (await self("POST", "/volumes", 202, body))["volume"]["id"]
        await self.wait_for(volume_id, wait)
        return volume_id

    async def show(self, volume_id: str, kind: str = "volume") -> dict[str, Any]:
        found: dict[str, Any] = (await self("GET", f"/{kind}s/{volume_id}", 200))[kind]
        return found

    async def wait_for(self, volume_id: str, status: str, kind: str = "volume") -> dict[str, Any]:
        """Wait for a status; "gone" for a 404."""
        until = time.monotonic() + 15
        while True:
            answer = await self("GET", f"/{kind}s/{volume_id}")
            found = answer.get(kind, {"status": "gone"})
            if found["status"] == status:
                return found
            assert time.monotonic() < until, (found, status)
            await asyncio.sleep(0.005)

    async def act(self, volume_id: str, name: str, value: Any = None, status: int | None = 202) -> Any:
        return await self("POST", f"/volumes/{volume_id}/action", status, {name: {} if value is None else value})

    async def snapshot(self, volume_id: str, **fields: Any) -> str:
        body = {"snapshot": {"volume_id": volume_id, **fields}}
        snapshot_id: str = (await self("POST", "/snapshots", 202, body))["snapshot"]["id"]
        await self.wait_for(snapshot_id, "available", "snapshot")
        return snapshot_id


@pytest.fixture
def manager() -> Manager:
    return Manager()


@pytest.fixture
async def cloud(tmp_path: Path, manager: Manager) -> AsyncIterator[CinderCloud]:
    async with CinderCloud(tmp_path, manager) as cloud:
        yield cloud


@pytest.fixture
async def user(cloud: CinderCloud) -> Volumes:
    return Volumes(await cloud.new_project("alice"))


@pytest.fixture
async def admin(cloud: CinderCloud) -> Volumes:
    return Volumes(await cloud.login("admin"))
