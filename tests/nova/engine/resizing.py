"""Orders of resizes for the bench, as nova-api writes them."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import utcnow
from cloudseed.nova.models import migrations
from tests.nova.engine.bench import FLAVOR, Bench

LARGE: dict[str, Any] = {**FLAVOR, "id": "c2", "name": "large", "vcpus": 2, "ram": 512, "disk": 3, "ephemeral": 1,
                         "swap": 64}


async def resize(bench: Bench, server_id: str, flavor: dict[str, Any] = LARGE, kind: str = "resize") -> str:
    """Order it; the migration's uuid."""
    row, now, made = await bench.server(server_id), utcnow(), str(uuid.uuid4())
    async with bench.nova.db.write() as tx:
        await tx.execute(sa.insert(migrations).values(
            uuid=made, server_id=server_id, project_id="p1", user_id="u1", type="resize", status="pre-migrating",
            source_host=row.host, source_node=row.node, old_flavor=row.flavor, new_flavor=flavor,
            old_vm_state=row.vm_state, created_at=now, updated_at=now))
    await bench.order(kind, server_id, {"migration": made})
    return made


async def status(bench: Bench, migration: str) -> str:
    async with bench.nova.db.read() as tx:
        return str(await tx.scalar(sa.select(migrations.c.status).where(migrations.c.uuid == migration)))


async def held(bench: Bench, consumer: str) -> dict[str, int]:
    """What a consumer holds in placement."""
    placement = next(s for s in bench.runtime.services if s.name == "placement")
    assert placement.ledger is not None
    amounts: dict[str, int] = {}
    for entry in (await placement.ledger())["allocations"]:
        if entry["consumer"] == consumer:
            amounts |= entry["resources"]
    return amounts
