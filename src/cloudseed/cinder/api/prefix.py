"""URLs with the caller's project in them, /v3/{project_id}/volumes, as every client wrote them until 3.67.

The project in a URL decides nothing; one that is not the token's is refused, as upstream does.
"""

from __future__ import annotations

import re
from typing import Any

from cloudseed.kernel.errors import Invalid, NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request

_PROJECT = re.compile(r"^/v3/([0-9a-f]{32}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})(/.*)?$")


class ProjectUrls:
    """Falcon middleware that takes the project out of the path before it is routed."""

    async def process_request(self, req: Request, resp: Response) -> None:
        path = req.scope["path"]
        if path.endswith("/") and path not in ("/", "/v3/"):
            raise NotFound()  # an empty id names nothing; without this, DELETE /volumes/ would be another request
        match = _PROJECT.match(req.path)
        if match is not None:
            req.context.project_id = match[1]  # links in the answer keep it (body.project_part)
            req.path = "/v3" + (match[2] or "/")
            if match[2] is None:
                raise NotFound()

    async def process_resource(self, req: Request, resp: Response, resource: Any, params: Any) -> None:
        named = getattr(req.context, "project_id", None)
        if named is not None and named != req.ctx.project_id and req.ctx.identity.user_id:
            raise Invalid("Malformed request url")

    async def process_response(self, req: Request, resp: Response, resource: object, succeeded: bool) -> None:
        resp.set_header("X-Compute-Request-ID", req.ctx.request_id)
