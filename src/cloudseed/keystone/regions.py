"""Regions: where endpoints are.  A client chooses their ids."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.keystone import checks, rows
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.keystone.lists import Filters, fetch
from cloudseed.keystone.models import endpoints, regions
from cloudseed.keystone.state import Keystone


async def get_region(ks: Keystone, ctx: Context, region_id: str, rule: str = "get_region") -> Record:
    ks.enforce(ctx, rule)
    async with ks.db.read() as tx:
        row = await tx.first(sa.select(regions).where(regions.c.id == region_id))
    if row is None:
        raise NotFound("region", region_id)
    return row


async def list_regions(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    ks.enforce(ctx, "list_regions")
    async with ks.db.read() as tx:
        return await fetch(tx, regions, filters, "region")


async def create_region(ks: Keystone, ctx: Context, *, region_id: str | None, description: str,
                        parent_region_id: str | None, extra: dict[str, Any]) -> Record:
    ks.enforce(ctx, "create_region")
    region_id = region_id or uuid.uuid4().hex
    checks.check_text("id", region_id, minimum=1, maximum=255)
    checks.check_text("description", description)
    async with ks.changing(ctx, conflict=Conflict("region", f"Duplicate ID, {region_id}")) as tx:
        await _check_parent(tx, region_id, parent_region_id)
        return await rows.add(tx, regions, {"id": region_id, "description": description,
                                            "parent_region_id": parent_region_id, "extra": extra})


async def _check_parent(tx: Tx, region_id: str, parent_id: str | None) -> None:
    """The parent exists and does not lie within the region itself."""
    above = parent_id
    while above is not None:
        if above == region_id:
            raise Invalid(f"Region {parent_id} cannot be the parent of {region_id}: it lies within it.")
        row = await tx.first(sa.select(regions.c.parent_region_id).where(regions.c.id == above))
        if row is None:
            raise NotFound("region", above)
        above = row.parent_region_id


async def update_region(ks: Keystone, ctx: Context, region_id: str, patch: dict[str, Any],
                        extra: dict[str, Any]) -> Record:
    row = await get_region(ks, ctx, region_id, "update_region")
    if "description" in patch:
        patch["description"] = patch["description"] or ""
        checks.check_text("description", patch["description"])
    rows.add_extra(row, patch, extra)
    async with ks.changing(ctx) as tx:
        if "parent_region_id" in patch:
            await _check_parent(tx, region_id, patch["parent_region_id"])
        return await rows.change(tx, regions, "region", region_id, patch)


async def delete_region(ks: Keystone, ctx: Context, region_id: str) -> None:
    await get_region(ks, ctx, region_id, "delete_region")
    in_use = Conflict("region", f"{region_id} is still named by a limit")
    async with ks.changing(ctx, conflict=in_use) as tx:
        if await tx.scalar(sa.select(sa.func.count()).where(endpoints.c.region_id == region_id)):
            raise Forbidden(f"Unable to delete region {region_id} because it has associated endpoints.")
        if await tx.scalar(sa.select(sa.func.count()).where(regions.c.parent_region_id == region_id)):
            raise Forbidden(f"Unable to delete region {region_id} because it or its child regions have "
                            "associated endpoints or regions.")
        await tx.execute(sa.delete(regions).where(regions.c.id == region_id))
