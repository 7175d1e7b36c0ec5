"""/servers/{id}/tags"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudseed.kernel.errors import Invalid, NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import server_tags
from cloudseed.nova.api.body import as_type, read_whole
from cloudseed.nova.api.server_bodies import check_tag, check_tags

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class ServerTags:
    """/v2.1/servers/{server_id}/tags"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        require(req.microversion, (2, 26))
        resp.media = {"tags": await server_tags.list_tags(self.nova, req.ctx, server_id)}

    async def on_put(self, req: Request, resp: Response, server_id: str) -> None:
        require(req.microversion, (2, 26))
        tags = as_type((await read_whole(req, "tags"))["tags"], list[str], "tags")
        try:
            check_tags(tags)
        except ValueError as exc:
            raise Invalid(f"{exc}.") from None
        resp.media = {"tags": await server_tags.replace_tags(self.nova, req.ctx, server_id, tags, "update_all")}

    async def on_delete(self, req: Request, resp: Response, server_id: str) -> None:
        require(req.microversion, (2, 26))
        await server_tags.replace_tags(self.nova, req.ctx, server_id, [], "delete_all")
        resp.status = 204


class ServerTag:
    """/v2.1/servers/{server_id}/tags/{tag}"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str, tag: str) -> None:
        require(req.microversion, (2, 26))
        if tag not in await server_tags.list_tags(self.nova, req.ctx, server_id, "show"):
            raise NotFound(f"Server {server_id} has no tag '{tag}'")
        resp.status = 204

    async def on_put(self, req: Request, resp: Response, server_id: str, tag: str) -> None:
        require(req.microversion, (2, 26))
        try:
            check_tag(tag)
        except ValueError as exc:
            raise Invalid(f"{exc}.") from None
        added = await server_tags.add_tag(self.nova, req.ctx, server_id, tag)
        resp.status = 201 if added else 204
        if added:
            resp.set_header("Location", f"{req.base_url}/v2.1/servers/{server_id}/tags/{tag}")

    async def on_delete(self, req: Request, resp: Response, server_id: str, tag: str) -> None:
        require(req.microversion, (2, 26))
        await server_tags.delete_tag(self.nova, req.ctx, server_id, tag)
        resp.status = 204
