"""/v3/groups and their members"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import groups, users
from cloudseed.keystone.api.resource import Resource, changes, link, read, set_list, split
from cloudseed.keystone.api.users import user_view
from cloudseed.keystone.directory import Record
from cloudseed.keystone.lists import parse_filters


class Create(msgspec.Struct):
    name: str
    domain_id: str | None = None
    description: str | None = None


class Update(msgspec.Struct):
    name: str | msgspec.UnsetType = msgspec.UNSET
    domain_id: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET


def group_view(req: Request, row: Record) -> dict[str, Any]:
    return {**row.extra, "id": row.id, "name": row.name, "domain_id": row.domain_id, "description": row.description,
            "links": link(req, f"groups/{row.id}")}


class GroupsResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("name", "domain_id"))
        rows = await groups.list_groups(self.ks, req.ctx, filters)
        set_list(req, resp, "groups", [group_view(req, row) for row in rows], filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        body, extra = split(await read(req, "group"), Create)
        row = await groups.create_group(self.ks, req.ctx, name=body.name, domain_id=body.domain_id,
                                        description=body.description or "", extra=extra)
        resp.status = 201
        resp.media = {"group": group_view(req, row)}


class GroupResource(Resource):
    async def on_get(self, req: Request, resp: Response, group_id: str) -> None:
        resp.media = {"group": group_view(req, await groups.get_group(self.ks, req.ctx, group_id))}

    async def on_patch(self, req: Request, resp: Response, group_id: str) -> None:
        body, extra = split(await read(req, "group"), Update)
        row = await groups.update_group(self.ks, req.ctx, group_id, changes(body), extra)
        resp.media = {"group": group_view(req, row)}

    async def on_delete(self, req: Request, resp: Response, group_id: str) -> None:
        await groups.delete_group(self.ks, req.ctx, group_id)
        resp.status = 204


class GroupUsersResource(Resource):
    async def on_get(self, req: Request, resp: Response, group_id: str) -> None:
        filters = parse_filters(req, ("name", "domain_id", "enabled"))
        rows = await groups.users_in_group(self.ks, req.ctx, group_id, filters)
        set_list(req, resp, "users", [user_view(req, row) for row in rows], filters)


class GroupUserResource(Resource):
    async def on_get(self, req: Request, resp: Response, group_id: str, user_id: str) -> None:
        await groups.check_member(self.ks, req.ctx, group_id, user_id)
        resp.status = 204

    async def on_put(self, req: Request, resp: Response, group_id: str, user_id: str) -> None:
        await groups.add_member(self.ks, req.ctx, group_id, user_id)
        resp.status = 204

    async def on_delete(self, req: Request, resp: Response, group_id: str, user_id: str) -> None:
        await groups.remove_member(self.ks, req.ctx, group_id, user_id)
        resp.status = 204


class UserGroupsResource(Resource):
    async def on_get(self, req: Request, resp: Response, user_id: str) -> None:
        filters = parse_filters(req, ("name",))
        rows = await users.groups_of_user(self.ks, req.ctx, user_id, filters)
        set_list(req, resp, "groups", [group_view(req, row) for row in rows], filters)
