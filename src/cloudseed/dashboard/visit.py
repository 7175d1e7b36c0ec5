"""One request of a browser: who asks, what he may ask of the cloud, the form that he sent, the page that he gets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from cloudseed.dashboard import layout
from cloudseed.dashboard.html import Html
from cloudseed.dashboard.sessions import BadForm, Session
from cloudseed.kernel.auth import identity_from_token
from cloudseed.kernel.errors import CloudseedError, NotFound, Unauthenticated
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request

if TYPE_CHECKING:
    from cloudseed.dashboard.service import Dashboard

PREFIX = "/dashboard"
_COMPUTE = "compute 2.90"
_ID = re.compile(r"[A-Za-z0-9_.:+ @-]{1,255}\Z")


class Visit:
    """A logged-in browser's request.  `token`: keystone's description of its token."""

    def __init__(self, dashboard: Dashboard, req: Request, session: Session, token: dict[str, Any]) -> None:
        self.dashboard = dashboard
        self.req = req
        self.session = session
        self.token = token

    @property
    def project_id(self) -> str:
        project_id: str = self.token["project"]["id"]
        return project_id

    @property
    def is_admin(self) -> bool:
        return any(role["name"].lower() == "admin" for role in self.token["roles"])

    async def ask(self, service: str, method: str, path: str, json: Any = None, **options: Any) -> Any:
        """One call to a public API with the visitor's own token; the answer's JSON, None without a body."""
        answer = await self.dashboard.session.request(
            self.req.ctx, service, method, path, json=json, token=self.session.token,
            microversion=_COMPUTE if service == "compute" else None, **options)
        return answer.json() if answer.body else None

    async def find(self, service: str, path: str, key: str, **params: Any) -> list[dict[str, Any]]:
        """A list from a public API."""
        found: list[dict[str, Any]] = (await self.ask(service, "GET", path, params=params))[key]
        return found

    async def find_if_served(self, service: str, path: str, key: str) -> list[dict[str, Any]] | None:
        """As `find`; None where this cloud has no such service."""
        try:
            return await self.find(service, path, key)
        except Unauthenticated:
            raise
        except CloudseedError:
            return None

    async def form(self) -> dict[str, str]:
        """The form that was sent, known to be of this session."""
        form = await read_form(self.req)
        self.session.check(form)
        return form

    def page(self, resp: Response, title: str, *content: Any, live: bool = False) -> None:
        """Answer with a page."""
        send_page(resp, layout.page(self, title, content, live=live))


def send_page(resp: Response, page: Html) -> None:
    resp.content_type = "text/html; charset=utf-8"
    resp.text = page


async def read_form(req: Request) -> dict[str, str]:
    """A form's fields, from a page of this very address.  Raises BadForm."""
    origin = req.get_header("Origin")
    if origin and urlsplit(origin).netloc != (req.get_header("Host") or ""):
        raise BadForm()
    text = (await req.body()).decode("utf-8", "replace")
    return dict(parse_qsl(text, keep_blank_values=True))


def part(value: str) -> str:
    """An id from our own URL as a part of an API's; what could be more than one part is refused."""
    if not _ID.match(value) or value in (".", ".."):
        raise NotFound("There is no such thing.")
    return value


async def identify(dashboard: Dashboard, req: Request) -> Visit:
    """Who asks.  Raises Unauthenticated when nobody does: the answer is the login page."""
    cookies = req.get_cookie_values(dashboard.cookie)
    session = dashboard.seal.open(cookies[-1] if cookies else None)
    if session is None:
        raise Unauthenticated()
    try:
        answer = await dashboard.session.request(req.ctx, "identity", "GET", "/v3/auth/tokens", token=session.token,
                                                 headers={"X-Subject-Token": session.token})
    except NotFound:
        raise Unauthenticated() from None
    token = answer.json()["token"]
    if "project" not in token:
        raise Unauthenticated()
    req.ctx.identity = identity_from_token(token, session.token)  # whose flow this is
    return Visit(dashboard, req, session, token)


class Resource:
    """A page: `get` and `post` are called with the visit.  Handlers of falcon's for both."""

    public = True  # what it shows it asks of the APIs with the visitor's own token

    def __init__(self, dashboard: Dashboard) -> None:
        self.dashboard = dashboard

    async def on_get(self, req: Request, resp: Response, **names: str) -> None:
        await self.get(await identify(self.dashboard, req), resp, **names)

    async def on_post(self, req: Request, resp: Response, **names: str) -> None:
        visit = await identify(self.dashboard, req)
        target = await self.post(visit, resp, await visit.form(), **names)
        resp.status = 303
        resp.set_header("Location", target)

    async def get(self, visit: Visit, resp: Response, **names: str) -> None:
        raise NotFound("There is no such page.")

    async def post(self, visit: Visit, resp: Response, form: dict[str, str], **names: str) -> str:
        """Do what the form orders; where the browser goes next."""
        raise NotFound("There is nothing to order here.")
