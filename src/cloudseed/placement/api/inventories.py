"""/resource_providers/{uuid}/inventories and .../inventories/{resource_class}."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Version
from cloudseed.kernel.http.request import Request
from cloudseed.placement import inventories
from cloudseed.placement.api.wire import (
    ClassName,
    accept_json,
    authorize,
    read_json,
    require_method,
    say_modified,
)
from cloudseed.placement.inventories import MAX_INT, Inventory
from cloudseed.placement.providers import Provider

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

Positive = Annotated[int, msgspec.Meta(ge=1, le=MAX_INT)]
Ratio = Annotated[float, msgspec.Meta(le=3.40282e38)]
_RULE = "placement:resource_providers:inventories:"


class InventoryBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One inventory's terms; what is not given takes the default."""

    total: Positive
    reserved: Annotated[int, msgspec.Meta(ge=0, le=MAX_INT)] = 0
    min_unit: Positive = 1
    max_unit: Positive = MAX_INT
    step_size: Positive = 1
    allocation_ratio: Ratio = 1.0
    resource_provider_generation: int | msgspec.UnsetType = msgspec.UNSET

    def record(self) -> Inventory:
        return Inventory(self.total, self.reserved, self.min_unit, self.max_unit, self.step_size,
                         float(self.allocation_ratio))


class NewInventory(InventoryBody, forbid_unknown_fields=True, kw_only=True):
    resource_class: ClassName


class ChangedInventory(InventoryBody, forbid_unknown_fields=True, kw_only=True):
    resource_provider_generation: int


class InventorySet(msgspec.Struct, forbid_unknown_fields=True):
    resource_provider_generation: int
    inventories: dict[ClassName, InventoryBody]

    def records(self) -> dict[str, Inventory]:
        return {name: body.record() for name, body in self.inventories.items()}


def reserved_can_be_total(version: Version) -> bool:
    return version >= (1, 26)


def _view(inventory: Inventory) -> dict[str, Any]:
    body = inventory._asdict()
    del body["modified_at"]
    return body


def _answer(req: Request, resp: Response, provider: Provider, records: Iterable[tuple[str, Inventory]]) -> None:
    known = dict(records)
    say_modified(req, resp, (inventory.modified_at for inventory in known.values()))
    resp.media = {"resource_provider_generation": provider.generation,
                  "inventories": {name: _view(inventory) for name, inventory in known.items()}}


class InventoriesResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response, uuid: str) -> None:
        accept_json(req)
        authorize(self._placement, req.ctx, _RULE + "list")
        provider, known = await inventories.list_inventories(self._placement, uuid)
        _answer(req, resp, provider, known.items())

    async def on_put(self, req: Request, resp: Response, uuid: str) -> None:
        authorize(self._placement, req.ctx, _RULE + "update")
        body: InventorySet = await read_json(req, InventorySet)
        wanted = body.records()
        inventories.check_capacity(uuid, wanted, reserved_can_be_total=reserved_can_be_total(req.microversion))
        provider = await inventories.set_inventories(self._placement, uuid, body.resource_provider_generation, wanted)
        _answer(req, resp, provider, wanted.items())

    async def on_post(self, req: Request, resp: Response, uuid: str) -> None:
        authorize(self._placement, req.ctx, _RULE + "create")
        body: NewInventory = await read_json(req, NewInventory)
        record = body.record()
        inventories.check_capacity(uuid, {body.resource_class: record}, verb="create",
                                   reserved_can_be_total=reserved_can_be_total(req.microversion))
        provider = await inventories.add_inventory(self._placement, uuid, body.resource_class, record)
        resp.status = 201
        resp.set_header("Location", f"{req.base_url}/resource_providers/{uuid}/inventories/{body.resource_class}")
        say_modified(req, resp)
        resp.media = {**_view(record), "resource_provider_generation": provider.generation}

    async def on_delete(self, req: Request, resp: Response, uuid: str) -> None:
        require_method(req, (1, 5))
        authorize(self._placement, req.ctx, _RULE + "delete")
        await inventories.set_inventories(self._placement, uuid, None, {})
        resp.status = 204


class InventoryResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response, uuid: str, resource_class: str) -> None:
        accept_json(req)
        authorize(self._placement, req.ctx, _RULE + "show")
        provider, record = await inventories.get_inventory(self._placement, uuid, resource_class)
        say_modified(req, resp, [record.modified_at])
        resp.media = {**_view(record), "resource_provider_generation": provider.generation}

    async def on_put(self, req: Request, resp: Response, uuid: str, resource_class: str) -> None:
        authorize(self._placement, req.ctx, _RULE + "update")
        body: ChangedInventory = await read_json(req, ChangedInventory)
        record = body.record()
        inventories.check_capacity(uuid, {resource_class: record},
                                   reserved_can_be_total=reserved_can_be_total(req.microversion))
        provider = await inventories.update_inventory(self._placement, uuid, resource_class,
                                                      body.resource_provider_generation, record)
        say_modified(req, resp)
        resp.media = {**_view(record), "resource_provider_generation": provider.generation}

    async def on_delete(self, req: Request, resp: Response, uuid: str, resource_class: str) -> None:
        authorize(self._placement, req.ctx, _RULE + "delete")
        await inventories.delete_inventory(self._placement, uuid, resource_class)
        resp.status = 204
