"""Interoperable import: stage, import, follow the task."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloudseed.kernel.operations import Killed, faults
from tests.glance.conftest import OCTETS, Images, stored_bytes
from tests.support.cloud import Cloud

DATA = os.urandom(2 << 20)
DIRECT = {"method": {"name": "glance-direct"}}


async def test_import(cloud: Cloud, glance: Images) -> None:
    image_id = await glance.create()
    path = f"/images/{image_id}"
    await glance("POST", f"{path}/import", 409, json=DIRECT)
    await glance("PUT", f"{path}/stage", 204, body=DATA, headers=OCTETS)
    assert (await glance.show(image_id))["status"] == "uploading"
    await glance("PUT", f"{path}/stage", 409, body=DATA, headers=OCTETS)
    for body in ({}, [], {"method": {"name": "web-download"}}, {"method": "x"}):
        await glance("POST", f"{path}/import", 400, json=body)
    await glance("POST", f"{path}/import", 202, json=DIRECT)
    assert len(await stored_bytes(cloud)) == 1
    shown = await glance.show(image_id)
    assert shown["status"] == "active" and shown["size"] == len(DATA)
    assert (await glance("GET", f"{path}/file", 200)).body == DATA
    task, = (await glance("GET", f"{path}/tasks", 200)).json()["tasks"]
    assert (task["status"], task["type"], task["image_id"]) == ("success", "api_image_import", image_id)
    assert (await glance("GET", f"/tasks/{task['id']}", 200)).json()["result"] == {"image_id": image_id}
    assert [t["id"] for t in (await glance("GET", "/tasks", 200)).json()["tasks"]] == [task["id"]]
    await glance("POST", f"{path}/import", 409, json=DIRECT)
    await glance("GET", "/tasks/none", 404)
    assert (await glance("GET", "/info/import", 200)).json()["import-methods"]["value"] == ["glance-direct"]


async def test_an_import_that_is_refused(cloud: Cloud, glance: Images) -> None:
    image_id = await glance.create(disk_format="qcow2")
    await glance("PUT", f"/images/{image_id}/stage", 204, body=DATA, headers=OCTETS)
    await glance("POST", f"/images/{image_id}/import", 202, json=DIRECT)
    assert await stored_bytes(cloud) == []
    assert (await glance.show(image_id))["status"] == "queued"
    task, = (await glance("GET", f"/images/{image_id}/tasks", 200)).json()["tasks"]
    assert task["status"] == "failure" and "its content is raw" in task["message"]


async def test_a_truncated_staging_leaves_nothing(cloud: Cloud, glance: Images) -> None:
    image_id = await glance.create()
    await glance("PUT", f"/images/{image_id}/stage", 400, body=DATA, headers=OCTETS, truncate=True)
    assert (await glance.show(image_id))["status"] == "queued"
    assert await stored_bytes(cloud) == []


async def test_deleting_what_is_staged(cloud: Cloud, glance: Images) -> None:
    image_id = await glance.create()
    await glance("PUT", f"/images/{image_id}/stage", 204, body=DATA, headers=OCTETS)
    await glance("DELETE", f"/images/{image_id}", 204)
    assert await stored_bytes(cloud) == []


@pytest.mark.parametrize("step", ["store", "activate", "unstage"])
@pytest.mark.parametrize("moment", ["before", "after", "recorded"])
async def test_a_kill_during_an_import(tmp_path: Path, step: str, moment: str) -> None:
    """An import goes on after a restart: what it needs was staged."""
    point = f"glance.import:{step}:{moment}"

    def die(name: str) -> None:
        if name == point:
            raise Killed(name)

    parts = ["keystone", "swift", "glance"]
    async with Cloud(tmp_path, parts) as cloud:
        glance = Images(await cloud.login("admin"))
        image_id = await glance.create()
        await glance("PUT", f"/images/{image_id}/stage", 204, body=DATA, headers=OCTETS)
        faults.arm(die)
        try:
            await glance("POST", f"/images/{image_id}/import", 202, json=DIRECT)
            assert not await cloud.service("glance").handle.engine.idle(0.3)
        finally:
            faults.arm(None)
    async with Cloud(tmp_path, parts) as cloud:
        glance = Images(await cloud.login("admin"))
        assert len(await stored_bytes(cloud)) == 1
        assert (await glance.show(image_id))["status"] == "active"
        assert (await glance("GET", f"/images/{image_id}/file", 200)).body == DATA
