"""/v3/users"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import users
from cloudseed.keystone.api.resource import Resource, changes, link, read, set_list, split
from cloudseed.keystone.directory import Record
from cloudseed.keystone.lists import parse_filters
from cloudseed.keystone.meanings import iso


class Create(msgspec.Struct):
    name: str
    domain_id: str | None = None
    password: str | None = None
    enabled: bool = True
    default_project_id: str | None = None
    options: dict[str, Any] | None = None


class Update(msgspec.Struct):
    name: str | msgspec.UnsetType = msgspec.UNSET
    domain_id: str | msgspec.UnsetType = msgspec.UNSET
    password: str | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    default_project_id: str | msgspec.UnsetType | None = msgspec.UNSET
    options: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class PasswordChange(msgspec.Struct):
    password: str
    original_password: str


class _PasswordBody(msgspec.Struct):
    user: PasswordChange


def user_view(req: Request, row: Record) -> dict[str, Any]:
    expires = row.password_expires_at
    view = {**row.extra, "id": row.id, "name": row.name, "domain_id": row.domain_id, "enabled": row.enabled,
            "password_expires_at": iso(expires.timestamp()) if expires is not None else None,
            "options": row.options, "links": link(req, f"users/{row.id}")}
    if row.default_project_id is not None:
        view["default_project_id"] = row.default_project_id
    return view


class UsersResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("name", "domain_id", "enabled"))
        rows = await users.list_users(self.ks, req.ctx, filters)
        set_list(req, resp, "users", [user_view(req, row) for row in rows], filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        body, extra = split(await read(req, "user"), Create)
        row = await users.create_user(self.ks, req.ctx, name=body.name, domain_id=body.domain_id,
                                      password=body.password, enabled=body.enabled,
                                      default_project_id=body.default_project_id, options=body.options, extra=extra)
        resp.status = 201
        resp.media = {"user": user_view(req, row)}


class UserResource(Resource):
    async def on_get(self, req: Request, resp: Response, user_id: str) -> None:
        resp.media = {"user": user_view(req, await users.get_user(self.ks, req.ctx, user_id))}

    async def on_patch(self, req: Request, resp: Response, user_id: str) -> None:
        body, extra = split(await read(req, "user"), Update)
        row = await users.update_user(self.ks, req.ctx, user_id, changes(body), extra)
        resp.media = {"user": user_view(req, row)}

    async def on_delete(self, req: Request, resp: Response, user_id: str) -> None:
        await users.delete_user(self.ks, req.ctx, user_id)
        resp.status = 204


class UserPasswordResource(Resource):
    """The old password is the proof: a user whose password has expired has no token."""

    public = True

    async def on_post(self, req: Request, resp: Response, user_id: str) -> None:
        body: _PasswordBody = await req.json(_PasswordBody)
        await users.change_password(self.ks, req.ctx, user_id, body.user.original_password, body.user.password)
        resp.status = 204
