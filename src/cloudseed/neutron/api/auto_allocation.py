"""/v2.0/auto-allocated-topology/{project_id}"""

from __future__ import annotations

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import auto_allocation
from cloudseed.neutron.errors import BadRequest


class Topology:
    """GET makes what is missing, unless `fields=dry-run` only asks whether it could; DELETE removes it"""

    def __init__(self, allocation: auto_allocation.AutoAllocation) -> None:
        self._allocation = allocation

    async def on_get(self, req: Request, resp: Response, project_id: str) -> None:
        named = req.params.get("fields", [])
        fields = [named] if isinstance(named, str) else list(named)
        if "dry-run" in fields:
            project = await self._allocation.check(req.ctx, project_id)
            resp.media = {"auto_allocated_topology": {"id": "dry-run=pass", "project_id": project,
                                                      "tenant_id": project}}
            return
        if fields:
            raise BadRequest(resource="auto_allocate", reason="Unrecognized field")
        resp.media = {"auto_allocated_topology": await self._allocation.get(req.ctx, project_id)}

    async def on_delete(self, req: Request, resp: Response, project_id: str) -> None:
        await self._allocation.delete(req.ctx, project_id)
        resp.status = 204
