"""Address groups: named sets of networks that security group rules can refer to."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, errors, listing, models
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.networks import touch
from cloudseed.neutron.server import Neutron, now

table = models.address_groups
SPEC = listing.spec(table, errors.AddressGroupNotFound)
MAX_ADDRESSES = 1000


def _select(ctx: Context) -> sa.Select[Any]:
    return sa.select(table, access.shared_column(ctx, table, "address_group"))


def _record(row: Any) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "project_id": row.project_id, "tenant_id": row.project_id,
            "shared": bool(row.shared), "addresses": row.addresses, "description": row.description or "",
            "created_at": row.created_at, "updated_at": row.updated_at, "revision_number": row.revision_number}


async def list_address_groups(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    async with neutron.db.read() as tx:
        statement = _select(ctx).where(*access.visible(neutron, ctx, table, "address_group"))
        return [_record(row) for row in await listing.page(tx, statement, SPEC, query, ctx)]


async def _load(neutron: Neutron, ctx: Context, tx: Tx, group_id: str) -> Any:
    row = await tx.first(_select(ctx).where(table.c.id == group_id,
                                            *access.visible(neutron, ctx, table, "address_group")))
    if row is None:
        raise errors.AddressGroupNotFound(id=group_id)
    return row


async def get_address_group(neutron: Neutron, ctx: Context, group_id: str) -> dict[str, Any]:
    async with neutron.db.read() as tx:
        return _record(await _load(neutron, ctx, tx, group_id))


async def create_address_groups(neutron: Neutron, ctx: Context, wishes: list[Wish],
                                attributes: Any) -> list[dict[str, Any]]:
    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            values, moment, group_id = wish.values, now(), str(uuid.uuid4())
            access.authorize(neutron, ctx, "create_address_group", values, wish.differs(attributes))
            await tx.execute(sa.insert(table).values(
                id=group_id, project_id=values["project_id"], name=values["name"], description=values["description"],
                addresses=sorted(values["addresses"]), tags=[], created_at=moment, updated_at=moment,
                revision_number=1))
            made.append(group_id)
        rows = {row.id: row for row in await listing.by_ids(tx, _select(ctx), table.c.id, made)}
    return [_record(rows[group_id]) for group_id in made]


async def update_address_group(neutron: Neutron, ctx: Context, group_id: str, wish: Wish) -> dict[str, Any]:
    async with neutron.db.write() as tx:
        row = await _load(neutron, ctx, tx, group_id)
        access.check_revision(row, wish.expected_revision)
        access.authorize(neutron, ctx, "update_address_group", dict(row._mapping), wish.values)
        await touch(tx, table, group_id, **wish.values)
        return _record(await _load(neutron, ctx, tx, group_id))


async def change_addresses(neutron: Neutron, ctx: Context, group_id: str, addresses: list[str],
                           add: bool) -> dict[str, Any]:
    """Add addresses that are not there, or remove some that are; rules that use the group follow."""
    async with neutron.db.write() as tx:
        row = await _load(neutron, ctx, tx, group_id)
        access.authorize(neutron, ctx, "update_address_group", dict(row._mapping))
        have, named = set(row.addresses), set(addresses)
        if add and have & named:
            raise errors.AddressesAlreadyExist(addresses=sorted(have & named), id=group_id)
        if not add and named - have:
            raise errors.AddressesNotFound(addresses=sorted(named - have), id=group_id)
        then = have | named if add else have - named
        if len(then) > MAX_ADDRESSES:
            raise errors.InvalidInput(reason=f"An address group holds at most {MAX_ADDRESSES} addresses")
        await touch(tx, table, group_id, addresses=sorted(then))
        record = _record(await _load(neutron, ctx, tx, group_id))
    await neutron.look_again(ctx)
    return record


async def delete_address_group(neutron: Neutron, ctx: Context, group_id: str, expected: int | None = None) -> None:
    """Remove a group that no rule uses."""
    rules, rbac = models.security_group_rules, models.rbac_policies
    async with neutron.db.write() as tx:
        row = await _load(neutron, ctx, tx, group_id)
        access.check_revision(row, expected)
        access.authorize(neutron, ctx, "delete_address_group", dict(row._mapping))
        if await tx.scalar(sa.select(rules.c.id).where(rules.c.remote_address_group_id == group_id).limit(1)):
            raise errors.AddressGroupInUse(id=group_id)
        await tx.execute(sa.delete(rbac).where(rbac.c.object_type == "address_group", rbac.c.object_id == group_id))
        await tx.execute(sa.delete(table).where(table.c.id == group_id))
