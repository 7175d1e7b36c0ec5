"""Flavors: sizes of servers, who may use them, and their extra specs.

A server keeps a copy of its flavor, so changing or deleting one touches no server.  DevStack's default set is
made by the migration `0002_default_flavors`, once: an operator's deletion stays.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Invalid, NotFound
from cloudseed.nova.errors import FlavorNotFound
from cloudseed.nova.models import flavor_access, flavors
from cloudseed.nova.paging import Sort, page_of

if TYPE_CHECKING:
    from cloudseed.kernel.http.paging import Page
    from cloudseed.nova.service import Nova

Flavor = sa.Row[Any]

# the API's sort keys -> columns (upstream names its own columns there)
SORT_KEYS: dict[str, sa.Column[Any]] = {
    "flavorid": flavors.c.id, "id": flavors.c.id, "name": flavors.c.name, "memory_mb": flavors.c.ram,
    "vcpus": flavors.c.vcpus, "root_gb": flavors.c.disk, "ephemeral_gb": flavors.c.ephemeral,
    "swap": flavors.c.swap, "rxtx_factor": flavors.c.rxtx_factor, "is_public": flavors.c.is_public,
    "disabled": flavors.c.disabled, "created_at": flavors.c.created_at, "updated_at": flavors.c.created_at,
    "vcpu_weight": flavors.c.vcpus,
}


def is_admin(nova: Nova, ctx: Context) -> bool:
    return nova.policy.check("context_is_admin", ctx.identity)


def _visible(nova: Nova, ctx: Context) -> sa.ColumnElement[bool]:
    granted = sa.select(flavor_access.c.flavor_id).where(flavor_access.c.project_id == ctx.project_id)
    return sa.or_(flavors.c.is_public, flavors.c.id.in_(granted))


async def list_flavors(nova: Nova, ctx: Context, page: Page, sort: Sort, *, is_public: bool | None = True,
                       min_ram: int | None = None, min_disk: int | None = None, name: str | None = None,
                       ) -> tuple[list[Flavor], bool]:
    """A page of the flavors that the caller may use, and whether more follow.  `is_public` None (admins): all."""
    query = sa.select(flavors)
    if is_public or not is_admin(nova, ctx):
        query = query.where(_visible(nova, ctx))
    elif is_public is False:
        query = query.where(flavors.c.is_public.is_(False))
    if min_ram is not None:
        query = query.where(flavors.c.ram >= min_ram)
    if min_disk is not None:
        query = query.where(flavors.c.disk >= min_disk)
    if name is not None:
        query = query.where(flavors.c.name == name)
    async with nova.db.read() as tx:
        return await page_of(tx, query, flavors.c.id, page, sort,
                             Invalid(f"marker [{page.marker}] not found"))


async def get_flavor(nova: Nova, ctx: Context, flavor_id: str) -> Flavor:
    """A flavor that the caller may see; FlavorNotFound otherwise."""
    async with nova.db.look() as tx:
        return await _get(nova, tx, ctx, flavor_id)


async def _get(nova: Nova, tx: Tx, ctx: Context, flavor_id: str) -> Flavor:
    query = sa.select(flavors).where(flavors.c.id == flavor_id)
    if not is_admin(nova, ctx):
        query = query.where(_visible(nova, ctx))
    row = await tx.first(query)
    if row is None:
        raise FlavorNotFound(flavor_id=flavor_id)
    return row


async def create_flavor(nova: Nova, ctx: Context, values: dict[str, Any]) -> Flavor:
    """A new flavor from its columns' `values`; an id is made when none is given.  Conflict: name or id is taken."""
    values = {**values, "id": values.get("id") or str(uuid.uuid4()), "extra_specs": {}, "created_at": utcnow()}
    async with nova.db.write() as tx:
        taken = await tx.first(sa.select(flavors.c.id, flavors.c.name).where(
            sa.or_(flavors.c.id == values["id"], flavors.c.name == values["name"])))
        if taken is not None:
            raise Conflict(f"Flavor with name {values['name']} already exists." if taken.name == values["name"]
                           else f"Flavor with ID {values['id']} already exists.")
        await tx.execute(sa.insert(flavors).values(**values))
        return await _get(nova, tx, ctx, values["id"])


async def update_flavor(nova: Nova, ctx: Context, flavor_id: str, description: str | None) -> Flavor:
    async with nova.db.write() as tx:
        await _get(nova, tx, ctx, flavor_id)
        await tx.execute(sa.update(flavors).where(flavors.c.id == flavor_id).values(description=description))
        return await _get(nova, tx, ctx, flavor_id)


