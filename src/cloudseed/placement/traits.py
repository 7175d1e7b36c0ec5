"""Traits: names of what a provider is capable of.  Standard ones come from os-traits, own ones begin with CUSTOM_."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Invalid
from cloudseed.placement import changes
from cloudseed.placement.errors import TraitNotFound
from cloudseed.placement.models import provider_traits, traits
from cloudseed.placement.providers import Provider, get_at_generation, get_provider
from cloudseed.placement.vocabulary import CUSTOM

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

_FORM = re.compile(r"CUSTOM_[A-Z0-9_]+")
_t, _pt = traits.c, provider_traits.c
Named = list[tuple[str, datetime.datetime]]  # (name, since when)


async def list_traits(placement: Placement, names: list[str] | None, prefix: str | None,
                      associated: bool | None) -> Named:
    """By name.  `associated`: only those that some provider has, or only those that none has."""
    query = sa.select(_t.name, _t.created_at).order_by(_t.name)
    if names is not None:
        query = query.where(_t.name.in_(names[:10_000]))
    if prefix is not None:
        query = query.where(_t.name.startswith(prefix, autoescape=True))
    if associated is not None:
        used = sa.exists().where(_pt.trait_id == _t.id)
        query = query.where(used if associated else ~used)
    async with placement.db.read() as tx:
        return [(name, since) for name, since in await tx.all(query)]


async def get_trait(placement: Placement, name: str) -> datetime.datetime:
    """Since when the trait exists.  Raises TraitNotFound."""
    async with placement.db.read() as tx:
        since = await tx.scalar(sa.select(_t.created_at).where(_t.name == name))
    if since is None:
        raise TraitNotFound(name=name)
    found: datetime.datetime = since
    return found


async def ensure_trait(placement: Placement, name: str) -> tuple[bool, datetime.datetime]:
    """Make an own trait unless it is there; whether it is new, and since when it exists."""
    if len(name) > 255 or not _FORM.fullmatch(name):
        raise Invalid('The trait is invalid. A valid trait must be no longer than 255 characters, start with the '
                      'prefix "CUSTOM_" and use following characters: "A"-"Z", "0"-"9" and "_"')
    async with placement.db.write() as tx:
        await placement.begin(tx)
        since = await tx.scalar(sa.select(_t.created_at).where(_t.name == name))
        if since is not None:
            return False, since
        now = utcnow()
        await tx.execute(sa.insert(traits).values(name=name, created_at=now))
        await changes.note_vocabulary(tx)
    return True, now


async def delete_trait(placement: Placement, name: str) -> None:
    """Raises TraitNotFound, Invalid for a standard trait, Conflict while a provider has it."""
    async with placement.db.write() as tx:
        await placement.begin(tx)
        number = placement.vocabulary.trait_ids.get(name)
        if number is None:
            raise TraitNotFound(name=name)
        if not name.startswith(CUSTOM):
            raise Invalid(f"Cannot delete standard trait {name}.")
        if await tx.first(sa.select(_pt.provider_id).where(_pt.trait_id == number).limit(1)) is not None:
            raise Conflict(f"The trait {name} is in use by a resource provider.")
        await tx.execute(sa.delete(traits).where(_t.id == number))
        await changes.note_vocabulary(tx)


async def _named(tx: Tx, provider_id: int) -> Named:
    rows = await tx.all(sa.select(_t.name, _t.created_at).join_from(
        traits, provider_traits, _pt.trait_id == _t.id).where(_pt.provider_id == provider_id).order_by(_t.name))
    return [(name, since) for name, since in rows]


async def list_provider_traits(placement: Placement, uuid: str) -> tuple[Provider, Named]:
    async with placement.db.read() as tx:
        provider = await get_provider(tx, uuid)
        return provider, await _named(tx, provider.id)


async def set_provider_traits(placement: Placement, uuid: str, generation: int | None,
                              wanted: list[str]) -> tuple[Provider, Named]:
    """Make these the provider's traits.  Its generation stays when they already are.

    Raises ConcurrentUpdate, Invalid for an unknown name.
    """
    async with placement.db.write() as tx:
        number = (await placement.begin(tx)).change
        provider = await get_at_generation(tx, uuid, generation)
        unknown = sorted({name for name in wanted if name not in placement.vocabulary.trait_ids})
        if unknown:
            raise Invalid(f"No such trait {', '.join(unknown)}")
        ids = {placement.vocabulary.trait_ids[name] for name in wanted}
        known = set(await tx.scalars(sa.select(_pt.trait_id).where(_pt.provider_id == provider.id)))
        if ids != known:
            if known - ids:
                await tx.execute(sa.delete(provider_traits).where(
                    _pt.provider_id == provider.id, _pt.trait_id.in_(known - ids)))
            if ids - known:
                await tx.execute(sa.insert(provider_traits), [
                    {"provider_id": provider.id, "trait_id": trait} for trait in sorted(ids - known)])
            await changes.advance(tx, number, [provider.id])
            provider = provider._replace(generation=provider.generation + 1)
        return provider, await _named(tx, provider.id)
