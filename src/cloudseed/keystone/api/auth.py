"""/v3/auth: tokens, and what the caller's token could be exchanged for."""

from __future__ import annotations

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import access, catalog, projects
from cloudseed.keystone.api.domains import domain_view
from cloudseed.keystone.api.projects import project_view
from cloudseed.keystone.api.resource import Resource, link, set_list
from cloudseed.keystone.authentication import AuthenticationRequest, authenticate
from cloudseed.keystone.errors import Forbidden, TokenNotFound
from cloudseed.keystone.lists import parse_filters
from cloudseed.keystone.meanings import Meaning
from cloudseed.keystone.revocations import revoke_token
from cloudseed.keystone.validation import validate


class _Body(msgspec.Struct):
    auth: AuthenticationRequest


def _subject(req: Request) -> str:
    token = req.get_header("X-Subject-Token")
    if not token:
        raise TokenNotFound("There is no token in the X-Subject-Token header.")
    return token


def _target(meaning: Meaning) -> dict[str, str]:
    return {"target.token.user_id": meaning.identity.user_id}


def _answer(req: Request, resp: Response, token: str, meaning: Meaning) -> None:
    resp.set_header("X-Subject-Token", token)
    resp.set_header("Vary", "X-Auth-Token")
    resp.content_type = "application/json"
    resp.data = meaning.bare if "nocatalog" in req.params else meaning.body


class TokensResource(Resource):
    """/v3/auth/tokens.  POST needs no token of its own."""

    public = frozenset({"POST"})

    async def on_get(self, req: Request, resp: Response) -> None:
        await self._show(req, resp, "validate_token")

    async def on_head(self, req: Request, resp: Response) -> None:
        await self._show(req, resp, "check_token")

    async def _show(self, req: Request, resp: Response, rule: str) -> None:
        token = _subject(req)
        meaning = await validate(self.ks, token, allow_expired=req.bool_param("allow_expired"))
        self.ks.enforce(req.ctx, rule, _target(meaning))
        if meaning.has_access_rules and not req.get_header("OpenStack-Identity-Access-Rules"):
            raise TokenNotFound("The token is limited by access rules, which the service that asks does not enforce.")
        _answer(req, resp, token, meaning)

    async def on_post(self, req: Request, resp: Response) -> None:
        body: _Body = await req.json(_Body)
        issued = await authenticate(self.ks, req.ctx, body.auth)
        req.state.issued_audit_id = issued.meaning.claims.audit_ids[-1]
        resp.status = 201
        _answer(req, resp, issued.token, issued.meaning)

    async def on_delete(self, req: Request, resp: Response) -> None:
        meaning = await validate(self.ks, _subject(req))
        self.ks.enforce(req.ctx, "revoke_token", _target(meaning))
        await revoke_token(self.ks, req.ctx, meaning.claims.audit_ids[0])
        resp.status = 204


class AuthProjectsResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        self.ks.enforce(req.ctx, "get_auth_projects")
        filters = parse_filters(req, ("name", "domain_id", "enabled"))
        rows = await access.own_projects(self.ks, req.ctx, filters)
        tags = await projects.tags_of(self.ks, [row.id for row in rows])
        set_list(req, resp, "projects", [project_view(req, row, tags.get(row.id, [])) for row in rows], filters)


class AuthDomainsResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        self.ks.enforce(req.ctx, "get_auth_domains")
        filters = parse_filters(req, ("name", "enabled"))
        rows = await access.own_domains(self.ks, req.ctx, filters)
        tags = await projects.tags_of(self.ks, [row.id for row in rows])
        set_list(req, resp, "domains", [domain_view(req, row, tags.get(row.id, [])) for row in rows], filters)


class AuthSystemResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        self.ks.enforce(req.ctx, "get_auth_system")
        resp.media = {"system": [{"all": True}] if await access.has_system(self.ks, req.ctx) else [],
                      "links": link(req, "auth/system")}


class AuthCatalogResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        self.ks.enforce(req.ctx, "get_auth_catalog")
        identity = req.ctx.identity
        if not (identity.project_id or identity.domain_id or identity.system):
            raise Forbidden("An unscoped token has no catalogue.")
        resp.media = {"catalog": await catalog.catalog_for(self.ks, identity.project_id, identity.user_id),
                      "links": link(req, "auth/catalog")}
