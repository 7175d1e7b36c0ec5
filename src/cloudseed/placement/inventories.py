"""Inventories: how much of each resource class a provider has, and under which terms it hands it out."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Invalid
from cloudseed.placement import changes
from cloudseed.placement.errors import ConcurrentUpdate, InventoryInUse, InventoryNotFound
from cloudseed.placement.models import allocations, inventories
from cloudseed.placement.picture import capacity_of
from cloudseed.placement.providers import Provider, get_at_generation, get_provider
from cloudseed.placement.vocabulary import Vocabulary

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

MAX_INT = 2**31 - 1


class Inventory(NamedTuple):
    """One class's terms.  Amounts are in the class's own unit."""

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = MAX_INT
    step_size: int = 1
    allocation_ratio: float = 1.0
    modified_at: datetime.datetime | None = None

    @property
    def capacity(self) -> int:
        return capacity_of(self.total, self.reserved, self.allocation_ratio)


Inventories = Mapping[str, Inventory]  # by resource class name
_inv = inventories.c
_SELECT = sa.select(_inv.class_id, _inv.total, _inv.reserved, _inv.min_unit, _inv.max_unit, _inv.step_size,
                    _inv.allocation_ratio,
                    sa.func.coalesce(_inv.updated_at, _inv.created_at, type_=_inv.created_at.type)).where(
    _inv.provider_id == sa.bindparam("provider")).order_by(_inv.class_id)


async def read_inventories(tx: Tx, names: Vocabulary, provider_id: int) -> dict[str, Inventory]:
    rows = await tx.execute(_SELECT, {"provider": provider_id})
    return {names.class_names[row[0]]: Inventory(*row[1:]) for row in rows}


async def list_inventories(placement: Placement, uuid: str) -> tuple[Provider, dict[str, Inventory]]:
    async with placement.db.read() as tx:
        names = await placement.names(tx)
        provider = await get_provider(tx, uuid)
        return provider, await read_inventories(tx, names, provider.id)


async def get_inventory(placement: Placement, uuid: str, resource_class: str) -> tuple[Provider, Inventory]:
    provider, known = await list_inventories(placement, uuid)
    if resource_class not in known:
        raise InventoryNotFound(resource_class=resource_class, uuid=uuid)
    return provider, known[resource_class]


def check_capacity(uuid: str, wanted: Inventories, *, reserved_can_be_total: bool, verb: str = "update") -> None:
    """Raises Invalid for an inventory that could never hand out anything (1.26: reserving all is allowed)."""
    for resource_class, inventory in wanted.items():
        too_small = inventory.capacity < 0 if reserved_can_be_total else inventory.capacity <= 0
        if too_small:
            than = "greater than" if reserved_can_be_total else "greater than or equal to"
            raise Invalid(f"Unable to {verb} inventory for resource provider {uuid}: Invalid inventory for "
                          f"'{resource_class}' on resource provider '{uuid}'. The reserved value is {than} total.")


async def set_inventories(placement: Placement, uuid: str, generation: int | None,
                          wanted: Inventories) -> Provider:
    """Make `wanted` the provider's whole inventory.  Raises ConcurrentUpdate, InventoryInUse, Invalid."""
    async with placement.db.write() as tx:
        number = (await placement.begin(tx)).change
        provider = await get_at_generation(tx, uuid, generation)
        await write_inventories(tx, placement.vocabulary, provider, wanted)
        await changes.advance(tx, number, [provider.id])
    return provider._replace(generation=provider.generation + 1)


async def write_inventories(tx: Tx, names: Vocabulary, provider: Provider, wanted: Inventories) -> None:
    """Insert, update and delete rows until the provider's inventory is `wanted`.  The caller advances it."""
    class_ids = {name: _class_id(names, provider.uuid, name) for name in wanted}
    known = set(await tx.scalars(sa.select(_inv.class_id).where(_inv.provider_id == provider.id)))
    gone = known - set(class_ids.values())
    if gone:
        await _refuse_in_use(tx, names, provider, gone)
        await tx.execute(sa.delete(inventories).where(_inv.provider_id == provider.id, _inv.class_id.in_(gone)))
    now = utcnow()
    fresh = [_row(provider, class_ids[name], inventory, created_at=now)
             for name, inventory in wanted.items() if class_ids[name] not in known]
    if fresh:
        await tx.execute(sa.insert(inventories), fresh)
    for name, inventory in wanted.items():
        if class_ids[name] in known:
            await _update(tx, provider, class_ids[name], inventory)


