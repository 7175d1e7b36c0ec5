"""Keeps the picture true: before each use, read what changed since the last one.

The database's change number decides (changes.py), so nothing has to be told when this process or another one
writes.  Claims do not rest on the picture: they are checked in SQL, in the transaction that writes them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

import sqlalchemy as sa

from cloudseed.kernel.db import Database, Tx
from cloudseed.placement import changes
from cloudseed.placement.changes import Counters
from cloudseed.placement.models import (
    allocations,
    inventories,
    provider_aggregates,
    provider_traits,
    resource_providers,
)
from cloudseed.placement.picture import InventoryFacts, Picture, ProviderFacts, capacity_of
from cloudseed.placement.vocabulary import Vocabulary

_rp, _inv, _use = resource_providers.c, inventories.c, allocations.c
_changed = sa.select(_rp.id).where(_rp.change > sa.bindparam("known")).scalar_subquery()
_PROVIDERS = sa.select(_rp.id, _rp.uuid, _rp.name, _rp.generation, _rp.parent_id, _rp.root_id,
                       sa.func.coalesce(_rp.updated_at, _rp.created_at, type_=_rp.created_at.type)).where(
    _rp.change > sa.bindparam("known")).order_by(_rp.id)
_INVENTORIES = sa.select(_inv.provider_id, _inv.class_id, _inv.total, _inv.reserved, _inv.allocation_ratio,
                         _inv.min_unit, _inv.max_unit, _inv.step_size).where(_inv.provider_id.in_(_changed))
_USAGES = sa.select(_use.provider_id, _use.class_id, sa.func.sum(_use.used)).where(
    _use.provider_id.in_(_changed)).group_by(_use.provider_id, _use.class_id)
_TRAITS = sa.select(provider_traits.c.provider_id, provider_traits.c.trait_id).where(
    provider_traits.c.provider_id.in_(_changed))
_AGGREGATES = sa.select(provider_aggregates.c.provider_id, provider_aggregates.c.aggregate_uuid).where(
    provider_aggregates.c.provider_id.in_(_changed))


class PictureSync:
    """Owns the picture of one database."""

    def __init__(self, db: Database, vocabulary: Vocabulary) -> None:
        self._db = db
        self._vocabulary = vocabulary
        self._lock = asyncio.Lock()
        self._picture = Picture()
        self._seen = Counters(-1, 0, 0)

    async def current(self) -> Picture:
        """The picture with everything that was committed before this call."""
        async with self._lock, self._db.read() as tx:
            now = await changes.read(tx)
            await self._vocabulary.refresh(tx, now)
            if now.vocabulary != self._seen.vocabulary:  # a class may have another name
                self._picture.fragments = [None] * self._picture.size
            if now != self._seen:
                seen, self._seen = self._seen, Counters(-1, 0, 0)
                if seen.change < 0:  # the first time, or the last refresh broke off halfway
                    self._picture = Picture()
                await self._refresh(tx, seen, now)
                self._seen = now
        return self._picture

    async def _refresh(self, tx: Tx, seen: Counters, now: Counters) -> None:
        if now.removals != seen.removals and seen.change >= 0:
            left = set(await tx.scalars(sa.select(_rp.id)))
            self._picture.remove([known for known in self._picture.position_of if known not in left])
        if now.change != seen.change:
            self._picture.put(await _load(tx, seen.change))


async def _load(tx: Tx, known: int) -> list[ProviderFacts]:
    """What changed after transaction number `known`; everything for -1."""
    providers = (await tx.execute(_PROVIDERS, {"known": known})).all()
    if not providers:
        return []
    usages = {(provider, class_id): int(used)
              for provider, class_id, used in await tx.execute(_USAGES, {"known": known})}
    stock: dict[int, dict[int, InventoryFacts]] = defaultdict(dict)
    for provider, class_id, total, reserved, ratio, low, high, step in await tx.execute(
            _INVENTORIES, {"known": known}):
        stock[provider][class_id] = InventoryFacts(
            capacity_of(total, reserved, ratio), usages.get((provider, class_id), 0), low, high, step)
    traits: dict[int, set[int]] = defaultdict(set)
    for provider, trait in await tx.execute(_TRAITS, {"known": known}):
        traits[provider].add(trait)
    aggregates: dict[int, set[str]] = defaultdict(set)
    for provider, aggregate in await tx.execute(_AGGREGATES, {"known": known}):
        aggregates[provider].add(aggregate)
    return [ProviderFacts(number, uuid, name, generation, parent, root, modified, stock.get(number, {}),
                          frozenset(traits.get(number, ())), frozenset(aggregates.get(number, ())))
            for number, uuid, name, generation, parent, root, modified in providers]
