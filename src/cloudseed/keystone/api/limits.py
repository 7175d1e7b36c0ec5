"""/v3/registered_limits and /v3/limits"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import limits
from cloudseed.keystone.api.resource import Resource, changes, link, set_list
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Invalid
from cloudseed.keystone.lists import parse_filters


class CreateRegistered(msgspec.Struct, forbid_unknown_fields=True):
    service_id: str
    resource_name: str
    default_limit: int
    region_id: str | None = None
    description: str | None = None


class UpdateRegistered(msgspec.Struct, forbid_unknown_fields=True):
    service_id: str | msgspec.UnsetType = msgspec.UNSET
    resource_name: str | msgspec.UnsetType = msgspec.UNSET
    default_limit: int | msgspec.UnsetType = msgspec.UNSET
    region_id: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET


class CreateLimit(msgspec.Struct, forbid_unknown_fields=True):
    service_id: str
    resource_name: str
    resource_limit: int
    project_id: str | None = None
    domain_id: str | None = None
    region_id: str | None = None
    description: str | None = None


class UpdateLimit(msgspec.Struct, forbid_unknown_fields=True):
    resource_limit: int | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET


class _CreateRegistered(msgspec.Struct):
    registered_limits: list[CreateRegistered]


class _UpdateRegistered(msgspec.Struct):
    registered_limit: UpdateRegistered


class _CreateLimits(msgspec.Struct):
    limits: list[CreateLimit]


class _UpdateLimit(msgspec.Struct):
    limit: UpdateLimit


def registered_view(req: Request, row: Record) -> dict[str, Any]:
    return {"id": row.id, "service_id": row.service_id, "region_id": row.region_id,
            "resource_name": row.resource_name, "default_limit": row.default_limit, "description": row.description,
            "links": link(req, f"registered_limits/{row.id}")}


def limit_view(req: Request, row: Record) -> dict[str, Any]:
    return {"id": row.id, "project_id": row.project_id, "domain_id": row.domain_id, "service_id": row.service_id,
            "region_id": row.region_id, "resource_name": row.resource_name, "resource_limit": row.resource_limit,
            "description": row.description, "links": link(req, f"limits/{row.id}")}


class RegisteredLimitsResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("service_id", "region_id", "resource_name"))
        rows = await limits.list_registered(self.ks, req.ctx, filters)
        set_list(req, resp, "registered_limits", [registered_view(req, row) for row in rows], filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        body: _CreateRegistered = await req.json(_CreateRegistered)
        if not body.registered_limits:
            raise Invalid("Invalid input for field/attribute registered_limits. It must name at least one.")
        wanted = [msgspec.structs.asdict(item) for item in body.registered_limits]
        rows = await limits.create_registered(self.ks, req.ctx, wanted)
        set_list(req, resp, "registered_limits", [registered_view(req, row) for row in rows])
        resp.status = 201


class RegisteredLimitResource(Resource):
    async def on_get(self, req: Request, resp: Response, limit_id: str) -> None:
        row = await limits.get_registered(self.ks, req.ctx, limit_id)
        resp.media = {"registered_limit": registered_view(req, row)}

    async def on_patch(self, req: Request, resp: Response, limit_id: str) -> None:
        body: _UpdateRegistered = await req.json(_UpdateRegistered)
        row = await limits.update_registered(self.ks, req.ctx, limit_id, changes(body.registered_limit))
        resp.media = {"registered_limit": registered_view(req, row)}

    async def on_delete(self, req: Request, resp: Response, limit_id: str) -> None:
        await limits.delete_registered(self.ks, req.ctx, limit_id)
        resp.status = 204


class LimitsResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("service_id", "region_id", "resource_name", "project_id", "domain_id"))
        rows = await limits.list_limits(self.ks, req.ctx, filters)
        set_list(req, resp, "limits", [limit_view(req, row) for row in rows], filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        body: _CreateLimits = await req.json(_CreateLimits)
        if not body.limits:
            raise Invalid("Invalid input for field/attribute limits. It must name at least one.")
        rows = await limits.create_limits(self.ks, req.ctx, [msgspec.structs.asdict(item) for item in body.limits])
        set_list(req, resp, "limits", [limit_view(req, row) for row in rows])
        resp.status = 201


class LimitModelResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        self.ks.enforce(req.ctx, "get_limit_model")
        resp.media = {"model": limits.MODEL}


class LimitResource(Resource):
    async def on_get(self, req: Request, resp: Response, limit_id: str) -> None:
        resp.media = {"limit": limit_view(req, await limits.get_limit(self.ks, req.ctx, limit_id))}

    async def on_patch(self, req: Request, resp: Response, limit_id: str) -> None:
        body: _UpdateLimit = await req.json(_UpdateLimit)
        row = await limits.update_limit(self.ks, req.ctx, limit_id, changes(body.limit))
        resp.media = {"limit": limit_view(req, row)}

    async def on_delete(self, req: Request, resp: Response, limit_id: str) -> None:
        await limits.delete_limit(self.ks, req.ctx, limit_id)
        resp.status = 204
