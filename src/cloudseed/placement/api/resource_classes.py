"""/resource_classes and /resource_classes/{name}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.json import convert
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request
from cloudseed.placement import resource_classes
from cloudseed.placement.api.wire import accept_json, authorize, prefix_of, read_json, say_modified

if TYPE_CHECKING:
    from cloudseed.placement.service import Placement

_SINCE = (1, 2)
_RULE = "placement:resource_classes:"


class CustomClass(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern=r"^CUSTOM_[A-Z0-9_]+\Z", max_length=255)]


def _view(req: Request, name: str) -> dict[str, Any]:
    return {"name": name, "links": [{"rel": "self", "href": f"{prefix_of(req)}/resource_classes/{name}"}]}


class ResourceClassesResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, _SINCE)
        accept_json(req)
        authorize(self._placement, req.ctx, _RULE + "list")
        found = await resource_classes.list_resource_classes(self._placement)
        say_modified(req, resp, (at for _, at in found))
        resp.media = {"resource_classes": [_view(req, name) for name, _ in found]}

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, _SINCE)
        authorize(self._placement, req.ctx, _RULE + "create")
        body: CustomClass = await read_json(req, CustomClass)
        await resource_classes.create_resource_class(self._placement, body.name)
        resp.status = 201
        resp.set_header("Location", f"{req.base_url}/resource_classes/{body.name}")


class ResourceClassResource:
    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        require(req.microversion, _SINCE)
        accept_json(req)
        authorize(self._placement, req.ctx, _RULE + "show")
        at = await resource_classes.get_resource_class(self._placement, name)
        say_modified(req, resp, [at])
        resp.media = _view(req, name)

    async def on_put(self, req: Request, resp: Response, name: str) -> None:
        """From 1.7 on it makes the class in the URL; before, it renamed that class to the one in the body."""
        require(req.microversion, _SINCE)
        authorize(self._placement, req.ctx, _RULE + "update")
        if req.microversion < (1, 7):
            body: CustomClass = await read_json(req, CustomClass)
            await resource_classes.rename_resource_class(self._placement, name, body.name)
            resp.media = _view(req, body.name)
            return
        fresh = await resource_classes.ensure_resource_class(
            self._placement, convert({"name": name}, CustomClass).name)
        resp.status = 201 if fresh else 204
        resp.set_header("Location", f"{req.base_url}/resource_classes/{name}")

    async def on_delete(self, req: Request, resp: Response, name: str) -> None:
        require(req.microversion, _SINCE)
        authorize(self._placement, req.ctx, _RULE + "delete")
        await resource_classes.delete_resource_class(self._placement, name)
        resp.status = 204
