"""/resource_providers and /resource_providers/{uuid}."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Adapter, Adapters, Version
from cloudseed.kernel.http.request import Request
from cloudseed.placement import provider_filters, providers
from cloudseed.placement.api import query
from cloudseed.placement.api.wire import (
    Query,
    accept_json,
    authorize,
    normal_uuid,
    prefix_of,
    query_of,
    read_json,
    require_uuid,
    say_modified,
)
from cloudseed.placement.provider_filters import ProviderFilter

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

Name = Annotated[str, msgspec.Meta(max_length=200)]
_PARAMETERS: Sequence[tuple[str, Version]] = (
    ("name", (1, 0)), ("uuid", (1, 0)), ("member_of", (1, 3)), ("resources", (1, 4)), ("in_tree", (1, 14)),
    ("required", (1, 18)))


class NewProvider(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    uuid: str | msgspec.UnsetType = msgspec.UNSET
    parent_provider_uuid: str | msgspec.UnsetType | None = msgspec.UNSET


class ChangedProvider(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    parent_provider_uuid: str | msgspec.UnsetType | None = msgspec.UNSET


def _without_links(*gone: str) -> Any:
    def lower(body: dict[str, Any]) -> None:
        body["links"] = [link for link in body["links"] if link["rel"] not in gone]

    return lower


def _without_tree(body: dict[str, Any]) -> None:
    del body["parent_provider_uuid"], body["root_provider_uuid"]


_SHAPES = Adapters(Adapter((1, 1), response=_without_links("aggregates")),
                   Adapter((1, 6), response=_without_links("traits")),
                   Adapter((1, 11), response=_without_links("allocations")),
                   Adapter((1, 14), response=_without_tree))
_RELATED = ("inventories", "usages", "aggregates", "traits", "allocations")


def _view(prefix: str, version: Version, uuid: str, name: str, generation: int, parent: str | None,
          root: str) -> dict[str, Any]:
    url = f"{prefix}/resource_providers/{uuid}"
    body = {"uuid": uuid, "name": name, "generation": generation, "parent_provider_uuid": parent,
            "root_provider_uuid": root,
            "links": [{"rel": "self", "href": url}, *({"rel": rel, "href": f"{url}/{rel}"} for rel in _RELATED)]}
    if version < (1, 14):
        _SHAPES.lower(version, body)
    return body


def _show(req: Request, provider: providers.Provider) -> dict[str, Any]:
    return _view(prefix_of(req), req.microversion, provider.uuid, provider.name, provider.generation,
                 provider.parent_uuid, provider.root_uuid)


def _parent(req: Request, given: str | msgspec.UnsetType | None) -> str | None:
    if given is msgspec.UNSET:
        return None
    if req.microversion < (1, 14):
        raise Invalid("JSON does not validate: Additional properties are not allowed "
                      "('parent_provider_uuid' was unexpected)")
    return require_uuid(given, "parent_provider_uuid") if given is not None else None


def _filter(found: Query, version: Version) -> ProviderFilter:
    found.only([name for name, since in _PARAMETERS if version >= since])
    uuid, tree, resources = found.last("uuid"), found.last("in_tree"), found.last("resources")
    for name, value in (("uuid", uuid), ("in_tree", tree)):
        if value is not None and normal_uuid(value) is None:
            raise Invalid(f"Invalid query string parameters: {value[:100]!r} is not a 'uuid' ({name})")
    aggregates = query.aggregates(found, "member_of", version)
    traits = query.traits(found, "required", version)
    return ProviderFilter(
        name=found.last("name"), uuid=normal_uuid(uuid) if uuid else None, in_tree=normal_uuid(tree) if tree else None,
        resources=query.resources(resources) if resources is not None else {},
        required=traits.required, forbidden=traits.forbidden,
        member_of=aggregates.required, not_member_of=aggregates.forbidden)


class ResourceProvidersResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response) -> None:
        accept_json(req)
        authorize(self._placement, req.ctx, "placement:resource_providers:list")
        wanted = _filter(query_of(req), req.microversion)
        found = await provider_filters.list_providers(self._placement, wanted)
        prefix, version = prefix_of(req), req.microversion
        say_modified(req, resp, (entry.modified_at for entry in found))
        resp.media = {"resource_providers": [
            _view(prefix, version, entry.uuid, entry.name, entry.generation, entry.parent_uuid, entry.root_uuid)
            for entry in found]}

    async def on_post(self, req: Request, resp: Response) -> None:
        authorize(self._placement, req.ctx, "placement:resource_providers:create")
        body: NewProvider = await read_json(req, NewProvider)
        uuid = require_uuid(body.uuid, "uuid") if body.uuid is not msgspec.UNSET else None
        provider = await providers.create_provider(self._placement, body.name, uuid,
                                                   _parent(req, body.parent_provider_uuid))
        resp.set_header("Location", f"{req.base_url}/resource_providers/{provider.uuid}")
        if req.microversion >= (1, 20):
            resp.media = _show(req, provider)
            say_modified(req, resp, [provider.modified_at])
        else:
            resp.status = 201


class ResourceProviderResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response, uuid: str) -> None:
        accept_json(req)
        authorize(self._placement, req.ctx, "placement:resource_providers:show")
        provider = await providers.show_provider(self._placement, uuid)
        say_modified(req, resp, [provider.modified_at])
        resp.media = _show(req, provider)

    async def on_put(self, req: Request, resp: Response, uuid: str) -> None:
        authorize(self._placement, req.ctx, "placement:resource_providers:update")
        body: ChangedProvider = await read_json(req, ChangedProvider)
        provider = await providers.update_provider(
            self._placement, uuid, body.name, move=body.parent_provider_uuid is not msgspec.UNSET,
            parent_uuid=_parent(req, body.parent_provider_uuid), may_reparent=req.microversion >= (1, 37))
        say_modified(req, resp, [provider.modified_at])
        resp.media = _show(req, provider)

    async def on_delete(self, req: Request, resp: Response, uuid: str) -> None:
        authorize(self._placement, req.ctx, "placement:resource_providers:delete")
        await providers.delete_provider(self._placement, uuid)
        resp.status = 204
