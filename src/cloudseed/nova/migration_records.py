"""Migrations: the records of servers' moves between flavors and hosts, as operators list them."""

from __future__ import annotations

import datetime
import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.paging import Page
from cloudseed.nova.models import migrations
from cloudseed.nova.paging import Sort, page_of

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

Migration = sa.Row[Any]
FINAL = ("confirmed", "reverted", "error", "failed", "completed", "cancelled", "done")
# what GET /servers/{id}/migrations shows: live migrations under way
IN_PROGRESS = ("accepted", "queued", "preparing", "running", "post-migrating")


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


async def new_migration(tx: Tx, ctx: Context, server: sa.Row[Any], kind: str, flavor: dict[str, Any]) -> str:
    """The record of a move that is being ordered; its uuid."""
    now, made = utcnow(), str(uuid.uuid4())
    await tx.execute(sa.insert(migrations).values(
        uuid=made, server_id=server.id, project_id=ctx.project_id or server.project_id,
        user_id=ctx.user_id or server.user_id, type=kind, status="pre-migrating" if kind == "resize" else "accepted",
        source_host=server.host, source_node=server.node, dest_host=None, dest_node=None, old_flavor=server.flavor,
        new_flavor=flavor, old_vm_state=server.vm_state, created_at=now, updated_at=now))
    return made


async def live_migrations(nova: Nova, server_id: str) -> list[Migration]:
    """The server's live migrations that are under way."""
    async with nova.db.read() as tx:
        return list(await tx.all(sa.select(migrations).where(
            migrations.c.server_id == server_id, migrations.c.type == "live-migration",
            migrations.c.status.in_(IN_PROGRESS)).order_by(migrations.c.id)))


async def find(nova: Nova, server_id: str, migration_id: str) -> Migration | None:
    """A migration of the server by the number that the API gives it; any text is taken."""
    if not migration_id.isascii() or not migration_id.isdecimal() or len(migration_id) > 9:
        return None
    async with nova.db.read() as tx:
        found: Migration | None = await tx.first(sa.select(migrations).where(
            migrations.c.server_id == server_id, migrations.c.id == int(migration_id)))
    return found
