"""/v1/{account}/{container}/{object}"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote, unquote

from cloudseed.kernel import errors
from cloudseed.kernel.files import ClosingStream
from cloudseed.kernel.http import json
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.swift import bulk, conditions, large_objects, metadata, objects
from cloudseed.swift.api.accounts import extract_archive, render_report
from cloudseed.swift.api.listings import iso
from cloudseed.swift.api.ranges import Part, multipart
from cloudseed.swift.api.router import headers_of, set_timestamp
from cloudseed.swift.errors import LengthRequired, Precondition
from cloudseed.swift.large_objects import MAX_MANIFEST
from cloudseed.swift.store import Swift, Target


def segment_view(entry: dict[str, Any], raw: bool) -> dict[str, Any]:
    """A manifest's entry as `multipart-manifest=get` shows it; `raw`: as it could be put again."""
    if raw:
        shown = {"path": entry["name"], "etag": entry["hash"], "size_bytes": entry["bytes"]}
    else:
        shown = {"name": entry["name"], "hash": entry["hash"], "bytes": entry["bytes"],
                 "content_type": entry["content_type"], "last_modified": iso(entry["created_at"])}
        if entry.get("sub_slo"):
            shown["sub_slo"] = True
    return {**shown, **({"range": entry["range"]} if "range" in entry else {})}


