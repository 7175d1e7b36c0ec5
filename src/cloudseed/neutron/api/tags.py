"""/v2.0/<resources>/{id}/tags and .../tags/{tag}"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import converters as to
from cloudseed.neutron import tags
from cloudseed.neutron.errors import InvalidInput, TagNotFound
from cloudseed.neutron.server import Neutron


def _tag(value: Any) -> str:
    try:
        tag: str = to.string(255)(value)
        return tag
    except to.Reason as exc:
        raise InvalidInput(reason=str(exc)) from None


class Tags:
    def __init__(self, neutron: Neutron, path: str) -> None:
        self._neutron = neutron
        self._path = path

    async def on_get(self, req: Request, resp: Response, id: str) -> None:
        resp.media = {"tags": await tags.get_tags(self._neutron, req.ctx, self._path, id)}

    async def on_post(self, req: Request, resp: Response, id: str) -> None:
        resp.status = 201
        resp.media = {"tags": await tags.change_tags(self._neutron, req.ctx, self._path, id,
                                                     add=await self._body(req))}

    async def on_put(self, req: Request, resp: Response, id: str) -> None:
        resp.media = {"tags": await tags.change_tags(self._neutron, req.ctx, self._path, id,
                                                     replace=await self._body(req))}

    async def on_delete(self, req: Request, resp: Response, id: str) -> None:
        await tags.change_tags(self._neutron, req.ctx, self._path, id, replace=[])
        resp.status = 204

    async def _body(self, req: Request) -> list[str]:
        body: Any = await req.json()
        if not isinstance(body, dict) or not isinstance(body.get("tags"), list):
            raise InvalidInput(reason="Invalid tags body")
        return [_tag(tag) for tag in body["tags"]]


class Tag:
    def __init__(self, neutron: Neutron, path: str) -> None:
        self._neutron = neutron
        self._path = path

    async def on_get(self, req: Request, resp: Response, id: str, tag: str) -> None:
        if tag not in await tags.get_tags(self._neutron, req.ctx, self._path, id):
            raise TagNotFound(tag=tag)
        resp.status = 204

    async def on_put(self, req: Request, resp: Response, id: str, tag: str) -> None:
        await tags.change_tags(self._neutron, req.ctx, self._path, id, add=[_tag(tag)])
        resp.status = 201
        resp.media = None

    async def on_delete(self, req: Request, resp: Response, id: str, tag: str) -> None:
        await tags.change_tags(self._neutron, req.ctx, self._path, id, remove=tag)
        resp.status = 204
