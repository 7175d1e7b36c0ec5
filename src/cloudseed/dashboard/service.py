"""Assembles the dashboard: its pages, the cookie's seal, the way to the flows."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudseed.dashboard import errors
from cloudseed.dashboard.flow_reader import FlowReader
from cloudseed.dashboard.pages import flows, images, key_pairs, login, networks, overview, servers, static, volumes
from cloudseed.dashboard.sessions import Seal
from cloudseed.dashboard.visit import PREFIX
from cloudseed.kernel.errors import CloudseedError, Unauthenticated
from cloudseed.kernel.http.app import Response, make_app
from cloudseed.kernel.http.client import Credentials, ServiceSession
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.http.request import Request
from cloudseed.kernel.runtime import Environment, Service
from cloudseed.kernel.service_types import SERVICE_TYPES

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
                               "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass
class Dashboard:
    """What pages stand on.  `cookie`: its name, the port's own, since browsers send cookies to every port."""

    session: ServiceSession
    seal: Seal
    flows: FlowReader
    region: str
    cookie: str


class _Headers:
    """Falcon middleware: what every answer tells the browser."""

    async def process_response(self, req: Request, resp: Response, resource: Any, succeeded: bool) -> None:
        for name, value in _HEADERS.items():
            resp.set_header(name, value)
        if not isinstance(resource, static.Static):
            resp.set_header("Cache-Control", "no-store")


def build(env: Environment) -> Service:
    """The dashboard for this process."""
    # it has no user: each call carries the visitor's token, and one without would be refused
    session = ServiceSession("dashboard", Credentials("", ""), env.endpoints, env.transport, env.recorder,
                             {kind: name for kind, (_, name) in SERVICE_TYPES.items()})
    dashboard = Dashboard(
        session=session, seal=Seal(env.secrets.keys.get("dashboard") or secrets.token_hex(32)),
        flows=FlowReader(env.recorder, env.state / "flows.sqlite" if env.flow_store is not None else None),
        region=env.config.region, cookie=f"cloudseed_{env.config.port}")

    async def to_login(req: Request, resp: Response, error: CloudseedError) -> None:
        if isinstance(error, Unauthenticated) and not req.path.startswith("/auth/"):
            resp.status = 303
            resp.set_header("Location", f"{PREFIX}/auth/login")

    app: Any = make_app({
        "/": overview.Overview(dashboard),
        "/auth/login": login.Login(dashboard),
        "/auth/logout": login.Logout(dashboard),
        "/projects": login.Projects(dashboard),
        "/instances": servers.Servers(dashboard),
        "/instances/{server_id}/{action}": servers.ServerAction(dashboard),
        "/images": images.Images(dashboard),
        "/images/{image_id}/delete": images.DeleteImage(dashboard),
        "/networks": networks.Networks(dashboard),
        "/volumes": volumes.Volumes(dashboard),
        "/volumes/{volume_id}/delete": volumes.DeleteVolume(dashboard),
        "/key_pairs": key_pairs.KeyPairs(dashboard),
        "/key_pairs/{name}/delete": key_pairs.DeleteKeyPair(dashboard),
        "/flows": flows.Flows(dashboard),
        "/flows/{flow_id}": flows.Flow(dashboard),
        "/flows/{flow_id}/picture.svg": flows.Picture(dashboard),
        "/flows/{flow_id}/state": flows.State(dashboard),
        "/static/{name}": static.Static(Path(__file__).parent / "static"),
    }, fault=errors.page, validator=env.validator(session), identity_url=env.identity_url, on_error=to_login)
    app.add_middleware(_Headers())

    async def stop() -> None:
        dashboard.flows.close()

    return Service("dashboard", mounts=[Mount(PREFIX, "dashboard", app, visitor="browser")], stop=stop,
                   handle=dashboard)
