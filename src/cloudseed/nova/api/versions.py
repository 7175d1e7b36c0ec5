"""Version documents: what a client reads before it has a token."""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import render
from cloudseed.kernel.http.request import Request
from cloudseed.nova.api import MAX


def _summary(req: Request) -> dict[str, Any]:
    return {"id": "v2.1", "status": "CURRENT", "version": render(MAX), "min_version": "2.1",
            "updated": "2013-07-23T11:33:21Z", "links": [{"rel": "self", "href": f"{req.base_url}/v2.1/"}]}


class Versions:
    """GET /"""

    public = True
    unversioned = True

    async def on_get(self, req: Request, resp: Response) -> None:
        old = {"id": "v2.0", "status": "DEPRECATED", "version": "", "min_version": "",
               "updated": "2025-07-04T12:00:00Z", "links": [{"rel": "self", "href": f"{req.base_url}/v2/"}]}
        resp.media = {"versions": [old, _summary(req)]}


class Version:
    """GET /v2.1 (and /v2, whose clients this serves as well)"""

    public = True

    async def on_get(self, req: Request, resp: Response) -> None:
        version = _summary(req)
        version["links"].append({"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"})
        version["media-types"] = [{"base": "application/json",
                                   "type": "application/vnd.openstack.compute+json;version=2.1"}]
        resp.media = {"version": version}
