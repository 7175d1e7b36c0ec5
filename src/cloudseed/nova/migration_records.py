"""Migrations: the records of servers' moves between flavors and hosts, as operators list them."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.paging import Page
from cloudseed.nova.models import migrations
from cloudseed.nova.paging import Sort, page_of

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

Migration = sa.Row[Any]
FINAL = ("confirmed", "reverted", "error", "failed", "completed", "cancelled", "done")
# what GET /servers/{id}/migrations shows: live migrations under way
IN_PROGRESS = ("queued", "preparing", "running", "post-migrating")


async def list_migrations(nova: Nova, ctx: Context, page: Page, filters: dict[str, str], *,
                          since: datetime.datetime | None, before: datetime.datetime | None
                          ) -> tuple[list[Migration], bool]:
    """Newest first; `filters`: status, host, source_compute, migration_type, instance_uuid, user_id, project_id.

    The marker is a migration's uuid.
    """
    table = migrations.c
    columns = {"status": table.status, "source_compute": table.source_host, "migration_type": table.type,
               "instance_uuid": table.server_id, "user_id": table.user_id, "project_id": table.project_id}
    query = sa.select(migrations)
    for name, value in filters.items():
        if name == "host":
            query = query.where(sa.or_(table.source_host == value, table.dest_host == value))
        else:
            query = query.where(columns[name] == value)
    if since is not None:
        query = query.where(table.updated_at >= since)
    if before is not None:
        query = query.where(table.updated_at <= before)
    async with nova.db.read() as tx:
        if page.marker is not None:
            row_id = await tx.scalar(sa.select(table.id).where(table.uuid == page.marker))
            if row_id is None:
                raise Invalid(f"Marker {page.marker} could not be found.")
            query, page = query.where(table.id < row_id), page._replace(marker=None)
        return await page_of(tx, query, table.id, page, Sort(((table.id, True),)), Invalid("marker not found"))


async def live_migrations(nova: Nova, server_id: str) -> list[Migration]:
    """The server's live migrations that are under way."""
    async with nova.db.read() as tx:
        return list(await tx.all(sa.select(migrations).where(
            migrations.c.server_id == server_id, migrations.c.type == "live-migration",
            migrations.c.status.in_(IN_PROGRESS)).order_by(migrations.c.id)))
