"""/traits, /traits/{name} and /resource_providers/{uuid}/traits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request
from cloudseed.placement import traits
from cloudseed.placement.api.wire import accept_json, authorize, query_of, read_json, say_modified
from cloudseed.placement.providers import Provider

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

_SINCE = (1, 6)


class ProviderTraits(msgspec.Struct, forbid_unknown_fields=True):
    resource_provider_generation: int
    traits: list[Annotated[str, msgspec.Meta(min_length=1, max_length=255)]]


class TraitsResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, _SINCE)
        accept_json(req)
        authorize(self._placement, req.ctx, "placement:traits:list")
        query = query_of(req).only(["name", "associated"])
        names: list[str] | None = None
        prefix = associated = None
        text = query.last("name")
        if text is not None:
            operator, colon, value = text.partition(":")
            if not colon:
                raise Invalid("Badly formatted name parameter. Expected name query string parameter in form: "
                              f'?name=[in|startswith]:[name1,name2|prefix]. Got: "{text}"')
            if operator == "in":
                names = value.split(",")
            elif operator == "startswith":
                prefix = value
        flag = query.last("associated")
        if flag is not None:
            if flag.lower() not in ("true", "false"):
                raise Invalid('The query parameter "associated" only accepts "true" or "false"')
            associated = flag.lower() == "true"
        found = await traits.list_traits(self._placement, names, prefix, associated)
        say_modified(req, resp, (since for _, since in found))
        resp.media = {"traits": [name for name, _ in found]}


class TraitResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        require(req.microversion, _SINCE)
        authorize(self._placement, req.ctx, "placement:traits:show")
        since = await traits.get_trait(self._placement, name)
        say_modified(req, resp, [since])
        resp.status = 204

    async def on_put(self, req: Request, resp: Response, name: str) -> None:
        require(req.microversion, _SINCE)
        authorize(self._placement, req.ctx, "placement:traits:update")
        fresh, since = await traits.ensure_trait(self._placement, name)
        say_modified(req, resp, [since])
        resp.set_header("Location", f"{req.base_url}/traits/{name}")
        resp.status = 201 if fresh else 204

    async def on_delete(self, req: Request, resp: Response, name: str) -> None:
        require(req.microversion, _SINCE)
        authorize(self._placement, req.ctx, "placement:traits:delete")
        await traits.delete_trait(self._placement, name)
        resp.status = 204


class ProviderTraitsResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    @staticmethod
    def _answer(req: Request, resp: Response, provider: Provider, found: traits.Named) -> None:
        say_modified(req, resp, (since for _, since in found))
        body: dict[str, Any] = {"traits": [name for name, _ in found],
                                "resource_provider_generation": provider.generation}
        resp.media = body

    async def on_get(self, req: Request, resp: Response, uuid: str) -> None:
        require(req.microversion, _SINCE)
        accept_json(req)
        authorize(self._placement, req.ctx, "placement:resource_providers:traits:list")
        self._answer(req, resp, *await traits.list_provider_traits(self._placement, uuid))

    async def on_put(self, req: Request, resp: Response, uuid: str) -> None:
        require(req.microversion, _SINCE)
        authorize(self._placement, req.ctx, "placement:resource_providers:traits:update")
        body: ProviderTraits = await read_json(req, ProviderTraits)
        self._answer(req, resp, *await traits.set_provider_traits(
            self._placement, uuid, body.resource_provider_generation, body.traits))

    async def on_delete(self, req: Request, resp: Response, uuid: str) -> None:
        require(req.microversion, _SINCE)
        authorize(self._placement, req.ctx, "placement:resource_providers:traits:delete")
        await traits.set_provider_traits(self._placement, uuid, None, [])
        resp.status = 204
