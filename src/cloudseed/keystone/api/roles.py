"""/v3/roles, what they imply, and /v3/role_inferences"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import roles
from cloudseed.keystone.api.resource import Resource, changes, link, read, set_list, split
from cloudseed.keystone.directory import Record
from cloudseed.keystone.lists import parse_filters


class Create(msgspec.Struct):
    name: str
    domain_id: str | None = None
    description: str | None = None
    options: dict[str, Any] | None = None


class Update(msgspec.Struct):
    name: str | msgspec.UnsetType = msgspec.UNSET
    domain_id: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    options: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


def role_view(req: Request, row: Record) -> dict[str, Any]:
    return {**row.extra, "id": row.id, "name": row.name, "domain_id": row.domain_id, "description": row.description,
            "options": row.options, "links": link(req, f"roles/{row.id}")}


def role_reference(req: Request, row: Record) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "links": link(req, f"roles/{row.id}")}


class RolesResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("name", "domain_id"))
        rows = await roles.list_roles(self.ks, req.ctx, filters)
        set_list(req, resp, "roles", [role_view(req, row) for row in rows], filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        body, extra = split(await read(req, "role"), Create)
        row = await roles.create_role(self.ks, req.ctx, name=body.name, domain_id=body.domain_id,
                                      description=body.description, options=body.options, extra=extra)
        resp.status = 201
        resp.media = {"role": role_view(req, row)}


class RoleResource(Resource):
    async def on_get(self, req: Request, resp: Response, role_id: str) -> None:
        resp.media = {"role": role_view(req, await roles.get_role(self.ks, req.ctx, role_id))}

    async def on_patch(self, req: Request, resp: Response, role_id: str) -> None:
        body, extra = split(await read(req, "role"), Update)
        row = await roles.update_role(self.ks, req.ctx, role_id, changes(body), extra)
        resp.media = {"role": role_view(req, row)}

    async def on_delete(self, req: Request, resp: Response, role_id: str) -> None:
        await roles.delete_role(self.ks, req.ctx, role_id)
        resp.status = 204


class ImpliedRolesResource(Resource):
    async def on_get(self, req: Request, resp: Response, role_id: str) -> None:
        prior, implied = await roles.implied_by(self.ks, req.ctx, role_id)
        resp.media = {"role_inference": {"prior_role": role_reference(req, prior),
                                         "implies": [role_reference(req, row) for row in implied]},
                      "links": link(req, f"roles/{role_id}/implies")}


class ImpliedRoleResource(Resource):
    def _show(self, req: Request, resp: Response, prior: Record, implied: Record) -> None:
        resp.media = {"role_inference": {"prior_role": role_reference(req, prior),
                                         "implies": role_reference(req, implied)},
                      "links": link(req, f"roles/{prior.id}/implies/{implied.id}")}

    async def on_get(self, req: Request, resp: Response, role_id: str, implied_id: str) -> None:
        self._show(req, resp, *await roles.get_implied(self.ks, req.ctx, role_id, implied_id))

    async def on_head(self, req: Request, resp: Response, role_id: str, implied_id: str) -> None:
        await roles.get_implied(self.ks, req.ctx, role_id, implied_id, "check_implied_role")
        resp.status = 204

    async def on_put(self, req: Request, resp: Response, role_id: str, implied_id: str) -> None:
        self._show(req, resp, *await roles.add_implied(self.ks, req.ctx, role_id, implied_id))
        resp.status = 201

    async def on_delete(self, req: Request, resp: Response, role_id: str, implied_id: str) -> None:
        await roles.remove_implied(self.ks, req.ctx, role_id, implied_id)
        resp.status = 204


class RoleInferencesResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        rules = await roles.inferences(self.ks, req.ctx)
        resp.media = {"role_inferences": [
            {"prior_role": role_reference(req, prior), "implies": [role_reference(req, row) for row in implied]}
            for prior, implied in rules]}
