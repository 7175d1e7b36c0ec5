"""/v1/{account}"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel import errors
from cloudseed.kernel.http import json
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.swift import access, accounts, archives, bulk, metadata
from cloudseed.swift.api import listings
from cloudseed.swift.api.router import headers_of, set_timestamp
from cloudseed.swift.store import MAX_FILE_SIZE, Swift, Target

MAX_BULK_BODY = 10_000 * 3 * 1300


def view(entry: accounts.ContainerEntry) -> dict[str, Any]:
    return {"name": entry.name, "count": entry.objects, "bytes": entry.bytes,
            "last_modified": listings.iso(entry.changed_at)}


class AccountResource:
    def __init__(self, swift: Swift) -> None:
        self._swift = swift

    async def _head(self, req: Request, resp: Response, target: Target) -> None:
        account, owner = await accounts.get_account(self._swift, req.ctx.identity, target)
        for name, value in metadata.visible(account.metadata, owner).items():
            resp.set_header(metadata.wire(name), metadata.wire(value))
        if accounts.META_QUOTA_BYTES in account.metadata:
            resp.set_header("X-Account-Quota-Bytes", account.metadata[accounts.META_QUOTA_BYTES])
        resp.set_header("X-Account-Container-Count", str(account.containers))
        resp.set_header("X-Account-Object-Count", str(account.objects))
        resp.set_header("X-Account-Bytes-Used", str(account.bytes))
        for what, number in (("Container-Count", account.containers), ("Object-Count", account.objects),
                             ("Bytes-Used", account.bytes)):
            resp.set_header(f"X-Account-Storage-Policy-Policy-0-{what}", str(number))
        resp.set_header("Accept-Ranges", "bytes")
        set_timestamp(resp, account.created_at)

    async def on_head(self, req: Request, resp: Response, target: Target) -> None:
        await self._head(req, resp, target)
        resp.status = 204
        resp.content_type = "text/plain; charset=utf-8"

    async def on_get(self, req: Request, resp: Response, target: Target) -> None:
        query = listings.read_query(req)
        await self._head(req, resp, target)
        page = await accounts.list_containers(self._swift, target, query)
        listings.render(resp, listings.wanted_format(req), page, "account", target.account, "container", view)

    async def on_post(self, req: Request, resp: Response, target: Target) -> None:
        if "bulk-delete" in req.params:
            await bulk_delete(self._swift, req, resp, target)
            return
        await accounts.update_account(self._swift, req.ctx.identity, target, headers_of(req))
        resp.status = 204
        resp.content_type = "text/html; charset=UTF-8"

    async def on_put(self, req: Request, resp: Response, target: Target) -> None:
        if "extract-archive" not in req.params:
            raise errors.MethodNotAllowed()  # accounts come to be by themselves
        await extract_archive(self._swift, req, resp, target)

    async def on_delete(self, req: Request, resp: Response, target: Target) -> None:
        if "bulk-delete" in req.params:
            await bulk_delete(self._swift, req, resp, target)
            return
        await accounts.delete_account(self._swift, req.ctx.identity, target)
        resp.status = 204
        resp.content_type = "text/html; charset=UTF-8"


async def bulk_delete(swift: Swift, req: Request, resp: Response, target: Target) -> None:
    """The body names what to delete, one quoted path a line."""
    targets = bulk.parse_names(target.account, await req.body(MAX_BULK_BODY))
    render_report(req, resp, await bulk.delete_all(swift, req.ctx.identity, targets))


async def extract_archive(swift: Swift, req: Request, resp: Response, target: Target) -> None:
    """The body is a tar file, `extract-archive` its format."""
    access.authorize(req.ctx.identity, target.account, "write")
    form = req.params["extract-archive"]
    report = await archives.extract(swift, req.ctx.identity, target, str(form), req.chunks(MAX_FILE_SIZE))
    render_report(req, resp, report)


def render_report(req: Request, resp: Response, report: dict[str, Any]) -> None:
    """Always 200: the report says what became of each name."""
    if listings.wanted_format(req) == "json":
        resp.content_type = "application/json"
        resp.data = json.encode(report)
        return
    resp.content_type = "text/plain; charset=utf-8"
    lines = [f"{name}: {value}" for name, value in report.items() if name != "Errors"]
    resp.text = "\n".join([*lines, "Errors:", *(f"{path}, {why}" for path, why in report["Errors"])]) + "\n"
