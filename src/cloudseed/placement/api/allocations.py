"""/allocations, /allocations/{consumer_uuid} and /resource_providers/{uuid}/allocations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Adapter, Adapters, require
from cloudseed.kernel.http.request import Request
from cloudseed.placement import allocations
from cloudseed.placement.api.claims import Body, claim_of, many_bodies, one_body
from cloudseed.placement.api.wire import accept_json, authorize, normal_uuid, read_json, say_modified
from cloudseed.placement.usages import UNKNOWN

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement


def _without(*fields: str) -> Any:
    def lower(body: dict[str, Any]) -> None:
        for field in fields:
            body.pop(field, None)

    return lower


def _without_consumer_generations(body: dict[str, Any]) -> None:
    for entry in body["allocations"].values():
        del entry["consumer_generation"]


_OF_CONSUMER = Adapters(Adapter((1, 12), response=_without("project_id", "user_id")),
                        Adapter((1, 28), response=_without("consumer_generation")),
                        Adapter((1, 38), response=_without("consumer_type")))
_OF_PROVIDER = Adapters(Adapter((1, 28), response=_without_consumer_generations))


class AllocationsResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, (1, 13))
        authorize(self._placement, req.ctx, "placement:allocations:manage")
        bodies: dict[str, Body] = await read_json(req, many_bodies(req.microversion))
        if not bodies:
            raise Invalid("JSON does not validate: {} does not have enough properties")
        claims = [claim_of(consumer.lower(), body) for consumer, body in bodies.items()]
        await allocations.replace_allocations(self._placement, claims)
        resp.status = 204


class ConsumerAllocationsResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response, consumer_uuid: str) -> None:
        accept_json(req)
        authorize(self._placement, req.ctx, "placement:allocations:list")
        consumer, held, names = await allocations.list_for_consumer(self._placement, consumer_uuid)
        shares: dict[str, Any] = {}
        for row in held:
            share = shares.setdefault(row.provider_uuid, {"generation": row.provider_generation, "resources": {}})
            share["resources"][names.class_names[row.class_id]] = row.used
        body: dict[str, Any] = {"allocations": shares}
        if consumer is not None:
            body |= {"project_id": consumer.project_id, "user_id": consumer.user_id,
                     "consumer_generation": consumer.generation, "consumer_type": consumer.consumer_type or UNKNOWN}
        say_modified(req, resp, (row.created_at for row in held))
        resp.media = _OF_CONSUMER.lower(req.microversion, body)

    async def on_put(self, req: Request, resp: Response, consumer_uuid: str) -> None:
        authorize(self._placement, req.ctx, "placement:allocations:update")
        consumer = normal_uuid(consumer_uuid)
        if consumer is None:
            raise Invalid(f"Malformed consumer_uuid: {consumer_uuid}")
        body: Body = await read_json(req, one_body(req.microversion))
        await allocations.replace_allocations(self._placement, [claim_of(consumer, body)])
        resp.status = 204

    async def on_delete(self, req: Request, resp: Response, consumer_uuid: str) -> None:
        authorize(self._placement, req.ctx, "placement:allocations:delete")
        await allocations.delete_allocations(self._placement, consumer_uuid)
        resp.status = 204


class ProviderAllocationsResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response, uuid: str) -> None:
        accept_json(req)
        authorize(self._placement, req.ctx, "placement:resource_providers:allocations:list")
        provider, rows, names = await allocations.list_for_provider(self._placement, uuid)
        held: dict[str, Any] = {}
        for consumer, generation, class_id, used, _ in rows:
            entry = held.setdefault(consumer, {"resources": {}, "consumer_generation": generation})
            entry["resources"][names.class_names[class_id]] = used
        say_modified(req, resp, (row.created_at for row in rows))
        resp.media = _OF_PROVIDER.lower(req.microversion, {
            "allocations": held, "resource_provider_generation": provider.generation})
