"""/v3/domains"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import projects
from cloudseed.keystone.api.resource import Resource, changes, link, read, set_list, split
from cloudseed.keystone.directory import Record
from cloudseed.keystone.lists import parse_filters


class Create(msgspec.Struct):
    name: str
    description: str | None = None
    enabled: bool = True
    options: dict[str, Any] | None = None
    tags: list[str] = []
    explicit_domain_id: str | None = None


class Update(msgspec.Struct):
    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    options: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    tags: list[str] | msgspec.UnsetType = msgspec.UNSET


def domain_view(req: Request, row: Record, tags: list[str]) -> dict[str, Any]:
    return {**row.extra, "id": row.id, "name": row.name, "description": row.description or "", "enabled": row.enabled,
            "tags": tags, "options": row.options, "links": link(req, f"domains/{row.id}")}


class DomainsResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("name", "enabled"))
        rows = await projects.list_domains(self.ks, req.ctx, filters)
        tags = await projects.tags_of(self.ks, [row.id for row in rows])
        set_list(req, resp, "domains", [domain_view(req, row, tags.get(row.id, [])) for row in rows], filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        body, extra = split(await read(req, "domain"), Create)
        row = await projects.create_domain(
            self.ks, req.ctx, name=body.name, description=body.description, enabled=body.enabled,
            options=body.options, tags=body.tags, extra=extra, domain_id=body.explicit_domain_id)
        resp.status = 201
        resp.media = {"domain": domain_view(req, row, sorted(set(body.tags)))}


class DomainResource(Resource):
    async def on_get(self, req: Request, resp: Response, domain_id: str) -> None:
        await self._show(req, resp, await projects.get_domain(self.ks, req.ctx, domain_id))

    async def on_patch(self, req: Request, resp: Response, domain_id: str) -> None:
        body, extra = split(await read(req, "domain"), Update)
        row = await projects.update_project(self.ks, req.ctx, domain_id, changes(body), extra, noun="domain")
        await self._show(req, resp, row)

    async def on_delete(self, req: Request, resp: Response, domain_id: str) -> None:
        await projects.delete_domain(self.ks, req.ctx, domain_id)
        resp.status = 204

    async def _show(self, req: Request, resp: Response, row: Record) -> None:
        tags = await projects.tags_of(self.ks, [row.id])
        resp.media = {"domain": domain_view(req, row, tags.get(row.id, []))}
