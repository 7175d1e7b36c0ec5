"""POST /reshaper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Version, require
from cloudseed.kernel.http.request import Request
from cloudseed.placement import reshaper
from cloudseed.placement.api.claims import claim_of, many_bodies
from cloudseed.placement.api.inventories import InventorySet, reserved_can_be_total
from cloudseed.placement.api.wire import Uuid36, authorize, read_json
from cloudseed.placement.inventories import check_capacity

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement


def _body(version: Version) -> Any:
    return msgspec.defstruct("Reshape", [("inventories", dict[Uuid36, InventorySet]),
                                         ("allocations", many_bodies(version))], forbid_unknown_fields=True)


_BODIES = {version: _body(version) for version in ((1, 28), (1, 34), (1, 38))}


class ReshaperResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, (1, 30))
        authorize(self._placement, req.ctx, "placement:reshaper:reshape")
        body: Any = await read_json(req, _BODIES[max(v for v in _BODIES if v <= req.microversion)])
        if not body.inventories:
            raise Invalid("JSON does not validate: {} does not have enough properties (inventories)")
        wanted = {}
        for uuid, inventory_set in body.inventories.items():
            records = inventory_set.records()
            check_capacity(uuid, records, reserved_can_be_total=reserved_can_be_total(req.microversion))
            wanted[uuid.lower()] = (inventory_set.resource_provider_generation, records)
        claims = [claim_of(consumer.lower(), entry) for consumer, entry in body.allocations.items()]
        await reshaper.reshape(self._placement, wanted, claims)
        resp.status = 204
