"""Allocations: who holds how much of which provider.  Every claim is checked and written in one transaction.

A consumer's allocations are always replaced as a whole.  The transaction takes the database's write lock before
it reads what is left, so claims that race are checked one after the other and the last unit is given once.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Invalid
from cloudseed.placement import changes
from cloudseed.placement.errors import AllocationRefused, AllocationsNotFound, ConcurrentUpdate
from cloudseed.placement.models import allocations, consumers, inventories, resource_providers
from cloudseed.placement.picture import capacity_of
from cloudseed.placement.providers import Provider, get_provider
from cloudseed.placement.vocabulary import Vocabulary

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

# owner of allocations that were written before 1.8, when they had none
INCOMPLETE_OWNER = "00000000-0000-0000-0000-000000000000"


class Claim(NamedTuple):
    """What one consumer shall hold afterwards; no `allocations`: nothing.

    `guarded` False (before 1.28) skips the generation; `generation` None says that the consumer must be new.
    `consumer_type` None (before 1.38) leaves the type as it is.
    """

    consumer: str
    allocations: Mapping[str, Mapping[str, int]]  # provider uuid -> class -> amount
    project_id: str
    user_id: str
    guarded: bool = False
    generation: int | None = None
    consumer_type: str | None = None


class Holding(NamedTuple):
    """One allocation as a list shows it."""

    provider_uuid: str
    provider_generation: int
    class_id: int
    used: int
    created_at: datetime.datetime


class Consumer(NamedTuple):
    id: int
    uuid: str
    generation: int
    project_id: str
    user_id: str
    consumer_type: str | None


class _Stock(NamedTuple):
    """What a provider has of one class, and how much of it is taken."""

    provider_id: int
    total: int
    reserved: int
    min_unit: int
    max_unit: int
    step_size: int
    allocation_ratio: float
    used: int


_a, _c, _rp, _inv = allocations.c, consumers.c, resource_providers.c, inventories.c
_CONSUMERS = sa.select(_c.id, _c.uuid, _c.generation, _c.project_id, _c.user_id, _c.consumer_type).where(
    _c.uuid.in_(sa.bindparam("uuids", expanding=True)))
_HOLDINGS = sa.select(_rp.uuid, _rp.generation, _a.class_id, _a.used, _a.created_at).join_from(
    allocations, resource_providers, _a.provider_id == _rp.id).where(
    _a.consumer_id == sa.bindparam("consumer")).order_by(_rp.id, _a.class_id)
_HELD = sa.select(_a.consumer_id, _a.provider_id, _a.class_id, _a.used).where(
    _a.consumer_id.in_(sa.bindparam("ids", expanding=True)))
_taken = sa.select(sa.func.coalesce(sa.func.sum(_a.used), 0)).where(
    _a.provider_id == _rp.id, _a.class_id == _inv.class_id).correlate(resource_providers, inventories)
_STOCK = sa.select(_rp.id, _rp.uuid, _inv.class_id, _inv.total, _inv.reserved, _inv.min_unit, _inv.max_unit,
                   _inv.step_size, _inv.allocation_ratio, _taken.scalar_subquery()).select_from(
    resource_providers.outerjoin(inventories, _inv.provider_id == _rp.id)).where(
    _rp.uuid.in_(sa.bindparam("uuids", expanding=True)))
_FORGET = sa.delete(allocations).where(_a.consumer_id.in_(sa.bindparam("ids", expanding=True)))
_DROP = sa.delete(consumers).where(_c.id.in_(sa.bindparam("ids", expanding=True)))
_NEW_CONSUMER = sa.insert(consumers)
_NEW_ALLOCATION = sa.insert(allocations)


async def replace_allocations(placement: Placement, claims: Collection[Claim]) -> None:
    """Make each consumer hold exactly what its claim says, all of them or none.

    Raises ConcurrentUpdate (a consumer's generation), AllocationRefused (no room), Invalid (unknown provider or
    class).
    """
    async with placement.db.write() as tx:
        number = (await placement.begin(tx)).change
        await write_claims(tx, number, placement.vocabulary, claims)


async def write_claims(tx: Tx, number: int, names: Vocabulary, claims: Collection[Claim]) -> None:
    """As `replace_allocations`, in a transaction that is open."""
    known = await _read_consumers(tx, [claim.consumer for claim in claims])
    for claim in claims:
        if claim.guarded:
            _check_generation(claim, known.get(claim.consumer))
    held = await _held_by(tx, [consumer.id for consumer in known.values()])
    wanted = {uuid for claim in claims for uuid in claim.allocations}
    provider_ids, stock = await _stock_of(tx, wanted)
    _check_exist(names, claims, provider_ids)
    _check_room(names, claims, stock, held)

    for part in changes.in_parts(consumer.id for consumer in known.values()):
        await tx.execute(_FORGET, {"ids": part})
    ids = await _write_consumers(tx, claims, known)
    now = utcnow()
    rows = [{"provider_id": provider_ids[uuid], "class_id": names.class_ids[name], "consumer_id": ids[claim.consumer],
             "used": amount, "created_at": now}
            for claim in claims for uuid, resources in claim.allocations.items() for name, amount in resources.items()]
    if rows:
        await tx.execute(_NEW_ALLOCATION, rows)
    advanced = set(provider_ids.values())
    left = {provider for _, provider, _, _ in held} - advanced
    wiped = {known[claim.consumer].id for claim in claims if not claim.allocations and claim.consumer in known}
    emptied = {provider for consumer, provider, _, _ in held if consumer in wiped}
    # as upstream: a provider's generation moves when a claim names it or is wiped, not when a claim leaves it
    await changes.advance(tx, number, advanced | emptied)
    await changes.stamp(tx, number, left - emptied)


async def _read_consumers(tx: Tx, uuids: list[str]) -> dict[str, Consumer]:
    found: dict[str, Consumer] = {}
    for part in changes.in_parts(uuids):
        for row in await tx.execute(_CONSUMERS, {"uuids": part}):
            found[row.uuid] = Consumer(*row)
    return found


async def _held_by(tx: Tx, ids: list[int]) -> list[tuple[int, int, int, int]]:
    """(consumer, provider, class, amount) of these consumers."""
    held: list[tuple[int, int, int, int]] = []
    for part in changes.in_parts(ids):
        held += [tuple(row) for row in await tx.execute(_HELD, {"ids": part})]
    return held


def _check_generation(claim: Claim, consumer: Consumer | None) -> None:
    expected = None if consumer is None else consumer.generation
    if claim.generation != expected:
        said, got = ("null" if value is None else value for value in (expected, claim.generation))
        raise ConcurrentUpdate(f"consumer generation conflict - expected {said} but got {got} "
                               f"(consumer {claim.consumer})")


async def _stock_of(tx: Tx, uuids: Collection[str]) -> tuple[dict[str, int], dict[tuple[str, int], _Stock]]:
    """The named providers' ids, and what each has of each class."""
    ids: dict[str, int] = {}
    stock: dict[tuple[str, int], _Stock] = {}
    for part in changes.in_parts(uuids):
        for number, uuid, class_id, *terms in await tx.execute(_STOCK, {"uuids": part}):
            ids[uuid] = number
            if class_id is not None:
                stock[uuid, class_id] = _Stock(number, *terms)
    return ids, stock


