"""Logging in and out, and choosing the project.

A password is asked of keystone once and kept nowhere; whoever guesses meets keystone's own rules.  The token that
stays is scoped to one project.
"""

from __future__ import annotations

import datetime
import secrets
from typing import TYPE_CHECKING, Any

from cloudseed.dashboard.html import Html, el
from cloudseed.dashboard.layout import PREFIX, button, document, table
from cloudseed.dashboard.sessions import CSRF_FIELD, BadForm, Session
from cloudseed.dashboard.visit import Resource, Visit, read_form, send_page
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError, Forbidden, NotFound, Unauthenticated
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request

if TYPE_CHECKING:
    from cloudseed.dashboard.service import Dashboard

_NONCE = "csrftoken"


class NoProject(Forbidden):
    template = "This user has a role in no project: an admin must give one first."


class Login:
    """/dashboard/auth/login"""

    public = True

    def __init__(self, dashboard: Dashboard) -> None:
        self._dashboard = dashboard

    async def on_get(self, req: Request, resp: Response) -> None:
        self._show(req, resp)

    def _show(self, req: Request, resp: Response, form: dict[str, str] | None = None, problem: str = "") -> None:
        nonce = _cookie(req, _NONCE)
        if len(nonce) != 32:
            nonce = secrets.token_hex(16)
            set_cookie(req, resp, _NONCE, nonce)
        send_page(resp, _page(self._dashboard, self._dashboard.seal.login_form(nonce), form or {}, problem))

    async def on_post(self, req: Request, resp: Response) -> None:
        form = await read_form(req)
        try:
            self._dashboard.seal.check_login(_cookie(req, _NONCE), form.get(CSRF_FIELD, ""))
            session = await log_in(self._dashboard, req.ctx, form)
        except (Unauthenticated, NotFound):
            resp.status = 401
            self._show(req, resp, form, "The user name or the password is wrong, or the account is locked.")
        except (BadForm, NoProject) as exc:
            resp.status = exc.status
            self._show(req, resp, form, exc.message)
        else:
            set_cookie(req, resp, self._dashboard.cookie, self._dashboard.seal.close(session))
            resp.status = 303
            resp.set_header("Location", f"{PREFIX}/")


def _page(dashboard: Dashboard, nonce: str, form: dict[str, str], problem: str) -> Html:
    def line(label: str, name: str, **attributes: Any) -> Html:
        return el("label", el("span", label),
                  el("input", name=name, id=f"id_{name}", required=True, **attributes))

    return document("Log in", el(
        "main", el("img", src=f"{PREFIX}/static/icon.svg", alt="", width=48, height=48), el("h1", "Cloudseed"),
        el("p", problem, class_="problem", role="alert") if problem else None,
        el("form", el("input", type="hidden", name=CSRF_FIELD, value=nonce),
           el("input", type="hidden", name="region", value=dashboard.region),
           line("User name", "username", value=form.get("username", "")[:255], autocomplete="username",
                autofocus=True),
           line("Password", "password", type="password", autocomplete="current-password"),
           line("Domain", "domain", value=form.get("domain", "Default")[:255]),
           el("button", "Log in", type="submit"), method="post", action=f"{PREFIX}/auth/login", class_="fields"),
        class_="login"))


async def log_in(dashboard: Dashboard, ctx: Context, form: dict[str, str]) -> Session:
    """A session in one project of the user's.  Raises Unauthenticated, NoProject."""
    domain = {"name": form.get("domain") or "Default"}
    user = {"name": form.get("username", ""), "domain": domain, "password": form.get("password", "")}
    identity = {"methods": ["password"], "password": {"user": user}}
    token, body = await _token(dashboard, ctx, {"identity": identity, "scope": "unscoped"})
    if "project" in body:
        return Session(token, _ends(body))
    projects = await _projects(dashboard, ctx, token)
    if not projects:
        raise NoProject()
    return await enter(dashboard, ctx, token, projects[0]["id"])


async def enter(dashboard: Dashboard, ctx: Context, token: str, project_id: str) -> Session:
    """A session in that project, for who has `token`."""
    token, body = await _token(dashboard, ctx, {
        "identity": {"methods": ["token"], "token": {"id": token}}, "scope": {"project": {"id": project_id}}})
    return Session(token, _ends(body))


async def _token(dashboard: Dashboard, ctx: Context, auth: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    try:
        # an empty token: there is none yet, and keystone asks for none here
        answer = await dashboard.session.request(ctx, "identity", "POST", "/v3/auth/tokens", json={"auth": auth},
                                                 token="")
    except CloudseedError as exc:
        if exc.status in (400, 401, 403, 404):
            raise Unauthenticated(exc.message) from exc
        raise
    return answer.headers["x-subject-token"], answer.json()["token"]


async def _projects(dashboard: Dashboard, ctx: Context, token: str) -> list[dict[str, Any]]:
    answer = await dashboard.session.request(ctx, "identity", "GET", "/v3/auth/projects", token=token)
    found = [project for project in answer.json()["projects"] if project["enabled"]]
    return sorted(found, key=lambda project: str(project["name"]))


def _ends(body: dict[str, Any]) -> float:
    return datetime.datetime.fromisoformat(body["expires_at"].replace("Z", "+00:00")).timestamp()


def _cookie(req: Request, name: str) -> str:
    values = req.get_cookie_values(name)
    return values[-1] if values else ""


def set_cookie(req: Request, resp: Response, name: str, value: str) -> None:
    """A cookie that no script and no other site's request gets; until the browser ends."""
    resp.set_cookie(name, value, path=PREFIX, http_only=True, same_site="Strict",
                    secure=req.base_url.startswith("https:"))


class Logout(Resource):
    """/dashboard/auth/logout: the token is revoked, not only forgotten"""

    async def post(self, visit: Visit, resp: Response, form: dict[str, str], **names: str) -> str:
        await visit.ask("identity", "DELETE", "/v3/auth/tokens", headers={"X-Subject-Token": visit.session.token})
        resp.unset_cookie(self.dashboard.cookie, path=PREFIX)
        return f"{PREFIX}/auth/login"


class Projects(Resource):
    """/dashboard/projects: the projects of the user's, to change between them"""

    async def get(self, visit: Visit, resp: Response, **names: str) -> None:
        projects = await _projects(self.dashboard, visit.req.ctx, visit.session.token)
        visit.page(resp, "Projects", table(
            ("Name", "Description", ""),
            [(project["name"], project["description"],
              "here" if project["id"] == visit.project_id
              else button(visit, "/projects", "Enter", project=project["id"])) for project in projects],
            "You have a role in no project."))

    async def post(self, visit: Visit, resp: Response, form: dict[str, str], **names: str) -> str:
        session = await enter(self.dashboard, visit.req.ctx, visit.session.token, form.get("project", ""))
        set_cookie(visit.req, resp, self.dashboard.cookie, self.dashboard.seal.close(session))
        return f"{PREFIX}/"
