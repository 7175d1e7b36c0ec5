"""Which L3 agent has which router: /v2.0/agents/{id}/l3-routers and /v2.0/routers/{id}/l3-agents"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import attributes, router_bindings
from cloudseed.neutron import converters as to
from cloudseed.neutron.api.routers import ROUTERS
from cloudseed.neutron.attributes import Attribute
from cloudseed.neutron.errors import HTTPBadRequest
from cloudseed.neutron.server import Neutron


class Agents:
    """GET /v2.0/routers/{id}/l3-agents"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response, id: str) -> None:
        resp.media = {"agents": await router_bindings.agents_of(self._neutron, req.ctx, id)}


class Routers:
    """GET and POST /v2.0/agents/{id}/l3-routers"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response, id: str) -> None:
        found = await router_bindings.routers_on(self._neutron, req.ctx, id)
        resp.media = {"routers": ROUTERS.shown(self._neutron, req, found)}

    async def on_post(self, req: Request, resp: Response, id: str) -> None:
        body: Any = await req.json()
        if not isinstance(body, dict) or "router_id" not in body:
            raise HTTPBadRequest("Unable to find 'router_id' in request body")
        router_id = attributes.convert("router_id", Attribute(to.identifier()), body["router_id"])
        await router_bindings.add(self._neutron, req.ctx, id, router_id)
        resp.status = 201
        resp.text = "null"  # as upstream; clients decode it


class Router:
    """DELETE /v2.0/agents/{id}/l3-routers/{router_id}"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_delete(self, req: Request, resp: Response, id: str, router_id: str) -> None:
        await router_bindings.remove(self._neutron, req.ctx, id, router_id)
        resp.status = 204
