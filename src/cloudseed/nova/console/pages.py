"""The consoles' pages and scripts, over HTTP.

Only files that were found at the start are served, by a look-up in a table, so no path can lead elsewhere.  Ours
lie in `static/`; noVNC and xterm.js in the state directory (cli/console_scripts.py puts them there).  No page of
ours has a script or a style inline, which the Content-Security-Policy says to the browser.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import console_tokens
from cloudseed.nova.console.proxy import check_origin

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
          ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the page's own URL holds the token
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PACKAGES = ("novnc", "xterm")


def scripts_directory(state: Path) -> Path:
    """Where a cloud with this state directory keeps the scripts that come from packages."""
    return state / "web"


def _files(folder: Path) -> dict[str, Path]:
    """The plain files below `folder` that a browser may have, by their path in URLs."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*"))
            if path.suffix in _TYPES and path.is_file() and not path.is_symlink()}


class Page:
    """/console/<name>.html and, below static, what belongs to our pages"""

    public = True

    def __init__(self, files: dict[str, Path], missing: str = "") -> None:
        self._files = files
        self._missing = missing

    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        path = self._files.get(name)
        if path is None:
            raise NotFound(self._missing or "There is no such file.")
        resp.content_type = _TYPES[path.suffix]
        for header, value in _HEADERS.items():
            resp.set_header(header, value)
        resp.set_header("Cache-Control", "no-store" if path.suffix == ".html" else "max-age=3600")
        resp.data = path.read_bytes()


class Check:
    """/console/check?token=...: what the token opens, or why it opens nothing; a page shows it to its reader"""

    public = True

    def __init__(self, nova: Nova) -> None:
        self._nova = nova

    async def on_get(self, req: Request, resp: Response) -> None:
        check_origin(req.scope, self._nova.env.edge.public_url)
        row = await console_tokens.redeem(self._nova, req.text_param("token") or "")
        resp.set_header("Cache-Control", "no-store")
        resp.media = {"server": {"id": row.server_id, "name": row.name}, "kind": row.kind}


def routes(nova: Nova) -> dict[str, Any]:
    """The consoles' URL table, without its prefix."""
    own = _files(Path(__file__).parent / "static")
    scripts = scripts_directory(nova.config.state_path)
    missing = "This cloud has no console scripts yet: `cloudseed up` fetches them from Debian's packages."
    return {
        "/{name}": Page({name: path for name, path in own.items() if path.suffix == ".html"}),
        "/static/{name}": Page({name: path for name, path in own.items() if path.suffix != ".html"}),
        "/check": Check(nova),
        **{f"/{package}/{{name:path}}": Page(_files(scripts / package), missing) for package in _PACKAGES},
    }
