"""How every write is numbered, so that whoever remembers what it read knows what to read again.

A write transaction takes the next number first and stamps it on each provider that it touches.  The picture
in memory keeps the last number it has seen, asks for providers with a higher one, and is right whichever
process wrote them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple, TypeVar

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.placement.errors import ConcurrentUpdate
from cloudseed.placement.models import changes, resource_providers

T = TypeVar("T")


class Counters(NamedTuple):
    """The row of `changes`, as far as readers compare it."""

    change: int
    removals: int
    vocabulary: int


_COUNTERS = sa.select(changes.c.change, changes.c.removals, changes.c.vocabulary)
_NEXT = sa.update(changes).values(change=changes.c.change + 1).returning(
    changes.c.change, changes.c.removals, changes.c.vocabulary)
_STAMP = sa.update(resource_providers).where(
    resource_providers.c.id.in_(sa.bindparam("ids", expanding=True))).values(
    change=sa.bindparam("number"))
_ADVANCE = sa.update(resource_providers).where(
    resource_providers.c.id.in_(sa.bindparam("ids", expanding=True))).values(
    change=sa.bindparam("number"), generation=resource_providers.c.generation + 1,
    updated_at=sa.bindparam("now"))


def in_parts(values: Iterable[T], size: int = 500) -> Iterator[list[T]]:
    """Lists that one statement can hold: databases limit how many values that is."""
    whole = list(values)
    for start in range(0, len(whole), size):
        yield whole[start:start + size]


async def read(tx: Tx) -> Counters:
    row = await tx.first(_COUNTERS)
    assert row is not None
    return Counters(*row)


async def begin(tx: Tx) -> Counters:
    """Number this write transaction.  Call it first."""
    row = await tx.first(_NEXT)
    assert row is not None
    return Counters(*row)


async def stamp(tx: Tx, number: int, provider_ids: Collection[int]) -> None:
    """These providers, or what hangs on them, changed in transaction `number`."""
    for ids in in_parts(provider_ids):
        await tx.execute(_STAMP, {"ids": ids, "number": number})


async def advance(tx: Tx, number: int, provider_ids: Collection[int]) -> None:
    """As `stamp`, and the providers' generations go up by one.  Their current generation was read in this same
    transaction, so nobody can have come in between."""
    for ids in in_parts(provider_ids):
        result = await tx.execute(_ADVANCE, {"ids": ids, "number": number, "now": utcnow()})
        if result.rowcount != len(ids):
            raise ConcurrentUpdate()


async def note_removal(tx: Tx) -> None:
    """A provider was deleted."""
    await tx.execute(sa.update(changes).values(removals=changes.c.removals + 1))


async def note_vocabulary(tx: Tx) -> None:
    """A trait or a resource class was made, renamed or deleted."""
    await tx.execute(sa.update(changes).values(vocabulary=changes.c.vocabulary + 1))
