"""Resource providers: records, their trees, and what may become of them."""

from __future__ import annotations

import datetime
import uuid as uuids
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Invalid
from cloudseed.placement import changes
from cloudseed.placement.errors import (
    CannotDeleteParent,
    ConcurrentUpdate,
    DuplicateName,
    ResourceProviderInUse,
    ResourceProviderNotFound,
)
from cloudseed.placement.models import (
    allocations,
    inventories,
    provider_aggregates,
    provider_traits,
    resource_providers,
)

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement


class Provider(NamedTuple):
    """A resource provider.  `parent_uuid` None: the root of its tree."""

    id: int
    uuid: str
    name: str
    generation: int
    parent_id: int | None
    root_id: int
    parent_uuid: str | None
    root_uuid: str
    created_at: datetime.datetime
    updated_at: datetime.datetime | None

    @property
    def modified_at(self) -> datetime.datetime:
        return self.updated_at or self.created_at


_parent = resource_providers.alias("parent")
_root = resource_providers.alias("root")
_rp = resource_providers.c
_SELECT = sa.select(_rp.id, _rp.uuid, _rp.name, _rp.generation, _rp.parent_id, _rp.root_id, _parent.c.uuid,
                    _root.c.uuid, _rp.created_at, _rp.updated_at).select_from(
    resource_providers.join(_root, _rp.root_id == _root.c.id).outerjoin(_parent, _rp.parent_id == _parent.c.id)
).where(_rp.uuid == sa.bindparam("wanted"))


async def find_provider(tx: Tx, uuid: str) -> Provider | None:
    row = (await tx.execute(_SELECT, {"wanted": uuid.lower()})).first()
    return Provider(*row) if row is not None else None


async def get_provider(tx: Tx, uuid: str, prefix: str = "") -> Provider:
    """Raises ResourceProviderNotFound."""
    provider = await find_provider(tx, uuid)
    if provider is None:
        raise ResourceProviderNotFound(prefix + ResourceProviderNotFound.template % {"uuid": uuid})
    return provider


async def get_at_generation(tx: Tx, uuid: str, generation: int | None) -> Provider:
    """The provider if it is still at `generation` (None: whatever it is at).  Raises ConcurrentUpdate."""
    provider = await get_provider(tx, uuid)
    if generation is not None and generation != provider.generation:
        raise ConcurrentUpdate(f"resource provider generation conflict: {uuid} is at generation "
                               f"{provider.generation}, the request is based on {generation}. "
                               "Please update the generation and try again.")
    return provider


async def show_provider(placement: Placement, uuid: str) -> Provider:
    async with placement.db.look() as tx:
        return await get_provider(tx, uuid)


async def create_provider(placement: Placement, name: str, uuid: str | None, parent_uuid: str | None) -> Provider:
    """Make a provider at generation 0.  Raises Invalid for an impossible parent, DuplicateName."""
    uuid = uuid or str(uuids.uuid4())
    failed = f'Unable to create resource provider "{name}", {uuid}: Object action create failed because: '
    if not name:
        raise Invalid(failed + "name is required")
    async with placement.db.write() as tx:
        number = (await placement.begin(tx)).change
        parent = None
        if parent_uuid is not None:
            if parent_uuid == uuid:
                raise Invalid(failed + "parent provider UUID cannot be same as UUID. Please set parent provider "
                                       "UUID to None if there is no parent.")
            parent = await find_provider(tx, parent_uuid)
            if parent is None:
                raise Invalid(failed + f"parent provider UUID does not exist. ({parent_uuid})")
        await _refuse_duplicates(tx, name, uuid)
        now = utcnow()
        await tx.execute(sa.insert(resource_providers).values(
            id=number, uuid=uuid, name=name, generation=0, parent_id=parent.id if parent else None,
            root_id=parent.root_id if parent else number, change=number, created_at=now))
    return Provider(number, uuid, name, 0, parent.id if parent else None, parent.root_id if parent else number,
                    parent.uuid if parent else None, parent.root_uuid if parent else uuid, now, None)


