"""GET / (300) and GET /versions (200): what there is."""

from __future__ import annotations

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request

# The API's minor versions; 2.14 and 2.16 belong to features that this cloud has not (upstream leaves them out too).
CURRENT = "v2.17"
SUPPORTED = ("v2.15", "v2.13", "v2.12", "v2.11", "v2.10", "v2.9", "v2.8", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3",
             "v2.2", "v2.1", "v2.0")


class VersionsResource:
    """`status`: upstream answers 300 at the root and 200 at /versions."""

    public = True

    def __init__(self, status: int) -> None:
        self._status = status

    async def on_get(self, req: Request, resp: Response) -> None:
        links = [{"rel": "self", "href": f"{req.base_url}/v2/"}]
        resp.status = self._status
        resp.media = {"versions": [{"id": CURRENT, "status": "CURRENT", "links": links},
                                   *({"id": version, "status": "SUPPORTED", "links": links}
                                     for version in SUPPORTED)]}