class ObjectResource:
    def __init__(self, swift: Swift) -> None:
        self._swift = swift

    # ---- reading

    async def on_head(self, req: Request, resp: Response, target: Target) -> None:
        await self._read(req, resp, target, head=True)

    async def on_get(self, req: Request, resp: Response, target: Target) -> None:
        await self._read(req, resp, target, head=False)

    async def _read(self, req: Request, resp: Response, target: Target, *, head: bool) -> None:
        identity, headers = req.ctx.identity, headers_of(req)
        row = await objects.get_object(self._swift, identity, target, req.get_header("Referer"))
        manifest_only = req.params.get("multipart-manifest") == "get"
        etag, size, content_type = row.etag, row.size, row.content_type
        pieces: list[large_objects.Piece] | None = None
        if row.manifest is not None and manifest_only:
            raw = req.params.get("format") == "raw"
            body = json.encode([segment_view(entry, raw) for entry in row.manifest])
            resp.content_type = "application/json; charset=utf-8"
            self._describe(resp, row, row.etag)
            resp.set_header("X-Static-Large-Object", "True")
            resp.data = body
            return
        if "x-object-manifest" in row.metadata and not manifest_only:
            pieces, etag = await large_objects.dynamic_object(self._swift, identity, target, row)
            size = sum(piece.length for piece in pieces)
        shown_etag = etag
        if row.manifest is not None or pieces is not None:
            shown_etag = f'"{etag}"'
        if row.manifest is not None:
            resp.set_header("X-Static-Large-Object", "True")
        self._describe(resp, row, shown_etag)
        resp.content_type = metadata.wire(content_type)
        outcome = conditions.evaluate(headers, etag, row.created_at)
        if outcome == "failed":
            raise Precondition(headers={"Etag": shown_etag})
        if outcome == "not modified":
            resp.status = 304
            return
        ranges = None
        if not head and conditions.range_applies(headers, etag, row.created_at):
            ranges = conditions.parse_ranges(headers.get("range"), size)
        if ranges == []:
            raise errors.RangeNotSatisfiable(
                "The Range requested is not available.",
                headers={"Content-Range": f"bytes */{size}", "Etag": shown_etag, "Accept-Ranges": "bytes"})
        if head:
            resp.content_length = size
            return
        if pieces is None:
            pieces = await large_objects.object_pieces(self._swift, identity, target, row)
        self._send(resp, pieces, size, content_type, ranges)

    def _send(self, resp: Response, pieces: list[large_objects.Piece], size: int, content_type: str,
              ranges: list[tuple[int, int]] | None) -> None:
        def read(start: int, end: int) -> AsyncGenerator[bytes, None]:
            return large_objects.open_pieces(self._swift, large_objects.cut(pieces, start, end))

        if ranges is None:
            resp.content_length = size
            if size:
                resp.stream = ClosingStream(read(0, size))
        elif len(ranges) == 1:
            (start, end), = ranges
            resp.status = 206
            resp.content_length = end - start
            resp.set_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            resp.stream = ClosingStream(read(start, end))
        else:
            length, boundary, stream = multipart([Part(s, e) for s, e in ranges], size, content_type, read)
            resp.status = 206
            resp.content_length = length
            resp.content_type = f"multipart/byteranges; boundary={boundary}"
            resp.stream = ClosingStream(stream)

    def _describe(self, resp: Response, row: Any, etag: str) -> None:
        for name, value in row.metadata.items():
            resp.set_header(metadata.wire(name), metadata.wire(value))
        if row.delete_at is not None:
            resp.set_header("X-Delete-At", str(int(row.delete_at)))
        resp.set_header("Etag", etag)
        resp.set_header("Last-Modified", conditions.http_date(row.created_at))
        resp.set_header("Accept-Ranges", "bytes")
        set_timestamp(resp, row.created_at)

    # ---- writing

    async def on_put(self, req: Request, resp: Response, target: Target) -> None:
        headers, identity = headers_of(req), req.ctx.identity
        if "extract-archive" in req.params:
            await extract_archive(self._swift, req, resp, target)
            return
        source = headers.get("x-copy-from")
        if source is not None:
            path = Target(self._other_account(req, "x-copy-from-account", target),
                          *objects.parse_path(unquote(metadata.text(source)), "X-Copy-From"))
            await self._copy(req, resp, path, target)
            return
        if req.content_length is None and "chunked" not in headers.get("transfer-encoding", "").lower():
            raise LengthRequired()
        if req.params.get("multipart-manifest") == "put":
            stored = await large_objects.put_manifest(self._swift, identity, target, headers,
                                                      await req.body(MAX_MANIFEST))
            self._created(resp, stored, f'"{stored.etag}"')
            return
        stored = await objects.put_object(self._swift, identity, target, headers, req.chunks(), req.content_length)
        self._created(resp, stored, stored.etag)

    def _created(self, resp: Response, stored: objects.Stored, etag: str) -> None:
        resp.status = 201
        resp.content_type = "text/html; charset=UTF-8"
        resp.set_header("Etag", etag)
        resp.set_header("Last-Modified", conditions.http_date(stored.created_at))
        set_timestamp(resp, stored.created_at)

    async def on_copy(self, req: Request, resp: Response, target: Target) -> None:
        wanted = headers_of(req).get("destination")
        if wanted is None:
            raise objects.PathInvalid("Destination header required")
        path = Target(self._other_account(req, "destination-account", target),
                      *objects.parse_path(unquote(metadata.text(wanted)), "Destination"))
        await self._copy(req, resp, target, path)

    @staticmethod
    def _other_account(req: Request, header: str, target: Target) -> str:
        value = unquote(metadata.text(headers_of(req).get(header, "")))
        if "/" in value:
            raise objects.PathInvalid(f"{header.title()} cannot contain slashes.")
        return value or target.account

    async def _copy(self, req: Request, resp: Response, source: Target, target: Target) -> None:
        headers = {name: value for name, value in headers_of(req).items() if name != "etag"}
        if req.method == "COPY" or not req.content_length:
            headers.pop("content-length", None)
        row, stored, properties = await objects.copy_object(
            self._swift, req.ctx.identity, source, target, headers,
            manifest=req.params.get("multipart-manifest") == "get", referer=req.get_header("Referer"))
        self._created(resp, stored, stored.etag)
        for name, value in properties.metadata.items():
            resp.set_header(metadata.wire(name), metadata.wire(value))
        resp.set_header("X-Copied-From", quote(f"{source.container}/{source.name}"))
        resp.set_header("X-Copied-From-Account", quote(source.account))
        resp.set_header("X-Copied-From-Last-Modified", conditions.http_date(row.created_at))

    async def on_post(self, req: Request, resp: Response, target: Target) -> None:
        await objects.update_object(self._swift, req.ctx.identity, target, headers_of(req))
        resp.status = 202
        resp.content_type = "text/html; charset=UTF-8"

    async def on_delete(self, req: Request, resp: Response, target: Target) -> None:
        if req.params.get("multipart-manifest") == "delete":
            doomed = await large_objects.delete_manifest(self._swift, req.ctx.identity, target)
            render_report(req, resp, await bulk.delete_all(self._swift, req.ctx.identity, doomed))
            return
        await objects.delete_object(self._swift, req.ctx.identity, target)
        resp.status = 204
        resp.content_type = "text/html; charset=UTF-8"
        set_timestamp(resp, time.time())
