"""/v3/policies"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import policy_documents
from cloudseed.keystone.api.resource import Resource, changes, link, read, set_list, split
from cloudseed.keystone.directory import Record
from cloudseed.keystone.lists import parse_filters


class Create(msgspec.Struct):
    type: str
    blob: str


class Update(msgspec.Struct):
    type: str | msgspec.UnsetType = msgspec.UNSET
    blob: str | msgspec.UnsetType = msgspec.UNSET


def policy_view(req: Request, row: Record) -> dict[str, Any]:
    return {**row.extra, "id": row.id, "type": row.type, "blob": row.blob, "links": link(req, f"policies/{row.id}")}


class PoliciesResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("type",))
        rows = await policy_documents.list_policies(self.ks, req.ctx, filters)
        set_list(req, resp, "policies", [policy_view(req, row) for row in rows], filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        body, extra = split(await read(req, "policy"), Create)
        row = await policy_documents.create_policy(self.ks, req.ctx, kind=body.type, blob=body.blob, extra=extra)
        resp.status = 201
        resp.media = {"policy": policy_view(req, row)}


class PolicyResource(Resource):
    async def on_get(self, req: Request, resp: Response, policy_id: str) -> None:
        resp.media = {"policy": policy_view(req, await policy_documents.get_policy(self.ks, req.ctx, policy_id))}

    async def on_patch(self, req: Request, resp: Response, policy_id: str) -> None:
        body, extra = split(await read(req, "policy"), Update)
        row = await policy_documents.update_policy(self.ks, req.ctx, policy_id, changes(body), extra)
        resp.media = {"policy": policy_view(req, row)}

    async def on_delete(self, req: Request, resp: Response, policy_id: str) -> None:
        await policy_documents.delete_policy(self.ks, req.ctx, policy_id)
        resp.status = 204
