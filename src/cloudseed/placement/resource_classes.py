"""Resource classes: names of what is counted.  Standard ones come from os-resource-classes."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Invalid
from cloudseed.placement import changes
from cloudseed.placement.errors import ResourceClassNotFound
from cloudseed.placement.models import allocations, inventories, resource_classes
from cloudseed.placement.vocabulary import CUSTOM

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

_rc = resource_classes.c
_modified = sa.func.coalesce(_rc.updated_at, _rc.created_at, type_=_rc.created_at.type)


async def list_resource_classes(placement: Placement) -> list[tuple[str, datetime.datetime]]:
    """(name, last change), standard ones first."""
    async with placement.db.read() as tx:
        return [(name, at) for name, at in await tx.all(sa.select(_rc.name, _modified).order_by(_rc.id))]


async def get_resource_class(placement: Placement, name: str) -> datetime.datetime:
    """When it last changed.  Raises ResourceClassNotFound."""
    async with placement.db.read() as tx:
        row = await tx.first(sa.select(_modified).where(_rc.name == name))
    if row is None:
        raise ResourceClassNotFound(name=name)
    at: datetime.datetime = row[0]
    return at


async def _insert(tx: Tx, name: str) -> None:
    await tx.execute(sa.insert(resource_classes).values(name=name, created_at=utcnow()))
    await changes.note_vocabulary(tx)


async def create_resource_class(placement: Placement, name: str) -> None:
    """Raises Conflict when it exists."""
    async with placement.db.write() as tx:
        await placement.begin(tx)
        if name in placement.vocabulary.class_ids:
            raise Conflict(f"Conflicting resource class already exists: {name}")
        await _insert(tx, name)


async def ensure_resource_class(placement: Placement, name: str) -> bool:
    """Make it unless it is there; whether it is new."""
    async with placement.db.write() as tx:
        await placement.begin(tx)
        if name in placement.vocabulary.class_ids:
            return False
        await _insert(tx, name)
    return True


async def rename_resource_class(placement: Placement, name: str, new: str) -> None:
    """What PUT did before 1.7.  Raises ResourceClassNotFound, Invalid for a standard one, Conflict."""
    async with placement.db.write() as tx:
        await placement.begin(tx)
        number = placement.vocabulary.class_id(name)
        if not name.startswith(CUSTOM):
            raise Invalid(f"Cannot update standard resource class {name}")
        if new != name and new in placement.vocabulary.class_ids:
            raise Conflict(f"Resource class already exists: {new}")
        await tx.execute(sa.update(resource_classes).where(_rc.id == number).values(name=new, updated_at=utcnow()))
        await changes.note_vocabulary(tx)


async def delete_resource_class(placement: Placement, name: str) -> None:
    """Raises ResourceClassNotFound, Invalid for a standard one, Conflict while a provider has some."""
    async with placement.db.write() as tx:
        await placement.begin(tx)
        number = placement.vocabulary.class_id(name)
        if not name.startswith(CUSTOM):
            raise Invalid(f"Error in delete resource class: Cannot delete standard resource class {name}.")
        for table in (inventories, allocations):
            if await tx.first(sa.select(table.c.class_id).where(table.c.class_id == number).limit(1)) is not None:
                raise Conflict(f"Error in delete resource class: Cannot delete resource class {name}. "
                               "Class is in use in inventory.")
        await tx.execute(sa.delete(resource_classes).where(_rc.id == number))
        await changes.note_vocabulary(tx)
