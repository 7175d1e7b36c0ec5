"""Volume types: kinds of volumes that an operator offers, with extra specs, access and encryption records."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from cloudseed.cinder.errors import InvalidInput, VolumeTypeNameNotFound, VolumeTypeNotFound
from cloudseed.cinder.models import (
    default_types,
    volume_type_access,
    volume_type_encryption,
    volume_types,
    volumes,
)
from cloudseed.cinder.state import DEFAULT_TYPE, Cinder
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Invalid

# what everybody may see of extra specs
USER_VISIBLE = ("RESKEY:availability_zones", "multiattach", "replication_enabled")


class VolumeType(msgspec.Struct, frozen=True, kw_only=True):
    """A type.  `extra_specs`: texts by key, of which users see some (`USER_VISIBLE`)."""

    id: str
    name: str
    description: str | None
    is_public: bool
    extra_specs: dict[str, str]
    qos_specs_id: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime | None

    @property
    def multiattach(self) -> bool:
        return self.extra_specs.get("multiattach") == "<is> True"


def from_row(row: Any) -> VolumeType:
    return VolumeType(id=row.id, name=row.name, description=row.description, is_public=row.is_public,
                      extra_specs=row.extra_specs, qos_specs_id=row.qos_specs_id, created_at=row.created_at,
                      updated_at=row.updated_at)


def visible(ctx: Context) -> Any:
    """SQL: types that the caller may use."""
    if "admin" in ctx.identity.roles:
        return sa.true()
    allowed = sa.select(volume_type_access.c.volume_type_id).where(volume_type_access.c.project_id == ctx.project_id)
    return sa.or_(volume_types.c.is_public.is_(True), volume_types.c.id.in_(allowed))


async def make_default(cinder: Cinder) -> None:
    """The type that volumes without one get, made at the first start."""
    async with cinder.db.write() as tx:
        if await tx.scalar(sa.select(sa.func.count()).select_from(volume_types)) == 0:
            await tx.execute(sa.insert(volume_types).values(
                id=str(uuid.uuid4()), name=DEFAULT_TYPE, description="Default Volume Type", is_public=True,
                extra_specs={}, created_at=utcnow()))


async def get_type(tx: Tx, ctx: Context, type_id: str) -> VolumeType:
    """Raises VolumeTypeNotFound, also for a private one of others."""
    row = await tx.first(sa.select(volume_types).where(volume_types.c.id == type_id, visible(ctx)))
    if row is None:
        raise VolumeTypeNotFound(volume_type_id=type_id)
    return from_row(row)


async def find_type(tx: Tx, ctx: Context, text: str) -> VolumeType:
    """By id, else by name."""
    rows = await tx.all(sa.select(volume_types).where(
        sa.or_(volume_types.c.id == text, volume_types.c.name == text), visible(ctx)))
    for row in sorted(rows, key=lambda row: row.id != text):
        return from_row(row)
    raise VolumeTypeNameNotFound(name=text)


async def get_default_type(tx: Tx, ctx: Context) -> VolumeType:
    """What a new volume without a type gets: the project's own default, else the cloud's."""
    row = await tx.first(sa.select(volume_types).join(default_types, default_types.c.volume_type_id ==
                                                      volume_types.c.id)
                         .where(default_types.c.project_id == ctx.project_id))
    if row is None:
        row = await tx.first(sa.select(volume_types).where(volume_types.c.name == DEFAULT_TYPE))
    if row is None:
        raise VolumeTypeNameNotFound(name=DEFAULT_TYPE)
    return from_row(row)


async def create_type(cinder: Cinder, ctx: Context, *, name: str, description: str | None, is_public: bool,
                      extra_specs: dict[str, str]) -> VolumeType:
    cinder.policy.enforce("volume_extension:type_create", ctx.identity)
    type_id = str(uuid.uuid4())
    async with cinder.db.write() as tx:
        await _check_name(tx, name, None)
        await tx.execute(sa.insert(volume_types).values(
            id=type_id, name=name, description=description, is_public=is_public, extra_specs=extra_specs,
            created_at=utcnow()))
        return await get_type(tx, ctx, type_id)


async def _check_name(tx: Tx, name: str, own_id: str | None) -> None:
    other = await tx.scalar(sa.select(volume_types.c.id).where(volume_types.c.name == name))
    if other is not None and other != own_id:
        raise Conflict(f"Volume Type {name} already exists.")


async def update_type(cinder: Cinder, ctx: Context, type_id: str, changes: dict[str, Any]) -> VolumeType:
    cinder.policy.enforce("volume_extension:type_update", ctx.identity)
    async with cinder.db.write() as tx:
        found = await get_type(tx, ctx, type_id)
        if "name" in changes:
            await _check_name(tx, changes["name"], type_id)
            if found.name == DEFAULT_TYPE and changes["name"] != DEFAULT_TYPE:
                raise Invalid(f"The type {DEFAULT_TYPE} is the cloud's default and keeps its name.")
        await tx.execute(sa.update(volume_types).where(volume_types.c.id == type_id)
                         .values(**changes, updated_at=utcnow()))
        return await get_type(tx, ctx, type_id)


async def delete_type(cinder: Cinder, ctx: Context, type_id: str) -> None:
    cinder.policy.enforce("volume_extension:type_delete", ctx.identity)
    async with cinder.db.write() as tx:
        found = await get_type(tx, ctx, type_id)
        if found.name == DEFAULT_TYPE:
            raise InvalidInput(reason="Target volume type is the default volume type and cannot be deleted.")
        if await tx.scalar(sa.select(sa.func.count()).select_from(default_types)
                           .where(default_types.c.volume_type_id == type_id)):
            raise InvalidInput(reason="Target volume type is the default volume type of a project.")
        if await tx.scalar(sa.select(sa.func.count()).select_from(volumes)
                           .where(volumes.c.volume_type_id == type_id)):
            raise Invalid("Target volume type is still in use.")
        for table in (volume_type_access, volume_type_encryption):
            await tx.execute(sa.delete(table).where(table.c.volume_type_id == type_id))
        await tx.execute(sa.delete(volume_types).where(volume_types.c.id == type_id))


async def set_extra_specs(cinder: Cinder, ctx: Context, type_id: str, specs: Mapping[str, str], action: str) -> None:
    """Add or change extra specs.  `action`: create or update, for the policy."""
    cinder.policy.enforce(f"volume_extension:types_extra_specs:{action}", ctx.identity)
    async with cinder.db.write() as tx:
        found = await get_type(tx, ctx, type_id)
        await _check_not_used(tx, found)
        await tx.execute(sa.update(volume_types).where(volume_types.c.id == type_id)
                         .values(extra_specs={**found.extra_specs, **specs}, updated_at=utcnow()))


async def _check_not_used(tx: Tx, found: VolumeType) -> None:
    if await tx.scalar(sa.select(sa.func.count()).select_from(volumes).where(volumes.c.volume_type_id == found.id)):
        raise Invalid("Volume Type is currently in use.")


async def delete_extra_spec(cinder: Cinder, ctx: Context, type_id: str, key: str) -> None:
    cinder.policy.enforce("volume_extension:types_extra_specs:delete", ctx.identity)
    async with cinder.db.write() as tx:
        found = await get_type(tx, ctx, type_id)
        if key not in found.extra_specs:
            raise VolumeTypeNotFound(f"Volume Type {type_id} has no extra specs with key {key}.")
        await _check_not_used(tx, found)
        rest = {name: value for name, value in found.extra_specs.items() if name != key}
        await tx.execute(sa.update(volume_types).where(volume_types.c.id == type_id)
                         .values(extra_specs=rest, updated_at=utcnow()))


async def encryptions(tx: Tx, type_ids: Sequence[str]) -> dict[str, Any]:
    """Encryption records by type."""
    rows = await tx.all(sa.select(volume_type_encryption).where(
        volume_type_encryption.c.volume_type_id.in_(list(type_ids))))
    return {row.volume_type_id: row for row in rows}


async def get_any_type(tx: Tx, type_id: str) -> VolumeType:
    """A type that is already in use, whoever may see it."""
    row = await tx.first(sa.select(volume_types).where(volume_types.c.id == type_id))
    if row is None:
        raise VolumeTypeNotFound(volume_type_id=type_id)
    return from_row(row)
