"""/v3/OS-TRUST/trusts"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import trusts
from cloudseed.keystone.api.resource import Resource, link, read, set_list, split
from cloudseed.keystone.api.roles import role_view
from cloudseed.keystone.application_credentials import RoleRef
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import NotFound
from cloudseed.keystone.lists import parse_filters
from cloudseed.keystone.meanings import iso


class Role(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class Create(msgspec.Struct):
    trustor_user_id: str
    trustee_user_id: str
    impersonation: bool
    project_id: str | None = None
    roles: list[Role] = []
    expires_at: str | None = None
    remaining_uses: int | None = None
    allow_redelegation: bool = False
    redelegation_count: int | None = None


def trust_view(req: Request, row: Record) -> dict[str, Any]:
    return {**row.extra, "id": row.id, "trustor_user_id": row.trustor_user_id, "trustee_user_id": row.trustee_user_id,
            "project_id": row.project_id, "impersonation": row.impersonation,
            "expires_at": iso(row.expires_at.timestamp()) if row.expires_at is not None else None,
            "deleted_at": None, "remaining_uses": row.remaining_uses, "redelegation_count": row.redelegation_count,
            "roles_links": {"self": f"{req.base_url}/v3/OS-TRUST/trusts/{row.id}/roles", "next": None,
                            "previous": None}, "links": link(req, f"OS-TRUST/trusts/{row.id}")}


class _WithRoles(Resource):
    async def show(self, req: Request, resp: Response, row: Record) -> None:
        shown = await trusts.roles_of(self.ks, row)
        resp.media = {"trust": {**trust_view(req, row), "roles": [role_view(req, role) for role in shown]}}


class TrustsResource(_WithRoles):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("trustor_user_id", "trustee_user_id"))
        rows = await trusts.list_trusts(self.ks, req.ctx, filters)
        set_list(req, resp, "trusts", [trust_view(req, row) for row in rows], filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        body, extra = split(await read(req, "trust"), Create)
        row = await trusts.create_trust(
            self.ks, req.ctx, trustor_user_id=body.trustor_user_id, trustee_user_id=body.trustee_user_id,
            project_id=body.project_id, impersonation=body.impersonation, expires_at=body.expires_at,
            roles=[RoleRef(role.id, role.name) for role in body.roles], remaining_uses=body.remaining_uses,
            allow_redelegation=body.allow_redelegation, redelegation_count=body.redelegation_count, extra=extra)
        await self.show(req, resp, row)
        resp.status = 201


class TrustResource(_WithRoles):
    async def on_get(self, req: Request, resp: Response, trust_id: str) -> None:
        await self.show(req, resp, await trusts.get_trust(self.ks, req.ctx, trust_id))

    async def on_delete(self, req: Request, resp: Response, trust_id: str) -> None:
        await trusts.delete_trust(self.ks, req.ctx, trust_id)
        resp.status = 204


class TrustRolesResource(Resource):
    async def on_get(self, req: Request, resp: Response, trust_id: str) -> None:
        row = await trusts.get_trust(self.ks, req.ctx, trust_id, "list_roles_for_trust")
        set_list(req, resp, "roles", [role_view(req, role) for role in await trusts.roles_of(self.ks, row)])


class TrustRoleResource(Resource):
    async def on_get(self, req: Request, resp: Response, trust_id: str, role_id: str) -> None:
        row = await trusts.get_trust(self.ks, req.ctx, trust_id, "get_role_for_trust")
        found = next((role for role in await trusts.roles_of(self.ks, row) if role.id == role_id), None)
        if found is None:
            raise NotFound("role", role_id)
        resp.media = {"role": role_view(req, found)}
