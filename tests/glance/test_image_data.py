"""An image's bytes, as clients see them: all there or not at all, on every store."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.kernel.operations import Killed, faults
from tests.glance.conftest import OCTETS, Images, stored_bytes
from tests.support.cloud import Cloud

DATA = os.urandom(3 << 20)


async def pieces(data: bytes, size: int = 1 << 17) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start:start + size]


@pytest.mark.parametrize("streamed", [False, True])
async def test_upload_and_download(glance: Images, streamed: bool) -> None:
    image_id = await glance.upload(pieces(DATA) if streamed else DATA)
    shown = await glance.show(image_id)
    assert shown["status"] == "active" and shown["size"] == shown["virtual_size"] == len(DATA)
    assert shown["checksum"] == hashlib.md5(DATA).hexdigest()
    assert (shown["os_hash_algo"], shown["os_hash_value"]) == ("sha512", hashlib.sha512(DATA).hexdigest())
    got = await glance("GET", f"/images/{image_id}/file", 200)
    assert got.body == DATA and got.headers["content-length"] == str(len(DATA))
    assert got.headers["content-md5"] == shown["checksum"]
    assert got.headers["content-type"] == "application/octet-stream"


async def test_an_empty_image(glance: Images) -> None:
    image_id = await glance.upload(b"")
    assert (await glance.show(image_id))["size"] == 0
    assert (await glance("GET", f"/images/{image_id}/file", 200)).body == b""


async def test_of_uploads_at_once_one_is_stored_and_the_others_refused(glance: Images) -> None:
    for _ in range(5):
        image_id = await glance.create()
        wanted = [bytes([number]) * (1 << 20) for number in range(8)]
        answers = await asyncio.gather(*(
            glance("PUT", f"/images/{image_id}/file", body=pieces(data), headers=OCTETS) for data in wanted))
        assert sorted(answer.status for answer in answers) == [204, *[409] * 7]
        winner = next(data for data, answer in zip(wanted, answers, strict=True) if answer.status == 204)
        assert (await glance("GET", f"/images/{image_id}/file", 200)).body == winner


RANGES = [
    ("bytes=0-9", DATA[:10]), ("bytes=-7", DATA[-7:]), ("bytes=100-", DATA[100:]), ("bytes=1-99999999", DATA[1:]),
    ("bytes=99999999-", None), ("bytes=5-2", None), ("bytes=0-1,3-4", None), ("x", None)]


async def test_ranges(glance: Images) -> None:
    image_id = await glance.upload(DATA)
    for spec, expected in RANGES:
        got = await glance("GET", f"/images/{image_id}/file", 206 if expected else 416, headers={"Range": spec})
        if expected is not None:
            assert got.body == expected and got.headers["content-range"].endswith(f"/{len(DATA)}")


async def test_when_data_may_come(glance: Images) -> None:
    image_id = await glance.create(disk_format=None)
    path = f"/images/{image_id}/file"
    await glance("GET", path, 204)
    await glance("PUT", path, 400, body=b"x", headers=OCTETS)
    await glance.patch(image_id, {"op": "replace", "path": "/disk_format", "value": "raw"})
    await glance("PUT", path, 415, body=b"x", headers={"Content-Type": "application/json"})
    await glance("PUT", path, 204, body=b"x", headers=OCTETS)
    again = await glance("PUT", path, 409, body=b"x", headers=OCTETS)
    assert b"from active to saving is not allowed" in again.body
    await glance("PUT", "/images/nope/file", 404, body=b"x", headers=OCTETS)


async def test_deleting_removes_the_bytes(cloud: Cloud, glance: Images) -> None:
    image_id = await glance.upload(DATA)
    assert len(await stored_bytes(cloud)) == 1
    await glance("DELETE", f"/images/{image_id}", 204)
    assert await stored_bytes(cloud) == []
    for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/file")]:
        await glance(method, f"/images/{image_id}{path}", 404)
    await glance("POST", "/images", 409, json={"id": image_id})  # an id is never used twice


async def test_a_truncated_upload_leaves_nothing(cloud: Cloud, glance: Images) -> None:
    for body in (DATA, pieces(DATA)):
        image_id = await glance.create()
        await glance("PUT", f"/images/{image_id}/file", 400, body=body, headers=OCTETS, truncate=True)
        assert (await glance.show(image_id))["status"] == "queued"
        assert await stored_bytes(cloud) == []
    await glance("PUT", f"/images/{image_id}/file", 204, body=DATA, headers=OCTETS)
    assert (await glance.show(image_id))["status"] == "active"


async def test_no_space(cloud: Cloud, glance: Images, monkeypatch: Any) -> None:
    real = os.write

    def full(fd: int, data: Any) -> int:
        if len(data) > 500_000:
            raise OSError(errno.ENOSPC, "no space")
        return real(fd, data)

    monkeypatch.setattr("cloudseed.kernel.files.os.write", full)
    image_id = await glance.upload(pieces(DATA), 507)
    monkeypatch.undo()
    assert (await glance.show(image_id))["status"] == "queued"
    assert await stored_bytes(cloud) == []


async def test_deleting_while_uploading(cloud: Cloud, glance: Images) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield DATA
        arrived.set()
        await go_on.wait()
        yield DATA

    image_id = await glance.create()
    upload = asyncio.create_task(glance("PUT", f"/images/{image_id}/file", body=slow(), headers=OCTETS))
    await arrived.wait()
    assert (await glance.show(image_id))["status"] == "saving"
    await glance("PUT", f"/images/{image_id}/file", 409, body=b"x", headers=OCTETS)
    await glance("DELETE", f"/images/{image_id}", 204)
    async with asyncio.timeout(10):
        answer = await upload
    assert answer.status == 410, answer.body
    assert await stored_bytes(cloud) == []
    go_on.set()


@pytest.mark.parametrize("store", ["swift", "file"])
@pytest.mark.parametrize("step", ["store", "activate"])
@pytest.mark.parametrize("moment", ["before", "after", "recorded"])
async def test_a_kill_during_an_upload(tmp_path: Path, store: str, step: str, moment: str) -> None:
    """The process dies at every point; after a restart the image is queued, or active with its bytes."""
    point = f"glance.upload:{step}:{moment}"

    def die(name: str) -> None:
        if name == point:
            raise Killed(name)

    parts = ["keystone", "swift", "glance"]
    async with Cloud(tmp_path, parts, image_store=store) as cloud:
        glance = Images(await cloud.login("admin"))
        image_id = await glance.create()
        faults.arm(die)
        try:
            with pytest.raises(Killed):
                await glance("PUT", f"/images/{image_id}/file", body=DATA, headers=OCTETS)
        finally:
            faults.arm(None)
    async with Cloud(tmp_path, parts, image_store=store) as cloud:
        glance = Images(await cloud.login("admin"))
        left = await stored_bytes(cloud)
        shown = await glance.show(image_id)
        # once the bytes are recorded, they need nobody's stream any more: the operation goes forward
        if (step, moment) in [("store", "before"), ("store", "after")]:
            assert (shown["status"], shown["size"], left) == ("queued", None, [])
            await glance("PUT", f"/images/{image_id}/file", 204, body=DATA, headers=OCTETS)
        assert (await glance.show(image_id))["status"] == "active"
        assert (await glance("GET", f"/images/{image_id}/file", 200)).body == DATA


async def test_limits(cloud: Cloud, glance: Images) -> None:
    limits = cloud.service("glance").handle.limits
    limits.image_size_cap = len(DATA)
    await glance.upload(DATA + b"x", 413)
    await glance.upload(pieces(DATA + b"x"), 413)
    assert await stored_bytes(cloud) == []
    await glance.upload(DATA)
    limits.user_storage_quota = 2 * len(DATA) - 1
    refused = await glance.upload(pieces(DATA), 413)
    assert (await glance.show(refused))["status"] == "queued"
    await glance.upload(pieces(DATA[:-1]))
    assert (await glance("GET", "/info/usage", 200)).json()["usage"]["image_size_total"] == {"limit": 5, "usage": 5}


async def test_deactivation(cloud: Cloud, glance: Images) -> None:
    image_id = await glance.upload(DATA, visibility="public")
    member = Images(await cloud.new_project("m"))
    await member("POST", f"/images/{image_id}/actions/deactivate", 403)
    for _ in range(2):
        await glance("POST", f"/images/{image_id}/actions/deactivate", 204)
    assert (await glance.show(image_id))["status"] == "deactivated"
    await member("GET", f"/images/{image_id}/file", 403)
    await glance("GET", f"/images/{image_id}/file", 200)
    await glance("POST", f"/images/{image_id}/actions/reactivate", 204)
    assert (await member("GET", f"/images/{image_id}/file", 200)).body == DATA
    queued = await glance.create()
    await glance("POST", f"/images/{queued}/actions/deactivate", 403)
    await glance("POST", f"/images/{image_id}/actions/explode", 400)


async def test_the_download_is_seen_in_the_flow(tmp_path: Path) -> None:
    async with Cloud(tmp_path, ["keystone", "swift", "glance"]) as cloud:
        image_id = await Images(await cloud.login("admin")).upload(b"bytes")
        client = await cloud.login("admin")
        await Images(client)("GET", f"/images/{image_id}/file", 200)
        cloud.env.recorder.flush()
        from cloudseed.kernel.context import trace_for_audit_id

        assert cloud.env.flow_store is not None
        flow = cloud.env.flow_store.exchanges(trace_for_audit_id(client.info["audit_ids"][0]))
        assert ("glance-api", "swift-proxy-server", "GET", 200) in {
            (e.caller, e.callee, e.method, e.status) for e in flow if e.path.endswith(f"/glance/{image_id}")}
