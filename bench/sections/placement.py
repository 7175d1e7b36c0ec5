"""Allocation candidates, as nova's scheduler asks for them, among few and among many providers."""

from __future__ import annotations

import uuid

from bench.sections import Bench

_HEADERS = {"OpenStack-API-Version": "placement 1.39"}
_QUERY = "/placement/allocation_candidates?resources=VCPU:1,MEMORY_MB:512,DISK_GB:1&limit=1000"
_INVENTORIES = {"VCPU": 64, "MEMORY_MB": 262_144, "DISK_GB": 4_000}


async def run(bench: Bench) -> None:
    client, meter = bench.client, bench.meter
    present = 0
    for total in bench.providers:

        async def create(number: int) -> None:
            provider = str(uuid.uuid4())
            body = {"name": f"bench-{provider}", "uuid": provider}
            await client.request("POST", "/placement/resource_providers", body, headers=_HEADERS)
            inventories = {name: {"total": amount} for name, amount in _INVENTORIES.items()}
            wish = {"resource_provider_generation": 0, "inventories": inventories}
            path = f"/placement/resource_providers/{provider}/inventories"
            await client.request("PUT", path, wish, headers=_HEADERS)

        async def candidates(number: int) -> None:
            found = len((await client.get(_QUERY, _HEADERS))["allocation_requests"])
            # the cloud's own provider may be one of them
            if not min(total, 1000) <= found <= min(total + 1, 1000):
                raise RuntimeError(f"{found} candidates of {total} providers")

        await meter.run(f"provider and inventory, to {total}", total - present, 8, create)
        present = total
        for concurrency in (1, 8):
            await meter.run(f"candidates of {total} providers", bench.lists, concurrency, candidates)
