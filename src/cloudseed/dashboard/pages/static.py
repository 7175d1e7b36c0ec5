"""The dashboard's own style, picture and script: the files found at the start and no others."""

from __future__ import annotations

from pathlib import Path

from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


class Static:
    """/dashboard/static/{name}"""

    public = True

    def __init__(self, folder: Path) -> None:
        self._files = {path.name: (_TYPES[path.suffix], path.read_bytes()) for path in sorted(folder.iterdir())
                       if path.suffix in _TYPES}

    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        if name not in self._files:
            raise NotFound("There is no such file.")
        resp.content_type, resp.data = self._files[name]
        resp.set_header("Cache-Control", "max-age=300")
