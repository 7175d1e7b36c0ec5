"""Whether new security groups track connections when nobody says: a project's setting, else the system's, else yes."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, errors, listing, models
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.server import Neutron

table = models.default_statefulness
RULE = "security_groups_default_statefulness"
SYSTEM = ""  # in `project_id`: the setting of the whole system, which the API shows as null
SPEC = listing.spec(table, errors.SecurityGroupDefaultStatefulnessNotFound)


def _record(row: Any) -> dict[str, Any]:
    return {"id": row.id, "project_id": row.project_id or None, "stateful": row.stateful}


async def list_default_statefulness(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    async with neutron.db.read() as tx:
        statement = sa.select(table).where(*access.visible(neutron, ctx, table))
        return [_record(row) for row in await listing.page(tx, statement, SPEC, query, ctx)]


async def _load(neutron: Neutron, ctx: Context, tx: Tx, id: str) -> Any:
    row = await tx.first(sa.select(table).where(table.c.id == id, *access.visible(neutron, ctx, table)))
    if row is None:
        raise errors.SecurityGroupDefaultStatefulnessNotFound(id=id)
    return row


async def get_default_statefulness(neutron: Neutron, ctx: Context, id: str) -> dict[str, Any]:
    async with neutron.db.read() as tx:
        return _record(await _load(neutron, ctx, tx, id))


async def create_default_statefulness(neutron: Neutron, ctx: Context, wishes: list[Wish],
                                      attributes: Any) -> list[dict[str, Any]]:
    """Set one project's default, or (no project named, for administrators) the system's."""
    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            named = {"project_id", "tenant_id"} & wish.given
            project = wish.values["project_id"] if named or not access.is_admin(neutron, ctx) else SYSTEM
            project = project or SYSTEM
            access.authorize(neutron, ctx, f"create_{RULE}", {"project_id": project})
            if await tx.scalar(sa.select(table.c.id).where(table.c.project_id == project)):
                raise errors.SecurityGroupDefaultStatefulnessAlreadyExists(project=project or "system-wide")
            made.append(str(uuid.uuid4()))
            await tx.execute(sa.insert(table).values(id=made[-1], project_id=project,
                                                     stateful=wish.values["stateful"]))
        rows = {row.id: row for row in await listing.by_ids(tx, sa.select(table), table.c.id, made)}
    return [_record(rows[id]) for id in made]


async def update_default_statefulness(neutron: Neutron, ctx: Context, id: str, wish: Wish) -> dict[str, Any]:
    async with neutron.db.write() as tx:
        row = await _load(neutron, ctx, tx, id)
        access.authorize(neutron, ctx, f"update_{RULE}", dict(row._mapping))
        if "stateful" in wish.values:
            await tx.execute(sa.update(table).where(table.c.id == id).values(stateful=wish.values["stateful"]))
        return _record(await _load(neutron, ctx, tx, id))


async def delete_default_statefulness(neutron: Neutron, ctx: Context, id: str, expected: int | None = None) -> None:
    async with neutron.db.write() as tx:
        row = await _load(neutron, ctx, tx, id)
        access.authorize(neutron, ctx, f"delete_{RULE}", dict(row._mapping))
        await tx.execute(sa.delete(table).where(table.c.id == id))


async def of_project(tx: Tx, project_id: str) -> bool:
    """Whether the project's new groups are stateful."""
    rows = await tx.all(sa.select(table.c.project_id, table.c.stateful).where(
        table.c.project_id.in_((project_id, SYSTEM))))
    found = {row.project_id: row.stateful for row in rows}
    return bool(found.get(project_id, found.get(SYSTEM, True)))
