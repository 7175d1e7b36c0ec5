"""/v3/messages (3.3): why something failed after its request was answered"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.cinder.api import lists
from cloudseed.cinder.api.body import when
from cloudseed.cinder.errors import MessageNotFound
from cloudseed.cinder.listing import Listing, equals
from cloudseed.cinder.models import messages as table
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.db import Tx
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request

_NAMES = ("resource_uuid", "resource_type", "event_id", "request_id", "message_level")
LISTING = Listing(table, {name: table.c[name] for name in (*_NAMES, "id", "created_at")},
                  lambda marker: MessageNotFound(message_id=marker))


def view(req: Request, row: Any) -> dict[str, Any]:
    root = f"{req.base_url}/v3/{row.project_id}/messages/{row.id}"
    return {"id": row.id, "event_id": row.event_id, "user_message": row.user_message,
            "message_level": row.message_level, "created_at": when(row.created_at),
            "guaranteed_until": when(row.expires_at), "request_id": row.request_id,
            "resource_type": row.resource_type, "resource_uuid": row.resource_uuid,
            "links": [{"rel": "self", "href": root},
                      {"rel": "bookmark", "href": f"{req.base_url}/{row.project_id}/messages/{row.id}"}]}


class Messages:
    """/v3/messages"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, (3, 3))
        self.cinder.policy.enforce("message:get_all", req.ctx.identity, {"project_id": req.ctx.identity.project_id})
        query = lists.parse(req, {name: equals(table.c[name]) for name in _NAMES})
        scope = [] if query.everybody else [table.c.project_id == req.ctx.project_id]
        async with self.cinder.db.read() as tx:
            rows = await LISTING.rows(tx, query.page, query.where, visible=scope)
        resp.media = lists.answer(req, "messages", query, rows, [view(req, row) for row in rows])


class Message:
    """/v3/messages/{message_id}"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def _get(self, tx: Tx, req: Request, message_id: str, rule: str) -> Any:
        require(req.microversion, (3, 3))
        row = await tx.first(sa.select(table).where(table.c.id == message_id))
        target = {"project_id": row.project_id} if row is not None else {}
        if row is None or not self.cinder.policy.check("message:get", req.ctx.identity, target):
            raise MessageNotFound(message_id=message_id)
        self.cinder.policy.enforce(rule, req.ctx.identity, target)
        return row

    async def on_get(self, req: Request, resp: Response, message_id: str) -> None:
        async with self.cinder.db.read() as tx:
            resp.media = {"message": view(req, await self._get(tx, req, message_id, "message:get"))}

    async def on_delete(self, req: Request, resp: Response, message_id: str) -> None:
        async with self.cinder.db.write() as tx:
            await self._get(tx, req, message_id, "message:delete")
            await tx.execute(sa.delete(table).where(table.c.id == message_id))
        resp.status = 204
