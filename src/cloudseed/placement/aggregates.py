"""Aggregates: sets of providers, known by a uuid and nothing else.  Sharing and `member_of` rest on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.placement import changes
from cloudseed.placement.models import provider_aggregates
from cloudseed.placement.providers import Provider, get_at_generation, get_provider

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

_pa = provider_aggregates.c


async def _read(tx: Tx, provider_id: int) -> list[str]:
    return list(await tx.scalars(sa.select(_pa.aggregate_uuid).where(
        _pa.provider_id == provider_id).order_by(_pa.aggregate_uuid)))


async def list_aggregates(placement: Placement, uuid: str) -> tuple[Provider, list[str]]:
    async with placement.db.read() as tx:
        provider = await get_provider(tx, uuid)
        return provider, await _read(tx, provider.id)


async def set_aggregates(placement: Placement, uuid: str, generation: int | None,
                         wanted: list[str]) -> tuple[Provider, list[str]]:
    """Put the provider into exactly these.  Without a `generation` (before 1.19) its generation stays.

    Raises ConcurrentUpdate.
    """
    async with placement.db.write() as tx:
        number = (await placement.begin(tx)).change
        provider = await get_at_generation(tx, uuid, generation)
        known = set(await _read(tx, provider.id))
        gone, fresh = known - set(wanted), sorted(set(wanted) - known)
        if gone:
            await tx.execute(sa.delete(provider_aggregates).where(_pa.provider_id == provider.id))
            fresh = sorted(set(wanted))
        if fresh:
            await tx.execute(sa.insert(provider_aggregates), [
                {"provider_id": provider.id, "aggregate_uuid": aggregate} for aggregate in fresh])
        if generation is None:
            await changes.stamp(tx, number, [provider.id])
        else:
            await changes.advance(tx, number, [provider.id])
            provider = provider._replace(generation=provider.generation + 1)
        return provider, await _read(tx, provider.id)
