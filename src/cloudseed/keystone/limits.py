"""Unified limits: a default for each resource of a service (registered limit), and a project's or domain's own.

The model is upstream's `flat`: the tree of projects does not matter.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.keystone import checks, directory, rows
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.keystone.lists import Filters, fetch
from cloudseed.keystone.models import limits, projects, regions, registered_limits, services
from cloudseed.keystone.state import Keystone

MODEL = {"name": "flat",
         "description": "Limit enforcement and validation does not take project hierarchy into consideration."}


def _check_number(field: str, value: int) -> None:
    if not -1 <= value <= 2**31 - 1:
        raise Invalid(f"Invalid input for field/attribute {field}. It must be between -1 (no limit) and 2147483647.")


# --- registered limits


async def list_registered(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    ks.enforce(ctx, "list_registered_limits")
    async with ks.db.read() as tx:
        return await fetch(tx, registered_limits, filters, "registered limit")


async def get_registered(ks: Keystone, ctx: Context, limit_id: str, rule: str = "get_registered_limit") -> Record:
    ks.enforce(ctx, rule)
    async with ks.db.read() as tx:
        row = await tx.first(sa.select(registered_limits).where(registered_limits.c.id == limit_id))
    if row is None:
        raise NotFound("registered limit", limit_id)
    return row


async def _check_place(tx: Tx, values: dict[str, Any]) -> None:
    for key, table, noun in (("service_id", services, "service"), ("region_id", regions, "region")):
        wanted = values.get(key)
        if wanted is not None and not await tx.scalar(sa.select(sa.func.count()).where(table.c.id == wanted)):
            raise Invalid(f"Invalid input for field/attribute {key}. Could not find {noun}: {wanted}.")


async def create_registered(ks: Keystone, ctx: Context, wanted: Sequence[dict[str, Any]]) -> list[Record]:
    """All or none of them."""
    ks.enforce(ctx, "create_registered_limits")
    ids = []
    async with ks.changing(ctx, conflict=Conflict("registered limit", "Duplicate entry"), forget=False) as tx:
        for values in wanted:
            _check_number("default_limit", values["default_limit"])
            checks.check_text("description", values["description"])
            await _check_place(tx, values)
            ids.append(uuid.uuid4().hex)
            await tx.execute(sa.insert(registered_limits).values(
                **{**values, "resource_name": checks.check_name("resource_name", values["resource_name"])}, id=ids[-1]))
        return list(await tx.all(sa.select(registered_limits).where(registered_limits.c.id.in_(ids))))


async def update_registered(ks: Keystone, ctx: Context, limit_id: str, patch: dict[str, Any]) -> Record:
    await get_registered(ks, ctx, limit_id, "update_registered_limit")
    if "default_limit" in patch:
        _check_number("default_limit", patch["default_limit"])
    if "resource_name" in patch:
        patch["resource_name"] = checks.check_name("resource_name", patch["resource_name"])
    checks.check_text("description", patch.get("description"))
    async with ks.changing(ctx, conflict=Conflict("registered limit", "Duplicate entry"), forget=False) as tx:
        if patch.keys() & {"service_id", "region_id", "resource_name"}:
            await _check_unused(tx, limit_id, "update")
            await _check_place(tx, patch)
        return await rows.change(tx, registered_limits, "registered limit", limit_id, patch)


async def _check_unused(tx: Tx, limit_id: str, verb: str) -> None:
    if await tx.scalar(sa.select(sa.func.count()).where(limits.c.registered_limit_id == limit_id)):
        raise Forbidden(f"Unable to {verb} registered limit {limit_id} because there are project limits "
                        "associated with it.")


async def delete_registered(ks: Keystone, ctx: Context, limit_id: str) -> None:
    await get_registered(ks, ctx, limit_id, "delete_registered_limit")
    async with ks.changing(ctx, forget=False) as tx:
        await _check_unused(tx, limit_id, "delete")
        await tx.execute(sa.delete(registered_limits).where(registered_limits.c.id == limit_id))


# --- limits of projects and domains

_SHOWN = sa.select(limits, registered_limits.c.service_id, registered_limits.c.region_id,
                   registered_limits.c.resource_name).join(
    registered_limits, registered_limits.c.id == limits.c.registered_limit_id)


async def list_limits(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    """Those that the caller may see: all, the domain's, or the project's."""
    ks.enforce(ctx, "list_limits")
    statement, identity = _SHOWN, ctx.identity
    if not ks.allows(ctx, "get_limit", {"target.limit.project_id": ""}):
        if identity.domain_id:
            inside = sa.select(projects.c.id).where(projects.c.domain_id == identity.domain_id)
            statement = statement.where(sa.or_(limits.c.domain_id == identity.domain_id,
                                               limits.c.project_id.in_(inside)))
        else:
            statement = statement.where(limits.c.project_id == (identity.project_id or ""))
    for name in ("service_id", "region_id", "resource_name"):
        if name in filters.exact:
            statement = statement.where(registered_limits.c[name] == filters.exact[name])
    async with ks.db.read() as tx:
        return await fetch(tx, limits, filters, "limit", statement)


async def get_limit(ks: Keystone, ctx: Context, limit_id: str, rule: str = "get_limit") -> Record:
    async with ks.db.read() as tx:
        row = await tx.first(_SHOWN.where(limits.c.id == limit_id))
    target: dict[str, Any] = {"target.limit.project_id": None}
    if row is not None:
        project = await directory.find_project(ks, row.project_id) if row.project_id else None
        target = {"target.limit.project_id": row.project_id, "target.limit.domain.id": row.domain_id,
                  "target.limit.project.domain_id": project.domain_id if project is not None else None}
    ks.enforce(ctx, rule, target)
    if row is None:
        raise NotFound("limit", limit_id)
    return row


async def create_limits(ks: Keystone, ctx: Context, wanted: Sequence[dict[str, Any]]) -> list[Record]:
    """All or none of them."""
    ks.enforce(ctx, "create_limits")
    ids = []
    async with ks.changing(ctx, conflict=Conflict("limit", "Duplicate entry"), forget=False) as tx:
        for values in wanted:
            _check_number("resource_limit", values["resource_limit"])
            checks.check_text("description", values["description"])
            if bool(values["project_id"]) == bool(values["domain_id"]):
                raise Invalid("A limit is for either a project or a domain: name exactly one of them.")
            owner, is_domain = values["project_id"] or values["domain_id"], bool(values["domain_id"])
            if not await tx.scalar(sa.select(sa.func.count()).where(
                    projects.c.id == owner, projects.c.is_domain.is_(is_domain))):
                raise Invalid(f"Could not find {'domain' if is_domain else 'project'}: {owner}.")
            region = registered_limits.c.region_id
            base = await tx.scalar(sa.select(registered_limits.c.id).where(
                registered_limits.c.service_id == values["service_id"],
                region.is_(None) if values["region_id"] is None else region == values["region_id"],
                registered_limits.c.resource_name == values["resource_name"]))
            if base is None:
                raise Forbidden("No registered limit exists for service {service_id}, region {region_id} and "
                                "resource {resource_name}: register one first.".format_map(values))
            ids.append(uuid.uuid4().hex)
            await tx.execute(sa.insert(limits).values(
                id=ids[-1], registered_limit_id=base, project_id=values["project_id"],
                domain_id=values["domain_id"], resource_limit=values["resource_limit"],
                description=values["description"]))
        return list(await tx.all(_SHOWN.where(limits.c.id.in_(ids))))


async def update_limit(ks: Keystone, ctx: Context, limit_id: str, patch: dict[str, Any]) -> Record:
    await get_limit(ks, ctx, limit_id, "update_limit")
    if "resource_limit" in patch:
        _check_number("resource_limit", patch["resource_limit"])
    checks.check_text("description", patch.get("description"))
    async with ks.changing(ctx, forget=False) as tx:
        if patch:
            await tx.execute(sa.update(limits).where(limits.c.id == limit_id).values(**patch))
        fresh = await tx.first(_SHOWN.where(limits.c.id == limit_id))
    if fresh is None:
        raise NotFound("limit", limit_id)
    return fresh


async def delete_limit(ks: Keystone, ctx: Context, limit_id: str) -> None:
    await get_limit(ks, ctx, limit_id, "delete_limit")
    async with ks.changing(ctx, forget=False) as tx:
        await tx.execute(sa.delete(limits).where(limits.c.id == limit_id))
