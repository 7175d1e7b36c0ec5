"""Old ways to write a URL: `/v2` for `/v2.1`, and the caller's project between version and resource.

Before microversion 2.18 every URL was `/v2.1/{project_id}/servers`; clients with an old catalogue entry still
write it so.  The project in it never decides anything: the token does.
"""

from __future__ import annotations

import re

from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request

_OLD = re.compile(r"^/v2(?:\.1)?(?:/(?:AUTH_)?(?:[0-9a-f]{32}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}))?(/.+)$")


class OldUrls:
    """Falcon middleware that takes the project and the old version's name out of the path before it is routed.

    An empty id at the end of a DELETE or PUT names nothing: without the check its slash would be stripped, and
    `DELETE /servers/{id}/tags/` would mean every tag.
    """

    async def process_request(self, req: Request, resp: Response) -> None:
        if req.method in ("DELETE", "PUT") and req.scope["path"].endswith("/"):
            raise NotFound()
        match = _OLD.match(req.path)
        if match is not None:
            req.path = "/v2.1" + match[1]

    async def process_response(self, req: Request, resp: Response, resource: object, succeeded: bool) -> None:
        resp.set_header("X-Compute-Request-ID", req.ctx.request_id)
