"""What was done to servers: actions (what a user asked) and their events (what the parts did), read only."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Invalid, NotFound
from cloudseed.kernel.http.paging import Page
from cloudseed.nova.models import server_action_events, server_actions
from cloudseed.nova.paging import Sort, page_of
from cloudseed.nova.servers import Server, find_server

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

Row = sa.Row[Any]


async def list_actions(nova: Nova, ctx: Context, server_id: str, page: Page, *,
                       since: datetime.datetime | None, before: datetime.datetime | None,
                       deleted: bool) -> tuple[list[Row], bool]:
    """A server's actions, newest first; the marker is a request id."""
    query = sa.select(server_actions).where(server_actions.c.server_id == server_id)
    if since is not None:
        query = query.where(server_actions.c.updated_at >= since)
    if before is not None:
        query = query.where(server_actions.c.updated_at <= before)
    async with nova.db.read() as tx:
        await find_server(nova, tx, ctx, server_id, "os_compute_api:os-instance-actions:list", deleted=deleted)
        if page.marker is not None:
            row_id = await tx.scalar(sa.select(sa.func.max(server_actions.c.id)).where(
                server_actions.c.server_id == server_id, server_actions.c.request_id == page.marker))
            if row_id is None:
                raise Invalid(f"marker [{page.marker}] not found")
            query, page = query.where(server_actions.c.id < row_id), page._replace(marker=None)
        return await page_of(tx, query, server_actions.c.id, page, Sort(((server_actions.c.id, True),)),
                             Invalid("marker not found"))


async def get_action(nova: Nova, ctx: Context, server_id: str, request_id: str, *,
                     deleted: bool) -> tuple[Server, Row, list[Row]]:
    """The server, the action of one request, and its events in order."""
    async with nova.db.read() as tx:
        server = await find_server(nova, tx, ctx, server_id, "os_compute_api:os-instance-actions:show",
                                   deleted=deleted)
        action = await tx.first(sa.select(server_actions).where(
            server_actions.c.server_id == server_id, server_actions.c.request_id == request_id))
        if action is None:
            raise NotFound(f"Action for request_id {request_id} on instance {server_id} not found")
        events = await tx.all(sa.select(server_action_events).where(
            server_action_events.c.server_id == server_id, server_action_events.c.request_id == request_id)
            .order_by(server_action_events.c.id))
        return server, action, list(events)
