"""/servers/{id}/metadata"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import server_metadata
from cloudseed.nova.api.body import as_type, read_whole, shown
from cloudseed.nova.api.server_bodies import check_metadata

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


async def _read(req: Request, key: str = "metadata") -> dict[str, str]:
    body = await read_whole(req, key)
    values = as_type(body[key], dict[str, str], key)
    try:
        check_metadata(values)
    except ValueError as exc:
        raise Invalid(f"{exc}.") from None
    return values


class ServerMetadata:
    """/v2.1/servers/{server_id}/metadata"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        resp.media = {"metadata": await server_metadata.get_metadata(self.nova, req.ctx, server_id, "index")}

    async def on_post(self, req: Request, resp: Response, server_id: str) -> None:
        values = await _read(req)
        resp.media = {"metadata": await server_metadata.update_metadata(self.nova, req.ctx, server_id, values,
                                                                        "create")}

    async def on_put(self, req: Request, resp: Response, server_id: str) -> None:
        values = await _read(req)
        resp.media = {"metadata": await server_metadata.replace_metadata(self.nova, req.ctx, server_id, values)}


class ServerMetadataItem:
    """/v2.1/servers/{server_id}/metadata/{key}"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str, key: str) -> None:
        value = await server_metadata.get_item(self.nova, req.ctx, server_id, key)
        resp.media = {"meta": {key: value}}

    async def on_put(self, req: Request, resp: Response, server_id: str, key: str) -> None:
        values: dict[str, Any] = dict(await _read(req, "meta"))
        if list(values) != [key]:
            raise Invalid(f"Request body and URI mismatch: the body must set {shown(key)}, and nothing else.")
        await server_metadata.update_metadata(self.nova, req.ctx, server_id, values, "update")
        resp.media = {"meta": values}

    async def on_delete(self, req: Request, resp: Response, server_id: str, key: str) -> None:
        await server_metadata.delete_item(self.nova, req.ctx, server_id, key)
        resp.status = 204
