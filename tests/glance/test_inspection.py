"""Images that could harm a host, or are not what they say, are refused while they come, and leave nothing."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator
from typing import Any

from tests.glance.conftest import Images, stored_bytes
from tests.support.cloud import Cloud

GIB = 1 << 30


def qcow2(*, backing: str = "", incompatible: int = 0, version: int = 3) -> bytes:
    """A qcow2 header (its specification, in qemu's docs/interop/qcow2.txt) of a 1 GiB disk."""
    offset = 512 if backing else 0
    head = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", version, offset, len(backing), 16, GIB, 0, 1, 0x30000,
                       0x10000, 1, 0, 0, incompatible, 0, 0, 4, 104)
    return (head.ljust(512, b"\0") + backing.encode()).ljust(1 << 18, b"\0")


def vmdk(kind: str, extents: str = 'RW 20 SPARSE "x-s001.vmdk"') -> bytes:
    """A hosted sparse VMDK with the descriptor that a hostile one has."""
    text = f'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="{kind}"\n\n{extents}\n'.encode()
    head = struct.pack("<4sIIQQQQIQQQB4s", b"KDMV", 1, 3, 20, 128, 1, 20, 512, 0, 21, 128, 0, b"\n \r\n")
    return (head.ljust(512, b"\0") + text.ljust(20 * 512, b"\0")).ljust(1 << 18, b"\0")


ISO = bytes(0x8000) + b"\x01CD001\x01" + bytes(2041) + bytes(1 << 17)
GPT = bytes(446) + struct.pack("<B3sB3sII", 0, b"\0\x02\0", 0xEE, b"\xff\xff\xff", 1, 2**32 - 1) + bytes(48) \
    + b"\x55\xaa" + b"EFI PART" + bytes(1 << 17)
HOSTILE = {
    "backing file": ("qcow2", qcow2(backing="/etc/shadow"), b"backing file"),
    "data file": ("qcow2", qcow2(incompatible=1 << 2), b"data file"),
    "unknown features": ("qcow2", qcow2(incompatible=1 << 20), b"unknown features"),
    "short qcow2": ("qcow2", qcow2()[:80], b""),
    "qcow2 said to be raw": ("raw", qcow2(backing="/etc/shadow"), b"its content is qcow2"),
    "good qcow2 said to be raw": ("raw", qcow2(), b"its content is qcow2"),
    "raw said to be qcow2": ("qcow2", os.urandom(1 << 18), b"its content is raw"),
    "flat vmdk": ("vmdk", vmdk("monolithicFlat", 'RW 20 FLAT "/etc/passwd" 0'), b"refused"),
    "vmdk said to be raw": ("raw", vmdk("streamOptimized"), b"its content is vmdk"),
    "qcow2 said to be iso": ("iso", qcow2(), b"its content is qcow2"),
    "qcow2 said to be vmdk": ("vmdk", qcow2(), b"its content is qcow2"),
    "luks said to be raw": ("raw", b"LUKS\xba\xbe\x00\x01" + bytes(1 << 18), b"luks"),
    "nothing said to be qcow2": ("qcow2", b"", b"raw"),
}


async def test_hostile_images(fast_cloud: Cloud, records: Images) -> None:
    for case, (disk_format, data, reason) in HOSTILE.items():
        image_id = await records.create(disk_format=disk_format)
        answer = await records("PUT", f"/images/{image_id}/file", 415, body=data,
                               headers={"Content-Type": "application/octet-stream"})
        assert reason in answer.body, (case, answer.body)
        assert (await records.show(image_id))["status"] == "queued", case
    assert await stored_bytes(fast_cloud) == []


async def test_hostile_images_reach_no_object(tmp_path: Any) -> None:
    async with Cloud(tmp_path, ["keystone", "swift", "glance"]) as cloud:
        glance = Images(await cloud.login("admin"))
        await glance.upload(qcow2(backing="/etc/shadow"), 415, disk_format="qcow2")
        await glance.upload(qcow2(), 415, disk_format="raw")
        assert await stored_bytes(cloud) == []


GOOD: list[tuple[str, str, bytes, int | None]] = [
    ("qcow2", "bare", qcow2(), GIB), ("raw", "bare", os.urandom(5000), 5000), ("raw", "bare", GPT, len(GPT)),
    ("raw", "bare", ISO, len(ISO)), ("iso", "bare", ISO, len(ISO)), ("aki", "aki", qcow2(backing="x"), None),
    ("raw", "bare", b"#!/bin/sh", 9)]


async def test_good_images(records: Images) -> None:
    for disk_format, container, data, virtual_size in GOOD:
        image_id = await records.upload(data, disk_format=disk_format, container_format=container)
        assert (await records.show(image_id))["virtual_size"] == virtual_size, disk_format


async def test_without_enforcement_only_what_could_harm_is_refused(tmp_path: Any) -> None:
    async with Cloud(tmp_path, ["keystone", "glance"], image_store="file", image_format_enforcement=False) as cloud:
        glance = Images(await cloud.login("admin"))
        for disk_format in ("raw", "qcow2", "vmdk", "iso", "vhd"):
            await glance.upload(os.urandom(3000), disk_format=disk_format)
        await glance.upload(qcow2(), disk_format="raw")
        for disk_format, data in (("raw", qcow2(backing="/etc/shadow")), ("iso", qcow2(incompatible=1 << 2)),
                                  ("qcow2", vmdk("monolithicFlat", 'RW 20 FLAT "/etc/passwd" 0'))):
            await glance.upload(data, 415, disk_format=disk_format)


async def test_a_large_hostile_image_is_refused_early(records: Images) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield qcow2()
        for _ in range(1000):
            sent += 1
            yield bytes(1 << 20)

    image_id = await records.create()
    await records("PUT", f"/images/{image_id}/file", 415, body=endless(),
                  headers={"Content-Type": "application/octet-stream"})
    assert sent < 10


async def test_memory_stays_flat(cloud: Cloud, glance: Images) -> None:
    """A 192 MiB image up and down costs a few pieces of memory, on either store."""
    piece = os.urandom(1 << 20)

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(192):
            yield piece

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    await glance.upload(piece)  # whatever is loaded once is loaded now
    image_id = await glance.create()
    before = resident()
    await glance("PUT", f"/images/{image_id}/file", 204, body=stream(),
                 headers={"Content-Type": "application/octet-stream"})
    assert resident() - before < 32 << 20
    handle = cloud.service("glance").handle
    from cloudseed.glance.images import get_image
    from cloudseed.glance.stores import Part
    from cloudseed.kernel.context import Context, Identity

    image = await get_image(handle, Context(identity=Identity(user_id="u", roles=frozenset({"admin"}))), image_id)
    reader = await handle.stores.of(image.location).get(Context(), image.location, Part(0, image.size, image.size))
    total = 0
    async for chunk in reader:
        total += len(chunk)
    assert total == 192 << 20
    assert resident() - before < 48 << 20
