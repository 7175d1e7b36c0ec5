"""A server that is deleted while it boots is gone, whatever step it had come to, and leaves nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudseed.kernel.operations import OperationType, faults
from cloudseed.ledger import checks
from cloudseed.nova.conductor import Conductor
from tests.support.cloud import Client, Cloud

_nobody: Any = SimpleNamespace(conductor_session=None)
BOOT: OperationType = next(kind for kind in Conductor(_nobody).types if kind.kind == "nova.boot")
STEPS = [step.name for step in BOOT.steps]


class Deleter:
    """Sends DELETE from within the boot, as soon as it passes `point`: the boot goes on meanwhile."""

    def __init__(self, admin: Client, point: str) -> None:
        self._admin = admin
        self._point = point
        self.server_id = ""
        self.answer: asyncio.Task[Any] | None = None

    def __call__(self, point: str) -> None:
        if point == self._point and self.answer is None:
            self.answer = asyncio.get_running_loop().create_task(self._delete())

    async def _delete(self) -> Any:
        while not self.server_id:  # the order's own answer may still be on its way
            await asyncio.sleep(0)
        return await self._admin.delete(f"/compute/v2.1/servers/{self.server_id}")


async def send(admin: Client, path: str, body: dict[str, Any]) -> Any:
    answer = await admin.post(path, body)
    assert answer.status in (200, 201, 202), (path, answer.status, answer.body)
    return answer.json()


@pytest.mark.parametrize("moment", ["before", "after", "recorded"])
async def test_deleted_during_every_step(tmp_path: Path, moment: str) -> None:
    async with Cloud(tmp_path) as cloud:
        admin = await cloud.login("admin")
        await send(admin, "/compute/v2.1/flavors",
                   {"flavor": {"name": "tiny", "id": "tiny", "ram": 64, "vcpus": 1, "disk": 1}})
        image = await send(admin, "/image/v2/images",
                           {"name": "i", "disk_format": "raw", "container_format": "bare"})
        await admin.put(f"/image/v2/images/{image['id']}/file", body=b"bytes",
                        headers={"content-type": "application/octet-stream"})
        network = (await send(admin, "/networking/v2.0/networks", {"network": {"name": "n"}}))["network"]
        await send(admin, "/networking/v2.0/subnets",
                   {"subnet": {"network_id": network["id"], "ip_version": 4, "cidr": "10.3.0.0/24"}})
        given = (await send(admin, "/networking/v2.0/ports", {"port": {"network_id": network["id"]}}))["port"]["id"]
        nova = cloud.service("nova").handle
        outcomes = {}
        for step in STEPS:
            deleter = Deleter(admin, f"nova.boot:{step}:{moment}")
            faults.arm(deleter)
            try:
                made = await send(admin, "/compute/v2.1/servers", {"server": {
                    "name": step, "flavorRef": "tiny", "imageRef": image["id"],
                    "networks": [{"uuid": network["id"]}, {"port": given}]}})
                deleter.server_id = made["server"]["id"]
                async with asyncio.timeout(20):
                    while deleter.answer is None:
                        await asyncio.sleep(0.005)
                    assert (await deleter.answer).status == 204
                    while (await admin.get(f"/compute/v2.1/servers/{deleter.server_id}")).status != 404:
                        await asyncio.sleep(0.005)
            finally:
                faults.arm(None)
            assert await nova.engine.idle()
            boot, delete = await nova.engine.story(deleter.server_id)
            outcomes[step] = boot["status"]
            assert (boot["status"] in ("cancelled", "done"), delete["status"]) == (True, "done"), (step, boot, delete)
            port = (await admin.get(f"/networking/v2.0/ports/{given}")).json()["port"]
            assert port["device_id"] == "" and port["binding:host_id"] == ""  # given back, not deleted
            left = (await admin.get(f"/networking/v2.0/ports?device_id={deleter.server_id}")).json()["ports"]
            assert left == []
            picture = await cloud.runtime.ledger()
            assert checks.check(picture) == [], step
            assert picture["placement"]["allocations"] == []
        # the boot was really stopped short: what came before the last step was undone, not merely deleted
        assert outcomes["schedule"] == outcomes["networks"] == "cancelled", outcomes
