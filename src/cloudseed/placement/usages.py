"""Usages: sums of allocations, by provider or by owner.  Nothing is counted elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloudseed.placement.models import allocations, consumers, inventories
from cloudseed.placement.providers import Provider, get_provider

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

UNKNOWN = "unknown"  # how consumers without a type are shown
ALL = "all"
_a, _c, _inv = allocations.c, consumers.c, inventories.c


class TypeUsage(NamedTuple):
    """What the consumers of one type hold together, and how many they are."""

    resources: dict[str, int]
    consumer_count: int


async def provider_usages(placement: Placement, uuid: str) -> tuple[Provider, dict[str, int]]:
    """How much of each class in the provider's inventory is taken."""
    async with placement.db.read() as tx:
        names = await placement.names(tx)
        provider = await get_provider(tx, uuid)
        rows = await tx.all(
            sa.select(_inv.class_id, sa.func.coalesce(sa.func.sum(_a.used), 0)).select_from(
                inventories.outerjoin(allocations, sa.and_(_a.provider_id == _inv.provider_id,
                                                           _a.class_id == _inv.class_id))
            ).where(_inv.provider_id == provider.id).group_by(_inv.class_id).order_by(_inv.class_id))
        return provider, {names.class_names[class_id]: int(used) for class_id, used in rows}


async def owner_usages(placement: Placement, project_id: str, user_id: str | None,
                       consumer_type: str | None) -> dict[str, TypeUsage]:
    """What a project, or a user in it, holds: by consumer type.

    `consumer_type`: "all" sums all types under that key, "unknown" takes consumers without a type, another
    name takes that type only, None lists every type by itself.
    """
    own = [_c.project_id == project_id]
    if user_id is not None:
        own.append(_c.user_id == user_id)
    kind: sa.ColumnElement[str] = sa.func.coalesce(_c.consumer_type, UNKNOWN)
    if consumer_type == ALL:
        all_of_them = sa.literal(ALL, literal_execute=True)
        kind = sa.func.coalesce(all_of_them, all_of_them)  # PostgreSQL groups by no bare constant
    elif consumer_type == UNKNOWN:
        own.append(_c.consumer_type.is_(None))
    elif consumer_type is not None:
        own.append(_c.consumer_type == consumer_type)
    kind = kind.label("kind")
    async with placement.db.read() as tx:
        names = await placement.names(tx)
        # a consumer without allocations does not exist, so consumers are counted by themselves
        counts = await tx.all(sa.select(kind, sa.func.count()).select_from(consumers).where(*own).group_by(kind))
        sums = await tx.all(sa.select(kind, _a.class_id, sa.func.sum(_a.used)).join_from(
            consumers, allocations, _a.consumer_id == _c.id).where(*own).group_by(kind, _a.class_id))
    usages = {name: TypeUsage({}, count) for name, count in counts}
    for name, class_id, used in sums:
        usages[name].resources[names.class_names[class_id]] = int(used)
    return usages
