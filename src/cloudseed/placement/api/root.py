"""GET /: the version document, for everybody."""

from __future__ import annotations

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Microversions, render
from cloudseed.kernel.http.request import Request
from cloudseed.placement.api.wire import say_modified


class RootResource:
    public = True

    def __init__(self, versions: Microversions) -> None:
        self._versions = versions

    async def on_get(self, req: Request, resp: Response) -> None:
        lowest = render(self._versions.minimum)
        say_modified(req, resp)
        resp.media = {"versions": [{
            "id": f"v{lowest}", "max_version": render(self._versions.maximum), "min_version": lowest,
            "status": "CURRENT", "links": [{"rel": "self", "href": ""}]}]}