def _class_id(names: Vocabulary, uuid: str, name: str) -> int:
    number = names.class_ids.get(name)
    if number is None:
        raise Invalid(f"Unknown resource class in inventory for resource provider {uuid}: "
                      f"No such resource class {name}.")
    return number


def _row(provider: Provider, class_id: int, inventory: Inventory, **times: datetime.datetime) -> dict[str, Any]:
    values = inventory._asdict()
    del values["modified_at"]
    return {"provider_id": provider.id, "class_id": class_id, **values, **times}


async def _update(tx: Tx, provider: Provider, class_id: int, inventory: Inventory) -> bool:
    result = await tx.execute(sa.update(inventories).where(
        _inv.provider_id == provider.id, _inv.class_id == class_id).values(
        _row(provider, class_id, inventory, updated_at=utcnow())))
    return bool(result.rowcount)


async def _refuse_in_use(tx: Tx, names: Vocabulary, provider: Provider, class_ids: set[int]) -> None:
    used = await tx.scalars(sa.select(allocations.c.class_id).distinct().where(
        allocations.c.provider_id == provider.id, allocations.c.class_id.in_(class_ids)))
    if used:
        raise InventoryInUse(classes=", ".join(sorted(names.class_names[u] for u in used)), uuid=provider.uuid)


async def add_inventory(placement: Placement, uuid: str, resource_class: str, inventory: Inventory) -> Provider:
    """Give the provider a class that it does not have yet.  Raises ConcurrentUpdate when it has."""
    async with placement.db.write() as tx:
        number = (await placement.begin(tx)).change
        provider = await get_provider(tx, uuid)
        class_id = placement.vocabulary.class_ids.get(resource_class)
        if class_id is None:
            raise Invalid(f"Unable to create inventory for resource provider {uuid}: "
                          f"No such resource class {resource_class}.")
        if await tx.first(sa.select(_inv.class_id).where(
                _inv.provider_id == provider.id, _inv.class_id == class_id)) is not None:
            raise ConcurrentUpdate(f"Update conflict: resource provider {uuid} has an inventory of class "
                                   f"{resource_class} already. Use PUT to change it.")
        await tx.execute(sa.insert(inventories).values(_row(provider, class_id, inventory, created_at=utcnow())))
        await changes.advance(tx, number, [provider.id])
    return provider._replace(generation=provider.generation + 1)


async def update_inventory(placement: Placement, uuid: str, resource_class: str, generation: int,
                           inventory: Inventory) -> Provider:
    """Change the terms of a class that the provider has.  Raises ConcurrentUpdate, Invalid."""
    async with placement.db.write() as tx:
        number = (await placement.begin(tx)).change
        provider = await get_at_generation(tx, uuid, generation)
        class_id = placement.vocabulary.class_ids.get(resource_class)
        if class_id is None or not await _update(tx, provider, class_id, inventory):
            raise Invalid(f"No inventory record with resource class for resource provider {uuid}: "
                          f"No inventory of class {resource_class} found.")
        await changes.advance(tx, number, [provider.id])
    return provider._replace(generation=provider.generation + 1)


async def delete_inventory(placement: Placement, uuid: str, resource_class: str) -> None:
    """Raises InventoryNotFound, or InventoryInUse while anybody holds some of it."""
    async with placement.db.write() as tx:
        number = (await placement.begin(tx)).change
        provider = await get_provider(tx, uuid)
        class_id = placement.vocabulary.class_id(resource_class)
        try:
            await _refuse_in_use(tx, placement.vocabulary, provider, {class_id})
        except InventoryInUse as exc:
            # upstream answers this one request with the code of a lost race
            raise ConcurrentUpdate(f"Unable to delete inventory of class {resource_class}: "
                                   f"{exc.message.removeprefix('update conflict: ')}") from None
        result = await tx.execute(sa.delete(inventories).where(
            _inv.provider_id == provider.id, _inv.class_id == class_id))
        if not result.rowcount:
            raise InventoryNotFound(f"No inventory of class {resource_class} found for delete: "
                                    f"resource provider {uuid} has none.")
        await changes.advance(tx, number, [provider.id])
