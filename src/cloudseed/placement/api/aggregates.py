"""/resource_providers/{uuid}/aggregates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Adapter, Adapters, require
from cloudseed.kernel.http.request import Request
from cloudseed.placement import aggregates
from cloudseed.placement.api.wire import accept_json, authorize, read_json, require_uuid, say_modified

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement


class AggregateSet(msgspec.Struct, forbid_unknown_fields=True):
    aggregates: list[str]
    resource_provider_generation: int


def _without_generation(body: dict[str, Any]) -> None:
    del body["resource_provider_generation"]


_SHAPES = Adapters(Adapter((1, 19), response=_without_generation))


class AggregatesResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response, uuid: str) -> None:
        require(req.microversion, (1, 1))
        accept_json(req)
        authorize(self._placement, req.ctx, "placement:resource_providers:aggregates:list")
        provider, found = await aggregates.list_aggregates(self._placement, uuid)
        say_modified(req, resp)
        resp.media = _SHAPES.lower(req.microversion, {
            "aggregates": found, "resource_provider_generation": provider.generation})

    async def on_put(self, req: Request, resp: Response, uuid: str) -> None:
        require(req.microversion, (1, 1))
        authorize(self._placement, req.ctx, "placement:resource_providers:aggregates:update")
        generation: int | None = None
        if req.microversion < (1, 19):
            given: list[str] = await read_json(req, list[str])
        else:
            body: AggregateSet = await read_json(req, AggregateSet)
            given, generation = body.aggregates, body.resource_provider_generation
        if len(set(given)) != len(given):
            raise Invalid("JSON does not validate: the aggregates are not unique.")
        wanted = [require_uuid(aggregate, "aggregates") for aggregate in given]
        provider, found = await aggregates.set_aggregates(self._placement, uuid, generation, wanted)
        say_modified(req, resp)
        resp.media = _SHAPES.lower(req.microversion, {
            "aggregates": found, "resource_provider_generation": provider.generation})
