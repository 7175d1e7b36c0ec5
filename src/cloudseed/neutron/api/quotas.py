"""/v2.0/quotas"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import attributes, quotas
from cloudseed.neutron import converters as to
from cloudseed.neutron.attributes import Attribute
from cloudseed.neutron.server import Neutron

_LIMITS = {name: Attribute(to.integer(-1, 2**31 - 1)) for name in quotas.RESOURCES}


class Quotas:
    """GET /v2.0/quotas"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"quotas": await quotas.list_quotas(self._neutron, req.ctx)}


class Quota:
    """/v2.0/quotas/{project_id}; `tenant` and `project` in its place name the caller's own."""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response, project_id: str) -> None:
        if project_id in ("tenant", "project"):
            resp.media = {project_id: {f"{project_id}_id": req.ctx.project_id}}
            return
        resp.media = {"quota": await quotas.get_quota(self._neutron, req.ctx, project_id)}

    async def on_put(self, req: Request, resp: Response, project_id: str) -> None:
        body: Any = await req.json()
        wanted = body.get("quota") if isinstance(body, dict) else None
        check = to.boolean(wanted.pop("check_limit")) if isinstance(wanted, dict) and "check_limit" in wanted else False
        for ignored in ("force", "tenant_id", "project_id"):
            if isinstance(wanted, dict):
                wanted.pop(ignored, None)
        wish = attributes.parse_update("quota", _LIMITS, body)
        to.string(255)(project_id)
        resp.media = {"quota": await quotas.update_quota(self._neutron, req.ctx, project_id, wish.values, check)}

    async def on_delete(self, req: Request, resp: Response, project_id: str) -> None:
        await quotas.delete_quota(self._neutron, req.ctx, project_id)
        resp.status = 204


class QuotaView:
    """/v2.0/quotas/{project_id}/default and .../details"""

    def __init__(self, neutron: Neutron, details: bool) -> None:
        self._neutron = neutron
        self._details = details

    async def on_get(self, req: Request, resp: Response, project_id: str) -> None:
        if self._details:
            resp.media = {"quota": await quotas.get_details(self._neutron, req.ctx, project_id)}
        else:
            await quotas.get_quota(self._neutron, req.ctx, project_id)  # the same right to see
            resp.media = {"quota": quotas.defaults()}
