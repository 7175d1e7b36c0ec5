"""/ (versions), /v2.0 (resources) and /v2.0/extensions"""

from __future__ import annotations

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import extensions
from cloudseed.neutron.errors import ExtensionNotFound


class Versions:
    """GET /"""

    public = True

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"versions": [{"id": "v2.0", "status": "CURRENT",
                                    "links": [{"rel": "self", "href": f"{req.base_url}/v2.0/"}]}]}


class Resources:
    """GET /v2.0"""

    public = True

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"resources": [
            {"name": name, "collection": plural, "links": [{"rel": "self", "href": f"{req.base_url}/v2.0/{plural}"}]}
            for name, plural in (("network", "networks"), ("subnet", "subnets"), ("subnetpool", "subnetpools"),
                                 ("port", "ports"))]}


class Extensions:
    """GET /v2.0/extensions"""

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"extensions": extensions.ALL}


class Extension:
    """GET /v2.0/extensions/{alias}"""

    async def on_get(self, req: Request, resp: Response, alias: str) -> None:
        found = next((e for e in extensions.ALL if e["alias"] == alias), None)
        if found is None:
            raise ExtensionNotFound(id=alias)
        resp.media = {"extension": found}
