"""GET / (300) and GET /v3: what versions of the identity API are here."""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone.api.resource import Resource


def _version(req: Request) -> dict[str, Any]:
    return {"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
            "links": [{"rel": "self", "href": f"{req.base_url}/v3/"}],
            "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}]}


class VersionsResource(Resource):
    public = True

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.status = 300
        resp.set_header("Location", f"{req.base_url}/v3/")
        resp.set_header("Vary", "X-Auth-Token")
        resp.media = {"versions": {"values": [_version(req)]}}


class VersionResource(Resource):
    public = True

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.set_header("Vary", "X-Auth-Token")
        resp.media = {"version": _version(req)}