async def _refuse_duplicates(tx: Tx, name: str, uuid: str | None, own_id: int = 0) -> None:
    rows = await tx.all(sa.select(_rp.uuid, _rp.name).where(sa.or_(_rp.name == name, _rp.uuid == uuid),
                                                            _rp.id != own_id))
    taken = [*(f"uuid: {uuid}" for row in rows if row.uuid == uuid),
             *(f"name: {name}" for row in rows if row.name == name)]
    if taken:
        raise DuplicateName(f"Conflicting resource provider {', '.join(taken)} already exists.")


async def update_provider(placement: Placement, uuid: str, name: str, *, move: bool, parent_uuid: str | None,
                          may_reparent: bool) -> Provider:
    """Rename, and with `move` put under `parent_uuid` (None: make it a root).  Raises Invalid, DuplicateName.

    Without `may_reparent` (before 1.37) only a root may be given a parent.
    """
    failed = f"Unable to save resource provider {uuid}: Object action update failed because: "
    async with placement.db.write() as tx:
        number = (await placement.begin(tx)).change
        provider = await get_provider(tx, uuid)
        if not name:
            raise Invalid(failed + "name is required")
        await _refuse_duplicates(tx, name, None, provider.id)
        await tx.execute(sa.update(resource_providers).where(_rp.id == provider.id).values(
            name=name, updated_at=utcnow(), change=number))
        if move and parent_uuid != provider.parent_uuid:
            await _move(tx, number, provider, parent_uuid, may_reparent, failed)
        return await get_provider(tx, uuid)


async def _move(tx: Tx, number: int, provider: Provider, parent_uuid: str | None, may_reparent: bool,
                failed: str) -> None:
    parent = None
    if parent_uuid is None:
        if not may_reparent:
            raise Invalid(failed + "un-parenting a provider is not currently allowed.")
    else:
        parent = await find_provider(tx, parent_uuid)
        if parent is None:
            raise Invalid(failed + f"parent provider UUID does not exist. ({parent_uuid})")
        if provider.parent_id is not None and not may_reparent:
            raise Invalid(failed + "re-parenting a provider is not currently allowed.")
    subtree = await _subtree(tx, provider)
    if parent is not None and parent.id in subtree:
        raise Invalid(failed + "creating loop in the provider tree is not allowed.")
    await tx.execute(sa.update(resource_providers).where(_rp.id == provider.id).values(
        parent_id=parent.id if parent else None))
    await tx.execute(sa.update(resource_providers).where(_rp.id.in_(subtree)).values(
        root_id=parent.root_id if parent else provider.id, change=number))


async def _subtree(tx: Tx, provider: Provider) -> set[int]:
    """The provider and everything below it, by id."""
    rows = await tx.all(sa.select(_rp.id, _rp.parent_id).where(_rp.root_id == provider.root_id))
    children: dict[int | None, list[int]] = {}
    for number, parent_id in rows:
        children.setdefault(parent_id, []).append(number)
    found, todo = set(), [provider.id]
    while todo:
        at = todo.pop()
        found.add(at)
        todo.extend(children.get(at, ()))
    return found


async def delete_provider(placement: Placement, uuid: str) -> None:
    """Raises CannotDeleteParent while it has children, ResourceProviderInUse while anybody holds some of it."""
    async with placement.db.write() as tx:
        await placement.begin(tx)
        provider = await find_provider(tx, uuid)
        if provider is None:
            raise ResourceProviderNotFound(f"No resource provider with uuid {uuid} found for delete")
        if await tx.first(sa.select(_rp.id).where(_rp.parent_id == provider.id).limit(1)) is not None:
            raise CannotDeleteParent(uuid=uuid)
        if await tx.first(sa.select(allocations.c.id).where(
                allocations.c.provider_id == provider.id).limit(1)) is not None:
            raise ResourceProviderInUse(uuid=uuid)
        for table in (inventories, provider_traits, provider_aggregates):
            await tx.execute(sa.delete(table).where(table.c.provider_id == provider.id))
        await tx.execute(sa.delete(resource_providers).where(_rp.id == provider.id))
        await changes.note_removal(tx)
