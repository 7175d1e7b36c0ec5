"""/v3/users/{id}/application_credentials and /v3/users/{id}/access_rules"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http import json
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import application_credentials as domain
from cloudseed.keystone.api.resource import Resource, link, read, set_list
from cloudseed.keystone.application_credentials import RoleRef, RuleRef, Shown
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Invalid
from cloudseed.keystone.lists import parse_filters


class Role(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class Rule(msgspec.Struct):
    id: str | None = None
    service: str | None = None
    path: str | None = None
    method: str | None = None


class Create(msgspec.Struct):
    name: str
    secret: str | None = None
    description: str | None = None
    expires_at: str | None = None
    roles: list[Role] | None = None
    unrestricted: bool | None = None
    access_rules: list[Rule] | None = None


def credential_view(req: Request, shown: Shown) -> dict[str, Any]:
    row = shown.row
    view = {"id": row.id, "name": row.name, "description": row.description, "user_id": row.user_id,
            "project_id": row.project_id, "system": None,
            "expires_at": row.expires_at.strftime("%Y-%m-%dT%H:%M:%S.%f") if row.expires_at is not None else None,
            "unrestricted": row.unrestricted,
            "roles": [{"id": role.id, "name": role.name, "domain_id": role.domain_id,
                       "description": role.description, "options": role.options} for role in shown.roles],
            "links": link(req, f"users/{row.user_id}/application_credentials/{row.id}")}
    if row.restricted_paths:
        view["access_rules"] = [{"id": rule.id, "service": rule.service, "path": rule.path, "method": rule.method}
                                for rule in shown.rules]
    return view


class ApplicationCredentialsResource(Resource):
    async def on_get(self, req: Request, resp: Response, user_id: str) -> None:
        filters = parse_filters(req, ("name",))
        found = await domain.list_credentials(self.ks, req.ctx, user_id, filters)
        set_list(req, resp, "application_credentials", [credential_view(req, item) for item in found], filters)

    async def on_post(self, req: Request, resp: Response, user_id: str) -> None:
        body: Create = json.convert(await read(req, "application_credential"), Create)
        for role in body.roles or ():
            if role.id is None and role.name is None:
                raise Invalid("Invalid input for field/attribute roles. Each role needs an id or a name.")
        shown, secret = await domain.create_credential(
            self.ks, req.ctx, user_id, name=body.name, secret=body.secret, description=body.description,
            expires_at=body.expires_at, unrestricted=bool(body.unrestricted),
            roles=[RoleRef(role.id, role.name) for role in body.roles] if body.roles else None,
            rules=None if body.access_rules is None else [
                RuleRef(rule.id, rule.service, rule.path, rule.method) for rule in body.access_rules])
        resp.status = 201
        resp.media = {"application_credential": {**credential_view(req, shown), "secret": secret}}


class ApplicationCredentialResource(Resource):
    async def on_get(self, req: Request, resp: Response, user_id: str, credential_id: str) -> None:
        shown = await domain.get_credential(self.ks, req.ctx, user_id, credential_id)
        resp.media = {"application_credential": credential_view(req, shown)}

    async def on_delete(self, req: Request, resp: Response, user_id: str, credential_id: str) -> None:
        await domain.delete_credential(self.ks, req.ctx, user_id, credential_id)
        resp.status = 204


def rule_view(req: Request, row: Record) -> dict[str, Any]:
    return {"id": row.id, "service": row.service, "path": row.path, "method": row.method,
            "links": link(req, f"users/{row.user_id}/access_rules/{row.id}")}


class AccessRulesResource(Resource):
    async def on_get(self, req: Request, resp: Response, user_id: str) -> None:
        filters = parse_filters(req, ("service", "path", "method"))
        rows = await domain.list_rules(self.ks, req.ctx, user_id, filters)
        set_list(req, resp, "access_rules", [rule_view(req, row) for row in rows], filters)


class AccessRuleResource(Resource):
    async def on_get(self, req: Request, resp: Response, user_id: str, rule_id: str) -> None:
        resp.media = {"access_rule": rule_view(req, await domain.get_rule(self.ks, req.ctx, user_id, rule_id))}

    async def on_delete(self, req: Request, resp: Response, user_id: str, rule_id: str) -> None:
        await domain.delete_rule(self.ks, req.ctx, user_id, rule_id)
        resp.status = 204
