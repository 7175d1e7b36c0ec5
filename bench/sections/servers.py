"""Servers on the fake driver: ordered, booted, listed, deleted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from bench.sections import Bench
from bench.sections.networks import make_network

BASE = "/compute/v2.1"
_HEADERS = {"OpenStack-API-Version": "compute 2.90"}
_BATCH = 20
_PATIENCE_S = 120.0


async def run(bench: Bench) -> None:
    client, meter = bench.client, bench.meter
    network, image = await make_network(bench, "10.92.0.0/16"), await _image(bench)
    flavor = {"name": "bench", "vcpus": 1, "ram": 512, "disk": 1}
    flavor_id = (await client.request("POST", f"{BASE}/flavors", {"flavor": flavor})).json()["flavor"]["id"]
    servers = list[str]()

    async def create(number: int) -> None:
        order = {
            "name": f"bench-{len(servers)}",
            "imageRef": image,
            "flavorRef": flavor_id,
            "networks": [{"uuid": network}],
        }
        answer = await client.request("POST", f"{BASE}/servers", {"server": order}, headers=_HEADERS)
        servers.append(answer.json()["server"]["id"])

    async def all_active() -> None:
        await _until(lambda: _are(bench, "ACTIVE", len(servers)))

    async def listing(number: int) -> None:
        found = await client.get(f"{BASE}/servers/detail?limit=1000", _HEADERS)
        if len(found["servers"]) != len(servers):
            raise RuntimeError(f"{len(found['servers'])} servers instead of {len(servers)}")

    async def show(number: int) -> None:
        await client.get(f"{BASE}/servers/{servers[number % len(servers)]}", _HEADERS)

    async def delete(number: int) -> None:
        await client.request("DELETE", f"{BASE}/servers/{servers[number]}", headers=_HEADERS)

    async def all_gone() -> None:
        async def gone() -> bool:
            return not (await client.get(f"{BASE}/servers?limit=1", _HEADERS))["servers"]

        await _until(gone)

    batch = min(_BATCH, max(1, bench.servers // 5))
    await create(0)  # what happens once in a cloud's life is not measured
    await all_active()
    for concurrency in (1, 4, 8, batch):
        await meter.run(f"POST /servers, {batch} to ACTIVE", batch, concurrency, create, then=all_active)
    rest = max(0, bench.servers - len(servers))
    for number in range(0, rest, batch):
        await asyncio.gather(*(create(n) for n in range(min(batch, rest - number))))
    await all_active()
    for concurrency in (1, 8):
        await meter.run(f"list of {len(servers)} servers, details", bench.lists, concurrency, listing)
        await meter.run("server show", bench.repeat, concurrency, show)
    await meter.run(f"delete {len(servers)} servers", len(servers), 8, delete, then=all_gone)


async def _image(bench: Bench) -> str:
    record = {"name": "bench-boot", "disk_format": "raw", "container_format": "bare"}
    image = (await bench.client.request("POST", "/image/v2/images", record)).json()["id"]
    await bench.client.request("PUT", f"/image/v2/images/{image}/file", body=bytes(1 << 20))
    return str(image)


async def _are(bench: Bench, status: str, count: int) -> bool:
    """Whether `count` servers have the status; raises when one has failed."""
    found = await bench.client.get(f"{BASE}/servers?status={status}&limit=1000", _HEADERS)
    if len(found["servers"]) >= count:
        return True
    if failed := (await bench.client.get(f"{BASE}/servers/detail?status=ERROR&limit=1", _HEADERS))["servers"]:
        raise RuntimeError(f"server {failed[0]['name']} failed: {failed[0].get('fault')}")
    return False


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so; the asking takes at most a fifth of one connection's time, as it costs the cloud."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        began = time.monotonic()
        if await condition():
            return
        if time.monotonic() > until:
            raise RuntimeError(f"servers are not done after {_PATIENCE_S:g} s")
        await asyncio.sleep(max(0.02, 4 * (time.monotonic() - began)))
