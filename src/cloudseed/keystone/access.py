"""What a user could ask a scope on: the projects, domains and system where the user has a role."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.keystone import directory, scopes
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import NotFound
from cloudseed.keystone.lists import Filters, fetch
from cloudseed.keystone.models import assignments, projects
from cloudseed.keystone.scopes import DOMAIN, PROJECT, WHOLE_SYSTEM
from cloudseed.keystone.state import Keystone
from cloudseed.keystone.targets import target


async def _of_user(ks: Keystone, user_id: str, kind: str) -> tuple[set[str], set[tuple[str, str]]]:
    """Targets of one kind with a direct assignment, and (kind, id) of all that hand roles down."""
    groups = await directory.group_ids(ks, user_id)
    table = assignments.c
    actor = sa.or_(sa.and_(table.actor_kind == "user", table.actor_id == user_id),
                   sa.and_(table.actor_kind == "group", table.actor_id.in_(groups)))
    async with ks.db.read() as tx:
        rows = await tx.all(sa.select(table.target_kind, table.target_id, table.inherited).where(actor))
    return ({row.target_id for row in rows if row.target_kind == kind and not row.inherited},
            {(row.target_kind, row.target_id) for row in rows if row.inherited})


async def project_ids(ks: Keystone, user_id: str) -> set[str]:
    """Every project on which a user has a role, inherited ones too."""
    direct, inherited = await _of_user(ks, user_id, PROJECT)
    if inherited:
        below = sa.select(projects.c.id).where(projects.c.parent_id.in_([i for _, i in inherited])).cte(recursive=True)
        below = below.union(sa.select(projects.c.id).where(projects.c.parent_id == below.c.id))
        async with ks.db.read() as tx:
            direct |= set(await tx.scalars(sa.select(below.c.id)))
    return direct


async def _listed(ks: Keystone, ids: set[str], filters: Filters, noun: str) -> list[Record]:
    statement = sa.select(projects).where(projects.c.id.in_(ids))
    async with ks.db.read() as tx:
        return await fetch(tx, projects, filters, noun, statement)


async def own_projects(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    """GET /v3/auth/projects: enabled ones only, since no token could be had for others."""
    filters.exact["enabled"] = True
    return await _listed(ks, await project_ids(ks, ctx.user_id), filters, "project")


async def own_domains(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    direct, _ = await _of_user(ks, ctx.user_id, DOMAIN)
    filters.exact["enabled"] = True
    return await _listed(ks, direct, filters, "domain")


async def has_system(ks: Keystone, ctx: Context) -> bool:
    return bool(await scopes.assigned_role_ids(ks, ctx.user_id, WHOLE_SYSTEM))


async def projects_of_user(ks: Keystone, ctx: Context, user_id: str, filters: Filters) -> list[Record]:
    """GET /v3/users/{user_id}/projects"""
    user = await directory.find_user(ks, user_id)
    ks.enforce(ctx, "list_user_projects", target("user", user))
    if user is None:
        raise NotFound("user", user_id)
    return await _listed(ks, await project_ids(ks, user_id), filters, "project")


async def visible_to(ks: Keystone, ctx: Context, rows: Iterable[Record]) -> list[Record]:
    """Of a project's relatives, those on which the caller has a role; an administrator sees all."""
    rows = [row for row in rows if not row.is_domain]
    if ks.allows(ctx, "list_projects", {}):
        return rows
    mine = await project_ids(ks, ctx.user_id)
    return [row for row in rows if row.id in mine]