def _check_exist(names: Vocabulary, claims: Iterable[Claim], provider_ids: Mapping[str, int]) -> None:
    for claim in claims:
        for uuid, resources in claim.allocations.items():
            if uuid not in provider_ids:
                raise Invalid(f"Allocation for resource provider '{uuid}' that does not exist.")
            for name in resources:
                if name not in names.class_ids:
                    raise Invalid(f"Unable to allocate inventory for consumer {claim.consumer}: "
                                  f"No such resource class {name}.")


def _check_room(names: Vocabulary, claims: Iterable[Claim], stock: Mapping[tuple[str, int], _Stock],
                held: Iterable[tuple[int, int, int, int]]) -> None:
    """Raise AllocationRefused unless every provider can hand out what all claims together ask of it.

    More than the capacity is fine when it is no more than before: an overcommitted host can be drained in steps.
    """
    given_back: dict[tuple[int, int], int] = defaultdict(int)
    for _, provider, class_id, used in held:
        given_back[provider, class_id] += used
    asked: dict[tuple[str, str], int] = defaultdict(int)
    for claim in claims:
        for uuid, resources in claim.allocations.items():
            for name, amount in resources.items():
                what = f"Unable to allocate inventory: Unable to create allocation for '{name}' on resource " \
                       f"provider '{uuid}'."
                terms = stock.get((uuid, names.class_ids[name]))
                if terms is None:
                    raise AllocationRefused(f"Unable to allocate inventory: Inventory for '{name}' on resource "
                                            f"provider '{uuid}' invalid. The provider has none.")
                if amount < terms.min_unit or amount > terms.max_unit or amount % terms.step_size:
                    raise AllocationRefused(
                        f"{what} The requested amount would violate inventory constraints. (requested {amount}, "
                        f"min_unit {terms.min_unit}, max_unit {terms.max_unit}, step_size {terms.step_size})")
                asked[uuid, name] += amount
    for (uuid, name), amount in asked.items():
        terms = stock[uuid, names.class_ids[name]]
        capacity = capacity_of(terms.total, terms.reserved, terms.allocation_ratio)
        before = terms.used
        after = before - given_back[terms.provider_id, names.class_ids[name]] + amount
        if after > capacity and after > before:
            raise AllocationRefused(
                f"Unable to allocate inventory: Unable to create allocation for '{name}' on resource provider "
                f"'{uuid}'. The requested amount would exceed the capacity. (requested {amount}, "
                f"used {after - amount}, capacity {capacity})")


