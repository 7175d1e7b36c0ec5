"""Old ways to write a URL: `/v2` for `/v2.1`, and the caller's project between version and resource.

Before microversion 2.18 every URL was `/v2.1/{project_id}/servers`; clients with an old catalogue entry still
write it so.  The project in it never decides anything: the token does.
"""

from __future__ import annotations

import re
from typing import Any

from cloudseed.kernel.http.edge import App, Receive, Scope, Send

_OLD = re.compile(r"^/v2(?:\.1)?(?:/(?:[0-9a-f]{32}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|AUTH_[0-9a-f]{32}))?"
                  r"(/.+)$")


class WithoutProject:
    """An ASGI app that takes the project and the old version's name out of the path."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        match = _OLD.match(scope["path"])
        if match is not None:
            scope = {**scope, "path": "/v2.1" + match[1]}
        return await self.app(scope, receive, send)
