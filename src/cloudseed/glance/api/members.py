"""/v2/images/{image_id}/members and /members/{member_id}; /v2/images/{image_id}/tags/{tag}"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.glance import members, tags
from cloudseed.glance.api.images import when
from cloudseed.glance.images import Glance
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request


class NewMember(msgspec.Struct):
    member: str


class MemberStatus(msgspec.Struct):
    status: str


def view(row: Any) -> dict[str, Any]:
    return {"member_id": row.member, "image_id": row.image_id, "status": row.status,
            "created_at": when(row.created_at), "updated_at": when(row.updated_at), "schema": "/v2/schemas/member"}


class MembersResource:
    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_get(self, req: Request, resp: Response, image_id: str) -> None:
        rows = await members.list_members(self._glance, req.ctx, image_id)
        resp.media = {"members": [view(row) for row in rows], "schema": "/v2/schemas/members"}

    async def on_post(self, req: Request, resp: Response, image_id: str) -> None:
        body: NewMember = await req.json(NewMember)
        resp.media = view(await members.create_member(self._glance, req.ctx, image_id, body.member))


class MemberResource:
    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_get(self, req: Request, resp: Response, image_id: str, member_id: str) -> None:
        resp.media = view(await members.get_member(self._glance, req.ctx, image_id, member_id))

    async def on_put(self, req: Request, resp: Response, image_id: str, member_id: str) -> None:
        body: MemberStatus = await req.json(MemberStatus)
        resp.media = view(await members.update_member(self._glance, req.ctx, image_id, member_id, body.status))

    async def on_delete(self, req: Request, resp: Response, image_id: str, member_id: str) -> None:
        await members.delete_member(self._glance, req.ctx, image_id, member_id)
        resp.status = 204


class TagResource:
    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_put(self, req: Request, resp: Response, image_id: str, tag: str) -> None:
        await tags.add_tag(self._glance, req.ctx, image_id, tag)
        resp.status = 204

    async def on_delete(self, req: Request, resp: Response, image_id: str, tag: str) -> None:
        await tags.delete_tag(self._glance, req.ctx, image_id, tag)
        resp.status = 204
