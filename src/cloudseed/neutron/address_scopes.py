"""Address scopes: within one, subnet pools' prefixes do not overlap."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, errors, listing, models
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.server import Neutron

table = models.address_scopes
SPEC = listing.spec(table, errors.AddressScopeNotFound)


def _select(ctx: Context) -> sa.Select[Any]:
    return sa.select(table, access.shared_column(ctx, table, "address_scope"))


def _record(row: Any) -> dict[str, Any]:
    return {"id": row.id, "project_id": row.project_id, "tenant_id": row.project_id, "name": row.name,
            "shared": bool(row.shared), "ip_version": row.ip_version}


async def list_address_scopes(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    async with neutron.db.read() as tx:
        statement = _select(ctx).where(*access.visible(neutron, ctx, table, "address_scope"))
        return [_record(row) for row in await listing.page(tx, statement, SPEC, query, ctx)]


async def load(neutron: Neutron, ctx: Context, tx: Tx, scope_id: str) -> Any:
    row = await tx.first(_select(ctx).where(table.c.id == scope_id,
                                            *access.visible(neutron, ctx, table, "address_scope")))
    if row is None:
        raise errors.AddressScopeNotFound(id=scope_id)
    return row


async def get_address_scope(neutron: Neutron, ctx: Context, scope_id: str) -> dict[str, Any]:
    async with neutron.db.read() as tx:
        return _record(await load(neutron, ctx, tx, scope_id))


async def create_address_scopes(neutron: Neutron, ctx: Context, wishes: list[Wish],
                                attributes: Any) -> list[dict[str, Any]]:
    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            values, scope_id = wish.values, str(uuid.uuid4())
            access.authorize(neutron, ctx, "create_address_scope", values, wish.differs(attributes))
            await tx.execute(sa.insert(table).values(id=scope_id, project_id=values["project_id"],
                                                     name=values["name"], ip_version=values["ip_version"]))
            if values["shared"]:
                await share(tx, "address_scope", scope_id, values["project_id"])
            made.append(scope_id)
        rows = {row.id: row for row in await listing.by_ids(tx, _select(ctx), table.c.id, made)}
    return [_record(rows[scope_id]) for scope_id in made]


async def share(tx: Tx, object_type: str, object_id: str, project_id: str) -> None:
    """Open an object to everybody."""
    await tx.execute(sa.insert(models.rbac_policies).values(
        id=str(uuid.uuid4()), project_id=project_id, object_type=object_type, object_id=object_id,
        action=access.SHARED, target_project="*"))


async def update_address_scope(neutron: Neutron, ctx: Context, scope_id: str, wish: Wish) -> dict[str, Any]:
    values = dict(wish.values)
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, scope_id)
        access.authorize(neutron, ctx, "update_address_scope", dict(row._mapping), values)
        shared = values.pop("shared", bool(row.shared))
        if row.shared and not shared:
            raise errors.HTTPBadRequest("Shared address scope can't be unshared")
        if shared and not row.shared:
            await share(tx, "address_scope", scope_id, row.project_id)
        if values:
            await tx.execute(sa.update(table).where(table.c.id == scope_id).values(**values))
        return _record(await load(neutron, ctx, tx, scope_id))


async def delete_address_scope(neutron: Neutron, ctx: Context, scope_id: str, expected: int | None = None) -> None:
    """Remove a scope that no pool is in."""
    pools, rbac = models.subnetpools, models.rbac_policies
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, scope_id)
        access.authorize(neutron, ctx, "delete_address_scope", dict(row._mapping))
        if await tx.scalar(sa.select(pools.c.id).where(pools.c.address_scope_id == scope_id).limit(1)):
            raise errors.AddressScopeInUse(id=scope_id)
        await tx.execute(sa.delete(rbac).where(rbac.c.object_type == "address_scope", rbac.c.object_id == scope_id))
        await tx.execute(sa.delete(table).where(table.c.id == scope_id))
