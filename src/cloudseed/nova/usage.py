"""What projects used over time (os-simple-tenant-usage): hours of servers, by their flavors' sizes."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.paging import Page
from cloudseed.nova.models import servers
from cloudseed.nova.paging import Sort, page_of

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class ServerUsage(NamedTuple):
    """One server's share of the time that is asked for."""

    server: sa.Row[Any]
    started_at: datetime.datetime
    ended_at: datetime.datetime | None
    hours: float


async def list_usage(nova: Nova, project_id: str | None, start: datetime.datetime, end: datetime.datetime,
                     page: Page) -> tuple[list[ServerUsage], bool]:
    """Servers that existed between `start` and `end`, of one project or of all, with their hours within."""
    query = sa.select(servers).where(servers.c.created_at < end, sa.or_(servers.c.deleted_at.is_(None),
                                                                        servers.c.deleted_at > start))
    if project_id is not None:
        query = query.where(servers.c.project_id == project_id)
    async with nova.db.read() as tx:
        rows, more = await page_of(tx, query, servers.c.id, page, Sort(((servers.c.id, False),)),
                                   Invalid(f"marker [{page.marker}] not found"))
    return [_usage(row, start, end) for row in rows], more


def _usage(row: sa.Row[Any], start: datetime.datetime, end: datetime.datetime) -> ServerUsage:
    began = row.launched_at or row.created_at
    ended = row.terminated_at or row.deleted_at
    seconds = (min(ended or end, end) - max(began, start)).total_seconds()
    return ServerUsage(row, began, ended, max(0.0, seconds) / 3600)
