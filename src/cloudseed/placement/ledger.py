"""What placement holds, as plain dicts, for the audit that compares the services with one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.placement.models import allocations, consumers, inventories, resource_providers
from cloudseed.placement.picture import capacity_of

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement


async def ledger(placement: Placement) -> dict[str, list[dict[str, Any]]]:
    """`providers`: uuid, name, generation, parent_uuid, and for each class its capacity and what is used of it.
    `allocations`: one for each consumer and provider, with `resources`.  `consumers`: uuid, owner, type."""
    rp, inv, use, con = resource_providers.c, inventories.c, allocations.c, consumers.c
    async with placement.db.read() as tx:
        names = (await placement.names(tx)).class_names
        providers = {row.id: {"uuid": row.uuid, "name": row.name, "generation": row.generation,
                              "parent_uuid": None, "inventories": {}, "parent_id": row.parent_id}
                     for row in await tx.all(sa.select(rp.id, rp.uuid, rp.name, rp.generation, rp.parent_id))}
        for row in await tx.all(sa.select(inv.provider_id, inv.class_id, inv.total, inv.reserved,
                                          inv.allocation_ratio)):
            providers[row.provider_id]["inventories"][names[row.class_id]] = {
                "total": row.total, "capacity": capacity_of(row.total, row.reserved, row.allocation_ratio), "used": 0}
        held: dict[tuple[str, int], dict[str, Any]] = {}
        for row in await tx.all(sa.select(con.uuid, use.provider_id, use.class_id, use.used).join_from(
                allocations, consumers, use.consumer_id == con.id)):
            provider = providers[row.provider_id]
            entry = held.setdefault((row.uuid, row.provider_id), {
                "consumer": row.uuid, "provider": provider["uuid"], "provider_name": provider["name"],
                "resources": {}})
            entry["resources"][names[row.class_id]] = row.used
            stock = provider["inventories"].setdefault(
                names[row.class_id], {"total": 0, "capacity": 0, "used": 0})
            stock["used"] += row.used
        owners = [dict(row._mapping) for row in await tx.all(sa.select(
            con.uuid, con.project_id, con.user_id, con.consumer_type, con.generation))]
    for entry in providers.values():
        parent = entry.pop("parent_id")
        entry["parent_uuid"] = providers[parent]["uuid"] if parent is not None else None
    return {"providers": list(providers.values()), "allocations": list(held.values()), "consumers": owners}
