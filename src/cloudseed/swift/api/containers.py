"""/v1/{account}/{container}"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.swift import containers, metadata
from cloudseed.swift.api import listings
from cloudseed.swift.api.accounts import extract_archive
from cloudseed.swift.api.router import headers_of, set_timestamp
from cloudseed.swift.conditions import http_date
from cloudseed.swift.listings import Subdir
from cloudseed.swift.store import Swift, Target


def view(entry: containers.ObjectEntry) -> dict[str, Any]:
    shown = {"name": entry.name, "hash": entry.etag, "bytes": entry.size, "content_type": entry.content_type,
             "last_modified": listings.iso(entry.created_at)}
    if entry.large:
        shown["slo_etag"] = f'"{entry.etag}"'
    return shown


class ContainerResource:
    def __init__(self, swift: Swift) -> None:
        self._swift = swift

    async def _head(self, req: Request, resp: Response, target: Target) -> Any:
        row, usage, owner = await containers.get_container(self._swift, req.ctx.identity, target,
                                                           req.get_header("Referer"))
        for name, value in metadata.visible(row.metadata, owner).items():
            resp.set_header(metadata.wire(name), metadata.wire(value))
        if owner:
            for kind, acl in (("Read", row.read_acl), ("Write", row.write_acl)):
                if acl:
                    resp.set_header(f"X-Container-{kind}", metadata.wire(acl))
        resp.set_header("X-Container-Object-Count", str(usage.objects))
        resp.set_header("X-Container-Bytes-Used", str(usage.bytes))
        resp.set_header("X-Storage-Policy", "Policy-0")
        resp.set_header("Accept-Ranges", "bytes")
        resp.set_header("Last-Modified", http_date(row.changed_at))
        set_timestamp(resp, row.created_at)
        return row

    async def on_head(self, req: Request, resp: Response, target: Target) -> None:
        await self._head(req, resp, target)
        resp.status = 204
        resp.content_type = "text/plain; charset=utf-8"

    async def on_get(self, req: Request, resp: Response, target: Target) -> None:
        query = listings.read_query(req)
        row = await self._head(req, resp, target)
        page = await containers.list_objects(self._swift, row.id, query)
        if "path" in req.params:
            page = [entry for entry in page if not isinstance(entry, Subdir)]
        listings.render(resp, listings.wanted_format(req), page, "container", target.container, "object", view)

    async def on_put(self, req: Request, resp: Response, target: Target) -> None:
        if "extract-archive" in req.params:
            await extract_archive(self._swift, req, resp, target)
            return
        created = await containers.put_container(self._swift, req.ctx.identity, target, headers_of(req))
        resp.status = 201 if created else 202
        resp.content_type = "text/html; charset=UTF-8"

    async def on_post(self, req: Request, resp: Response, target: Target) -> None:
        await containers.update_container(self._swift, req.ctx.identity, target, headers_of(req))
        resp.status = 204
        resp.content_type = "text/html; charset=UTF-8"

    async def on_delete(self, req: Request, resp: Response, target: Target) -> None:
        await containers.delete_container(self._swift, req.ctx.identity, target)
        resp.status = 204
        resp.content_type = "text/html; charset=UTF-8"
