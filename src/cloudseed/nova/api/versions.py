"""Version documents: what a client reads before it has a token."""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import render
from cloudseed.kernel.http.request import Request
from cloudseed.nova.api import MAX


def _summary(req: Request) -> dict[str, Any]:
    return {"id": "v2.1", "status": "CURRENT", "version": render(MAX), "min_version": "2.1",
            "updated": "2013-07-23T11:33:21Z", "links": [{"rel": "self", "href": f"{req.base_url}/v2.1/"}]}


def _old_summary(req: Request) -> dict[str, Any]:
    return {"id": "v2.0", "status": "DEPRECATED", "version": "", "min_version": "",
            "updated": "2025-07-04T12:00:00Z", "links": [{"rel": "self", "href": f"{req.base_url}/v2/"}]}


def _whole(summary: dict[str, Any], media: str) -> dict[str, Any]:
    """A version's own document: what the list says of it, and how to speak with it."""
    links = [*summary["links"], {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}]
    kind = f"application/vnd.openstack.compute+json;version={media}"
    return {"version": {**summary, "links": links, "media-types": [{"base": "application/json", "type": kind}]}}


class Versions:
    """GET /"""

    public = True
    unversioned = True

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"versions": [_old_summary(req), _summary(req)]}


class Version:
    """GET /v2.1"""

    public = True

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = _whole(_summary(req), "2.1")


class OldVersion:
    """GET /v2: the old name, under which everything of v2.1 is served too"""

    public = True
    unversioned = True

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = _whole(_old_summary(req), "2")


class NamedVersion:
    """GET /v2.1/versions/{name}: an old way to the same documents"""

    public = True
    unversioned = True

    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        if name == "v2.0":
            resp.media = _whole(_old_summary(req), "2")
        elif name == "v2.1":
            resp.media = _whole(_summary(req), "2.1")
        else:
            raise NotFound("The resource could not be found.")
