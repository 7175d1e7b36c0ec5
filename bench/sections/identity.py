"""Tokens: issued for a password never seen, issued again, validated; beside the bare hash's own limit."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor

import bcrypt

from bench.sections import Bench

_FIRST_LOGINS = 8


async def run(bench: Bench, hash_rounds: int) -> dict[str, float]:
    """Figures: first logins a second, the hash's limit on all processors, and their ratio."""
    client, meter = bench.client, bench.meter
    for number in range(_FIRST_LOGINS):
        user = {"name": f"bench-{number}", "domain_id": "default", "password": f"secret-{number}"}
        await client.request("POST", "/identity/v3/users", {"user": user})

    async def first(number: int) -> None:
        await client.login(f"bench-{number}", f"secret-{number}", None)

    row = await meter.run("token issue, first login", _FIRST_LOGINS, 8, first)
    limit = await asyncio.to_thread(_hash_limit, hash_rounds)

    async def again(number: int) -> None:
        await client.login("admin", bench.cloud.password)

    subject = {"X-Subject-Token": client.token}

    async def validate(number: int) -> None:
        await client.get("/identity/v3/auth/tokens", subject)

    for concurrency in (1, 8):
        await meter.run("token issue, password known", bench.repeat, concurrency, again)
        await meter.run("token validation", bench.repeat * 2, concurrency, validate)
    return {
        "first_logins_per_s": row.per_s,
        "hash_limit_per_s": round(limit, 2),
        "first_logins_of_hash_limit": round(row.per_s / limit, 3),
    }


def _hash_limit(rounds: int) -> float:
    """Checks of a password a second on all processors, with nothing around them."""
    hashed, threads = bcrypt.hashpw(b"secret", bcrypt.gensalt(rounds)), os.cpu_count() or 1
    count = threads * 3
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: bcrypt.checkpw(b"secret", hashed), range(threads)))
        began = time.perf_counter()
        list(pool.map(lambda _: bcrypt.checkpw(b"secret", hashed), range(count)))
    return count / (time.perf_counter() - began)
