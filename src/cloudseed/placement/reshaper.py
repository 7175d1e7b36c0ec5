"""Reshaping: move inventories between providers together with the allocations on them, all or nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from cloudseed.kernel.errors import Invalid
from cloudseed.placement import changes
from cloudseed.placement.allocations import Claim, write_claims
from cloudseed.placement.errors import ConcurrentUpdate, ReshapedProviderNotFound
from cloudseed.placement.inventories import Inventories, read_inventories, write_inventories
from cloudseed.placement.providers import Provider, find_provider

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement


async def reshape(placement: Placement, wanted: Mapping[str, tuple[int, Inventories]],
                  claims: Collection[Claim]) -> None:
    """Make `wanted` (provider uuid -> generation, inventories) and `claims` true in one transaction.

    Inventories only grow at first, so that the claims find both what they leave and what they move to.
    Raises ConcurrentUpdate, AllocationRefused, InventoryInUse, Invalid.
    """
    async with placement.db.write() as tx:
        number = (await placement.begin(tx)).change
        providers: dict[str, Provider] = {}
        for uuid, (generation, inventories) in wanted.items():
            provider = await find_provider(tx, uuid)
            if provider is None:
                raise ReshapedProviderNotFound(uuid=uuid)
            if generation != provider.generation:
                raise ConcurrentUpdate(f"resource provider generation conflict for provider {uuid}: "
                                       f"actual: {provider.generation}, given: {generation}")
            unknown = sorted(set(inventories) - set(placement.vocabulary.class_ids))
            if unknown:
                raise Invalid(f"malformed reshaper data: No such resource class {', '.join(unknown)}.")
            providers[uuid] = provider
            if inventories:
                present = await read_inventories(tx, placement.vocabulary, provider.id)
                await write_inventories(tx, placement.vocabulary, provider, {**present, **inventories})
                await changes.advance(tx, number, [provider.id])
        await write_claims(tx, number, placement.vocabulary, claims)
        for uuid, provider in providers.items():
            await write_inventories(tx, placement.vocabulary, provider, wanted[uuid][1])
        await changes.advance(tx, number, [provider.id for provider in providers.values()])