async def delete_flavor(nova: Nova, ctx: Context, flavor_id: str) -> None:
    async with nova.db.write() as tx:
        await _get(nova, tx, ctx, flavor_id)
        await tx.execute(sa.delete(flavor_access).where(flavor_access.c.flavor_id == flavor_id))
        await tx.execute(sa.delete(flavors).where(flavors.c.id == flavor_id))


# ---- extra specs

async def set_extra_specs(nova: Nova, ctx: Context, flavor_id: str, specs: dict[str, str]) -> dict[str, str]:
    """Add or change extra specs; returns those that were given."""
    async with nova.db.write() as tx:
        row = await _get(nova, tx, ctx, flavor_id)
        await tx.execute(sa.update(flavors).where(flavors.c.id == flavor_id)
                         .values(extra_specs={**row.extra_specs, **specs}))
    return specs


async def get_extra_spec(nova: Nova, ctx: Context, flavor_id: str, key: str) -> str:
    row = await get_flavor(nova, ctx, flavor_id)
    if key not in row.extra_specs:
        raise NotFound(f"Flavor {flavor_id} has no extra specs with key {key}.")
    return str(row.extra_specs[key])


async def delete_extra_spec(nova: Nova, ctx: Context, flavor_id: str, key: str) -> None:
    async with nova.db.write() as tx:
        row = await _get(nova, tx, ctx, flavor_id)
        if key not in row.extra_specs:
            raise NotFound(f"Flavor {flavor_id} has no extra specs with key {key}.")
        left = {name: value for name, value in row.extra_specs.items() if name != key}
        await tx.execute(sa.update(flavors).where(flavors.c.id == flavor_id).values(extra_specs=left))


# ---- access of projects to private flavors

async def list_access(nova: Nova, ctx: Context, flavor_id: str) -> list[str]:
    """The projects that may use a private flavor; NotFound for a public one, as upstream answers."""
    async with nova.db.read() as tx:
        row = await _get(nova, tx, ctx, flavor_id)
        if row.is_public:
            raise NotFound("Access list not available for public flavors.")
        return list(await tx.scalars(sa.select(flavor_access.c.project_id)
                                     .where(flavor_access.c.flavor_id == flavor_id)
                                     .order_by(flavor_access.c.project_id)))


async def add_access(nova: Nova, ctx: Context, flavor_id: str, project_id: str, *, refuse_public: bool) -> list[str]:
    async with nova.db.write() as tx:
        row = await _get(nova, tx, ctx, flavor_id)
        if row.is_public and refuse_public:
            raise Conflict("Can not add access to a public flavor.")
        present = await tx.first(sa.select(flavor_access).where(
            flavor_access.c.flavor_id == flavor_id, flavor_access.c.project_id == project_id))
        if present is not None:
            raise Conflict(f"Flavor access already exists for flavor {flavor_id} and project {project_id} "
                           "combination.")
        await tx.execute(sa.insert(flavor_access).values(flavor_id=flavor_id, project_id=project_id))
        return await _projects(tx, flavor_id)


async def remove_access(nova: Nova, ctx: Context, flavor_id: str, project_id: str) -> list[str]:
    async with nova.db.write() as tx:
        await _get(nova, tx, ctx, flavor_id)
        gone = await tx.execute(sa.delete(flavor_access).where(
            flavor_access.c.flavor_id == flavor_id, flavor_access.c.project_id == project_id))
        if gone.rowcount == 0:
            raise NotFound(f"Flavor access not found for {flavor_id} / {project_id} combination.")
        return await _projects(tx, flavor_id)


async def _projects(tx: Tx, flavor_id: str) -> list[str]:
    return list(await tx.scalars(sa.select(flavor_access.c.project_id).where(
        flavor_access.c.flavor_id == flavor_id).order_by(flavor_access.c.project_id)))


def as_dict(row: Flavor) -> dict[str, Any]:
    """The copy that a server keeps."""
    return {"id": row.id, "name": row.name, "vcpus": row.vcpus, "ram": row.ram, "disk": row.disk,
            "ephemeral": row.ephemeral, "swap": row.swap, "rxtx_factor": row.rxtx_factor,
            "extra_specs": row.extra_specs, "is_public": row.is_public, "description": row.description}