async def _write_consumers(tx: Tx, claims: Iterable[Claim], known: Mapping[str, Consumer]) -> dict[str, int]:
    """Make, change or drop the consumers' records; the ids of those that stay, by uuid."""
    ids: dict[str, int] = {}
    dropped: list[int] = []
    now = utcnow()
    for claim in claims:
        consumer = known.get(claim.consumer)
        if not claim.allocations:
            if consumer is not None:
                dropped.append(consumer.id)
            continue
        if consumer is None:
            result = await tx.execute(_NEW_CONSUMER, {
                "uuid": claim.consumer, "generation": 1, "project_id": claim.project_id, "user_id": claim.user_id,
                "consumer_type": claim.consumer_type, "created_at": now})
            ids[claim.consumer] = result.inserted_primary_key[0]
            continue
        values: dict[str, Any] = {"generation": consumer.generation + 1, "project_id": claim.project_id,
                                  "user_id": claim.user_id, "updated_at": now}
        if claim.consumer_type is not None:
            values["consumer_type"] = claim.consumer_type
        await tx.execute(sa.update(consumers).where(_c.id == consumer.id).values(values))
        ids[claim.consumer] = consumer.id
    for part in changes.in_parts(dropped):
        await tx.execute(_DROP, {"ids": part})
    return ids


async def list_for_consumer(placement: Placement, uuid: str) -> tuple[Consumer | None, list[Holding], Vocabulary]:
    """What a consumer holds; nothing, without an error, for one that nobody knows."""
    async with placement.db.read() as tx:
        names = await placement.names(tx)
        consumer = (await _read_consumers(tx, [uuid.lower()])).get(uuid.lower())
        if consumer is None:
            return None, [], names
        rows = await tx.execute(_HOLDINGS, {"consumer": consumer.id})
        return consumer, [Holding(*row) for row in rows], names


async def list_for_provider(placement: Placement, uuid: str) -> tuple[Provider, list[Any], Vocabulary]:
    """The provider, and rows (consumer uuid, its generation, class id, amount, since when)."""
    async with placement.db.read() as tx:
        names = await placement.names(tx)
        provider = await get_provider(tx, uuid)
        rows = await tx.all(sa.select(_c.uuid, _c.generation, _a.class_id, _a.used, _a.created_at).join_from(
            allocations, consumers, _a.consumer_id == _c.id).where(
            _a.provider_id == provider.id).order_by(_a.id))
        return provider, list(rows), names


async def delete_allocations(placement: Placement, uuid: str) -> None:
    """Give back all that a consumer holds, and forget it.  Raises AllocationsNotFound."""
    async with placement.db.write() as tx:
        number = (await placement.begin(tx)).change
        consumer = (await _read_consumers(tx, [uuid.lower()])).get(uuid.lower())
        if consumer is None:
            raise AllocationsNotFound(consumer=uuid)
        held = await _held_by(tx, [consumer.id])
        await tx.execute(_FORGET, {"ids": [consumer.id]})
        await tx.execute(_DROP, {"ids": [consumer.id]})
        await changes.stamp(tx, number, {provider for _, provider, _, _ in held})
