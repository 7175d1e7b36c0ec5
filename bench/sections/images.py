"""Images: records and lists, and bytes in and out."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import time

from bench.sections import Bench


async def run(bench: Bench) -> dict[str, float]:
    """Figures: the limit that hashing sets to an upload (glance's SHA-512 and the store's MD5, side by side)."""
    client, meter = bench.client, bench.meter
    data, made = os.urandom(bench.image_mib << 20), list[str]()

    async def create(number: int) -> None:
        record = {"name": f"bench-{number}", "disk_format": "raw", "container_format": "bare"}
        made.append((await client.request("POST", "/image/v2/images", record)).json()["id"])

    async def listing(number: int) -> None:
        found = await client.get(f"/image/v2/images?limit={bench.images}")
        _check(len(found["images"]), bench.images, "images")

    async def upload(number: int) -> None:
        await client.request("PUT", f"/image/v2/images/{made[number]}/file", body=data)

    async def download(number: int) -> None:
        path = f"/image/v2/images/{made[number % len(made)]}/file"
        _check(await asyncio.to_thread(_download, bench, path), len(data), "bytes")

    await meter.run("image create", bench.images, 4, create)
    for concurrency in (1, 8):
        await meter.run(f"list of {bench.images} images", bench.lists, concurrency, listing)
    made[:] = made[:8]
    figures: dict[str, float] = {}
    small = bench.images < 8
    for concurrency in (1,) if small else (1, 8):
        if concurrency == 8:
            made.clear()
            for number in range(8):
                await create(bench.images + number)
        count = len(made)
        row = await meter.run("image upload", count, concurrency, upload, mib=bench.image_mib)
        limit = await _hash_limit(data)
        figures |= {
            f"hash_limit_{concurrency}_mib_per_s": round(limit, 1),
            f"upload_{concurrency}_of_hash_limit": round(row.more["mib_per_s"] / limit, 3),
        }
        await meter.run("image download", count * 2, concurrency, download, mib=bench.image_mib)
    return figures


def _download(bench: Bench, path: str) -> int:
    """Bytes of the body.  With a plain socket: an event loop's streams would be slower than the cloud."""
    connection = http.client.HTTPConnection("127.0.0.1", bench.cloud.port, timeout=120)
    try:
        connection.request("GET", path, headers={"X-Auth-Token": bench.client.token})
        response, total, room = connection.getresponse(), 0, memoryview(bytearray(1 << 20))
        while count := response.readinto(room):
            total += count
        return total
    finally:
        connection.close()


async def _hash_limit(data: bytes) -> float:
    """MiB a second of both hashes of the same bytes, each in a thread, with nothing around them."""
    began = time.perf_counter()
    hashes = (hashlib.sha512(), hashlib.md5(usedforsecurity=False))
    await asyncio.gather(*(asyncio.to_thread(one.update, data) for one in hashes))
    return (len(data) >> 20) / (time.perf_counter() - began)


def _check(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise RuntimeError(f"{found} {what} instead of {expected}")
