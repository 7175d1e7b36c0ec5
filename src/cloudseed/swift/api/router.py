"""One route for all paths: a name may hold slashes anywhere, at its end too, which a router by segments loses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from cloudseed.kernel import errors
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.swift import tempurl
from cloudseed.swift.errors import BadRequest, Precondition
from cloudseed.swift.store import Swift, Target

_LEADING_AWAY = ("x-copy-from", "x-object-manifest")


def parse_target(path: str) -> Target:
    """A path below `/v1/` as account, container and object."""
    account, _, rest = path.partition("/")
    container, _, name = rest.partition("/")
    if not account or (name and not container):
        raise errors.NotFound()
    return Target(account, container, name)


def check_text(req: Request) -> None:
    """Names must be UTF-8 without NUL.  Raises Precondition (412), as swift."""
    raw = req.scope.get("raw_path") or b""
    try:
        text = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeError:
        text = "\x00"
    if "\x00" in text or "\x00" in req.path:
        raise Precondition("Invalid UTF8 or contains NULL")


def headers_of(req: Request) -> Mapping[str, str]:
    """The request's headers, names in lower case."""
    headers: Mapping[str, str] = req.headers_lower
    return headers


def set_timestamp(resp: Response, timestamp: float) -> None:
    resp.set_header("X-Timestamp", f"{timestamp:.5f}")


def set_transaction(req: Request, resp: Response) -> None:
    """X-Trans-Id, in swift's form, from the request's id."""
    resp.set_header("X-Trans-Id", f"tx{req.ctx.request_id[4:].replace('-', '')[:21]}-{int(time.time()):010x}")


class PathRouter:
    """`/v1/{path}`: hands a request to the account's, the container's or the object's resource.

    Tokens are optional here: a container's ACL may let a stranger in (`access.py` decides).
    """

    public = True
    optional_token = True

    def __init__(self, swift: Swift, account: Any, container: Any, item: Any) -> None:
        self._swift = swift
        self._resources = (account, container, item)

    async def _dispatch(self, method: str, req: Request, resp: Response, path: str) -> None:
        check_text(req)
        target = parse_target(path)
        resource = self._resources[2 if target.name else 1 if target.container else 0]
        responder = getattr(resource, f"on_{method}", None)
        if responder is None:
            raise errors.MethodNotAllowed()
        set_transaction(req, resp)
        prefix = "/" + req.base_url.partition("://")[2].partition("/")[2]
        signed = await tempurl.authorize(self._swift, req.method, prefix, target, req.params)
        if signed is not None:
            # the signature is for this object alone: nothing may lead from it to another
            if not {"multipart-manifest", "extract-archive"}.isdisjoint(req.params) \
                    or not headers_of(req).keys().isdisjoint(_LEADING_AWAY):
                raise BadRequest("A temporary URL cannot be used with manifests, archives or copies.")
            req.ctx.identity = signed
            # by default not shown but saved, or a stranger's page would run in this site's name
            given = req.params.get("filename")
            filename = quote(str(given or target.name.rpartition("/")[2]), safe=" ()")
            inline = "inline" in req.params
            disposition = "inline" if inline else "attachment"
            resp.set_header("Content-Disposition", disposition if inline and not given
                            else f'{disposition}; filename="{filename}"')
        await responder(req, resp, target)

    async def on_get(self, req: Request, resp: Response, path: str) -> None:
        await self._dispatch("get", req, resp, path)

    async def on_head(self, req: Request, resp: Response, path: str) -> None:
        await self._dispatch("head", req, resp, path)

    async def on_put(self, req: Request, resp: Response, path: str) -> None:
        await self._dispatch("put", req, resp, path)

    async def on_post(self, req: Request, resp: Response, path: str) -> None:
        await self._dispatch("post", req, resp, path)

    async def on_delete(self, req: Request, resp: Response, path: str) -> None:
        await self._dispatch("delete", req, resp, path)

    async def on_copy(self, req: Request, resp: Response, path: str) -> None:
        await self._dispatch("copy", req, resp, path)
