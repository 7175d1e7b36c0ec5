"""Quotas: limits that somebody set, over defaults; usage is counted from the records, never stored.

Checks run in the transaction that adds what they allow, so two requests cannot both take the last place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from cloudseed.cinder.errors import QuotaExceeded
from cloudseed.cinder.models import backups, groups, quotas, snapshots, volume_types, volumes
from cloudseed.kernel.db import Tx

DEFAULTS: Mapping[str, int] = {"volumes": 10, "gigabytes": 1000, "snapshots": 10, "backups": 10,
                               "backup_gigabytes": 1000, "groups": 10, "per_volume_gigabytes": -1}
CLASS = ""  # the project_id under which the limits of the class "default" are kept
PER_TYPE = ("volumes", "gigabytes", "snapshots")


async def type_resources(tx: Tx) -> list[str]:
    """volumes_<type>, gigabytes_<type>, snapshots_<type> of every type."""
    names = await tx.scalars(sa.select(volume_types.c.name).order_by(volume_types.c.name))
    return [f"{kind}_{name}" for name in names for kind in PER_TYPE]


async def get_limits(tx: Tx, project_id: str | None) -> dict[str, int]:
    """Every resource's limit for a project, or (None) the defaults of all; -1: none."""
    limits = {**DEFAULTS, **dict.fromkeys(await type_resources(tx), -1)}
    rows = await tx.all(sa.select(quotas.c.project_id, quotas.c.resource, quotas.c.hard_limit)
                        .where(quotas.c.project_id.in_([CLASS, project_id] if project_id else [CLASS])))
    for owner in (CLASS, project_id):
        limits.update({row.resource: row.hard_limit for row in rows if row.project_id == owner
                       and row.resource in limits})
    return limits


async def set_limits(tx: Tx, project_id: str, limits: Mapping[str, int]) -> None:
    for resource, limit in limits.items():
        await tx.execute(sa.delete(quotas).where(quotas.c.project_id == project_id, quotas.c.resource == resource))
        await tx.execute(sa.insert(quotas).values(project_id=project_id, resource=resource, hard_limit=limit))


async def delete_limits(tx: Tx, project_id: str) -> None:
    await tx.execute(sa.delete(quotas).where(quotas.c.project_id == project_id))


def _counted(table: sa.Table) -> Any:
    return table.c.consumes_quota.is_(True)


async def get_usage(tx: Tx, project_id: str) -> dict[str, int]:
    """What a project holds, by resource and by type."""
    size = sa.func.sum(sa.func.coalesce(volumes.c.growing_to, volumes.c.size))
    by_type = await tx.all(
        sa.select(volume_types.c.name, sa.func.count().label("number"), size.label("size"))
        .join(volume_types, volume_types.c.id == volumes.c.volume_type_id)
        .where(volumes.c.project_id == project_id, _counted(volumes)).group_by(volume_types.c.name))
    of_snapshots = await tx.all(
        sa.select(volume_types.c.name, sa.func.count().label("number"),
                  sa.func.sum(snapshots.c.volume_size).label("size"))
        .join(volume_types, volume_types.c.id == snapshots.c.volume_type_id)
        .where(snapshots.c.project_id == project_id, _counted(snapshots)).group_by(volume_types.c.name))
    backup = await tx.first(sa.select(sa.func.count().label("number"), sa.func.sum(backups.c.size).label("size"))
                            .where(backups.c.project_id == project_id))
    group_count = await tx.scalar(sa.select(sa.func.count()).select_from(groups)
                                  .where(groups.c.project_id == project_id))
    assert backup is not None
    usage = {"volumes": 0, "gigabytes": 0, "snapshots": 0, "backups": backup.number,
             "backup_gigabytes": backup.size or 0, "groups": group_count, "per_volume_gigabytes": 0}
    for row in by_type:
        usage["volumes"] += row.number
        usage["gigabytes"] += row.size
        usage[f"volumes_{row.name}"], usage[f"gigabytes_{row.name}"] = row.number, row.size
    for row in of_snapshots:  # snapshots count against gigabytes, as upstream's default
        usage["snapshots"] += row.number
        usage["gigabytes"] += row.size
        usage[f"snapshots_{row.name}"] = row.number
        usage[f"gigabytes_{row.name}"] = usage.get(f"gigabytes_{row.name}", 0) + row.size
    return usage


def _refuse(resource: str, limit: int, used: int, more: int) -> QuotaExceeded:
    kind = resource.split("_")[0] if not resource.startswith("backup") else resource
    if kind == "gigabytes":
        return QuotaExceeded(reason="Requested volume or snapshot exceeds allowed gigabytes quota. Requested "
                                    f"{more}G, quota is {limit}G and {used}G has been consumed. (quota {resource})")
    if kind == "backup_gigabytes":
        return QuotaExceeded(reason="Requested backup exceeds allowed Backup gigabytes quota. Requested "
                                    f"{more}G, quota is {limit}G and {used}G has been consumed.")
    return QuotaExceeded(reason=f"Maximum number of {kind} allowed ({limit}) exceeded for quota '{resource}'.")


async def check(tx: Tx, project_id: str, type_name: str | None, wanted: Mapping[str, int]) -> None:
    """Whether a project may take `wanted` more (resource -> how many; by type too where a type is named).

    Raises QuotaExceeded, which names the quota and the numbers.
    """
    every = dict(wanted)
    if type_name is not None:
        every.update({f"{kind}_{type_name}": more for kind, more in wanted.items() if kind in PER_TYPE})
    await _check_all(tx, project_id, every)


async def check_by_type(tx: Tx, project_id: str, type_name: str, wanted: Mapping[str, int]) -> None:
    """As `check`, for what a project holds already and that changes its type."""
    await _check_all(tx, project_id, {f"{kind}_{type_name}": more for kind, more in wanted.items()})


async def _check_all(tx: Tx, project_id: str, every: Mapping[str, int]) -> None:
    limits, usage = await get_limits(tx, project_id), await get_usage(tx, project_id)
    for resource, more in every.items():
        limit, used = limits.get(resource, -1), usage.get(resource, 0)
        if limit >= 0 and used + more > limit:
            raise _refuse(resource, limit, used, more)


async def check_size(tx: Tx, project_id: str, size: int) -> None:
    """Whether one volume may be so large (GiB)."""
    limit = (await get_limits(tx, project_id))["per_volume_gigabytes"]
    if 0 <= limit < size:
        raise QuotaExceeded(reason=f"Requested volume size {size} is larger than maximum allowed limit {limit}.")
