"""Images: records and lists, and bytes in and out."""

from __future__ import annotations

import os

from bench.sections import Bench


async def run(bench: Bench) -> None:
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
        answer = await client.request("GET", f"/image/v2/images/{made[number % len(made)]}/file")
        _check(len(answer.body), len(data), "bytes")

    await meter.run("image create", bench.images, 4, create)
    for concurrency in (1, 8):
        await meter.run(f"list of {bench.images} images", bench.lists, concurrency, listing)
    made[:] = made[:8]
    small = bench.images < 8
    for concurrency in (1,) if small else (1, 8):
        if concurrency == 8:
            made.clear()
            for number in range(8):
                await create(bench.images + number)
        count = len(made)
        await meter.run("image upload", count, concurrency, upload, mib=bench.image_mib)
        await meter.run("image download", count * 2, concurrency, download, mib=bench.image_mib)


def _check(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise RuntimeError(f"{found} {what} instead of {expected}")
