"""Group types: kinds of volume groups, with specs of which users see nothing."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.cinder.errors import GroupTypeNotFound, MetadataNotFound
from cloudseed.cinder.models import group_types as table
from cloudseed.cinder.models import groups
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Invalid


async def get(tx: Tx, ctx: Context, text: str) -> Any:
    """A group type by id or by name.  Raises GroupTypeNotFound, also for one that is not public."""
    rows = await tx.all(sa.select(table).where(sa.or_(table.c.id == text, table.c.name == text)))
    for row in sorted(rows, key=lambda row: row.id != text):
        if row.is_public or "admin" in ctx.identity.roles:
            return row
    raise GroupTypeNotFound(group_type_id=text)


async def create_type(cinder: Cinder, ctx: Context, *, name: str, description: str | None, is_public: bool,
                      specs: dict[str, str]) -> Any:
    cinder.policy.enforce("group:group_types:create", ctx.identity)
    async with cinder.db.write() as tx:
        await _check_name(tx, name, None)
        type_id = str(uuid.uuid4())
        await tx.execute(sa.insert(table).values(id=type_id, name=name, description=description, is_public=is_public,
                                                 group_specs=specs, created_at=utcnow()))
        return await get(tx, ctx, type_id)


async def _check_name(tx: Tx, name: str, own_id: str | None) -> None:
    other = await tx.scalar(sa.select(table.c.id).where(table.c.name == name))
    if other is not None and other != own_id:
        raise Conflict(f"Group Type {name} already exists.")


async def update_type(cinder: Cinder, ctx: Context, type_id: str, changes: dict[str, Any]) -> Any:
    cinder.policy.enforce("group:group_types:update", ctx.identity)
    async with cinder.db.write() as tx:
        row = await get(tx, ctx, type_id)
        if "name" in changes:
            await _check_name(tx, changes["name"], row.id)
        await tx.execute(sa.update(table).where(table.c.id == row.id).values(**changes, updated_at=utcnow()))
        return await get(tx, ctx, row.id)


async def delete_type(cinder: Cinder, ctx: Context, type_id: str) -> None:
    cinder.policy.enforce("group:group_types:delete", ctx.identity)
    async with cinder.db.write() as tx:
        row = await get(tx, ctx, type_id)
        if await tx.scalar(sa.select(sa.func.count()).select_from(groups).where(groups.c.group_type_id == row.id)):
            raise Invalid("Target group type is still in use.")
        await tx.execute(sa.delete(table).where(table.c.id == row.id))


async def change_specs(cinder: Cinder, ctx: Context, type_id: str, rule: str, *, add: dict[str, str] | None = None,
                       remove: str | None = None) -> None:
    cinder.policy.enforce(f"group:group_types_specs:{rule}", ctx.identity)
    async with cinder.db.write() as tx:
        row = await get(tx, ctx, type_id)
        if remove is not None and remove not in row.group_specs:
            raise MetadataNotFound(f"Group Type {type_id} has no specs with key {remove}.")
        specs = {key: value for key, value in {**row.group_specs, **(add or {})}.items() if key != remove}
        await tx.execute(sa.update(table).where(table.c.id == row.id).values(group_specs=specs, updated_at=utcnow()))
