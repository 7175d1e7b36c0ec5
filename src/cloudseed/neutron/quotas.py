"""Quotas: how much of each resource a project may hold.  Usage is counted, never stored."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, models
from cloudseed.neutron.errors import HTTPBadRequest, OverQuota, TenantQuotaNotFound
from cloudseed.neutron.server import Neutron

# resource -> (default limit of upstream's configuration, the table that is counted)
RESOURCES: dict[str, tuple[int, sa.Table | None]] = {
    "network": (100, models.networks), "subnet": (100, models.subnets), "subnetpool": (-1, models.subnetpools),
    "port": (500, models.ports), "router_route": (30, None), "router": (10, models.routers),
    "floatingip": (50, models.floatingips), "rbac_policy": (10, models.rbac_policies),
    "security_group": (10, models.security_groups), "security_group_rule": (100, models.security_group_rules)}


def _limit(resource: str, project_id: Any) -> sa.ScalarSelect[Any]:
    quotas = models.quotas.c
    return sa.select(quotas.hard_limit).where(quotas.project_id == project_id,
                                              quotas.resource == resource).scalar_subquery()


def _used(resource: str, project_id: Any) -> sa.ScalarSelect[Any]:
    table = RESOURCES[resource][1]
    assert table is not None
    return sa.select(sa.func.count()).select_from(table).where(table.c.project_id == project_id).scalar_subquery()


def _check(resource: str) -> sa.Select[Any]:
    """What is used, counted only below a limit: whoever has thousands of ports often has none."""
    project_id: sa.BindParameter[str] = sa.bindparam("project_id")
    limit = _limit(resource, project_id)
    unlimited = sa.func.coalesce(limit, RESOURCES[resource][0]) < 0
    return sa.select(sa.case((unlimited, 0), else_=_used(resource, project_id)).label("used"), limit.label("ceiling"))


_CHECKS = {name: _check(name) for name, (_, counted) in RESOURCES.items() if counted is not None}


async def check(tx: Tx, project_id: str, resource: str, more: int = 1) -> None:
    """Room for `more` of a resource, within the transaction that adds them; else OverQuota."""
    row = (await tx.execute(_CHECKS[resource], {"project_id": project_id})).first()
    assert row is not None
    limit = RESOURCES[resource][0] if row.ceiling is None else row.ceiling
    if 0 <= limit < row.used + more:
        raise OverQuota(overs=[resource])


def defaults() -> dict[str, int]:
    return {name: limit for name, (limit, _) in RESOURCES.items()}


async def get_quota(neutron: Neutron, ctx: Context, project_id: str) -> dict[str, int]:
    """The limits of a project."""
    access.authorize(neutron, ctx, "get_quota", {"project_id": project_id})
    quotas = models.quotas.c
    async with neutron.db.look() as tx:
        rows = await tx.all(sa.select(quotas.resource, quotas.hard_limit).where(quotas.project_id == project_id))
    return defaults() | {row.resource: row.hard_limit for row in rows}


async def get_details(neutron: Neutron, ctx: Context, project_id: str) -> dict[str, dict[str, int]]:
    """Limits with what is used."""
    limits = await get_quota(neutron, ctx, project_id)
    counted = [name for name, (_, table) in RESOURCES.items() if table is not None]
    async with neutron.db.look() as tx:
        row = await tx.first(sa.select(*[_used(name, project_id).label(name) for name in counted]))
    assert row is not None
    used = dict(row._mapping)
    return {name: {"limit": limit, "used": used.get(name, 0), "reserved": 0} for name, limit in limits.items()}


async def list_quotas(neutron: Neutron, ctx: Context) -> list[dict[str, Any]]:
    """Projects whose limits differ from the defaults."""
    access.authorize(neutron, ctx, "update_quota", {})
    async with neutron.db.read() as tx:
        rows = await tx.all(sa.select(models.quotas).order_by(models.quotas.c.project_id))
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        quota = found.setdefault(row.project_id, {**defaults(), "project_id": row.project_id,
                                                  "tenant_id": row.project_id})
        quota[row.resource] = row.hard_limit
    return list(found.values())


async def update_quota(neutron: Neutron, ctx: Context, project_id: str, limits: dict[str, int],
                       check_limit: bool) -> dict[str, int]:
    """Set limits of a project; with `check_limit` none below what is used."""
    access.authorize(neutron, ctx, "update_quota", {"project_id": project_id})
    if check_limit:
        usage = await get_details(neutron, ctx, project_id)
        below = [name for name, limit in limits.items() if 0 <= limit < usage[name]["used"]]
        if below:
            raise HTTPBadRequest(f"Quota limit below current usage for resources: {below}")
    quotas = models.quotas
    async with neutron.db.write() as tx:
        await tx.execute(sa.delete(quotas).where(quotas.c.project_id == project_id, quotas.c.resource.in_(limits)))
        if limits:
            await tx.execute(sa.insert(quotas), [
                {"project_id": project_id, "resource": name, "hard_limit": limit} for name, limit in limits.items()])
    return await get_quota(neutron, ctx, project_id)


async def delete_quota(neutron: Neutron, ctx: Context, project_id: str) -> None:
    """Back to the defaults; TenantQuotaNotFound when nothing was set."""
    access.authorize(neutron, ctx, "delete_quota", {"project_id": project_id})
    async with neutron.db.write() as tx:
        result = await tx.execute(sa.delete(models.quotas).where(models.quotas.c.project_id == project_id))
        if result.rowcount == 0:
            raise TenantQuotaNotFound(id=project_id)
