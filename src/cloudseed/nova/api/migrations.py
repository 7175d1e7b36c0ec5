"""/os-migrations and /servers/{id}/migrations: moves of servers between flavors and hosts."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import Invalid, NotFound
from cloudseed.kernel.http import paging
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import migration_records, server_moves, servers
from cloudseed.nova.api.body import check_query, is_uuid, shown
from cloudseed.nova.api.links import add_next
from cloudseed.nova.api.server_query import moment
from cloudseed.nova.api.server_views import micro

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

_FILTERS = ("status", "host", "source_compute", "migration_type", "instance_uuid")


def _number(flavor: dict[str, Any]) -> int:
    """Upstream shows a flavor's row number here, which nothing else shows: any steady number serves."""
    text = str(flavor.get("id", ""))
    return int(text) if text.isdecimal() and len(text) < 10 else zlib.crc32(text.encode()) & 0x7FFFFFFF


def view(row: Any, version: tuple[int, int], *, hosts: bool) -> dict[str, Any]:
    """One item of os-migrations; where servers are only for those whom policy lets see it."""
    body = {
        "id": row.id, "instance_uuid": row.server_id, "status": row.status, "created_at": micro(row.created_at),
        "updated_at": micro(row.updated_at), "old_instance_type_id": _number(row.old_flavor),
        "new_instance_type_id": _number(row.new_flavor), **_hosts(row, hosts)}
    if version >= (2, 23):
        body["migration_type"] = row.type
    if version >= (2, 59):
        body["uuid"] = row.uuid
    if version >= (2, 80):
        body |= {"user_id": row.user_id, "project_id": row.project_id}
    return body


def _hosts(row: Any, shown: bool) -> dict[str, str | None]:
    return {"source_compute": row.source_host if shown else None, "source_node": row.source_node if shown else None,
            "dest_compute": row.dest_host if shown else None, "dest_node": row.dest_node if shown else None,
            "dest_host": None}


class Migrations:
    """/v2.1/os-migrations"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response) -> None:
        version, policy, identity = req.microversion, self.nova.policy, req.ctx.identity
        project = {"project_id": req.ctx.project_id}
        policy.enforce("os_compute_api:os-migrations:index", identity, project)
        paged = version >= (2, 59)
        known = [*_FILTERS, *(("user_id", "project_id") if version >= (2, 80) else ())]
        times = ["changes-since", *(["changes-before"] if version >= (2, 66) else [])]
        check_query(req, [*known, "hidden", *(["limit", "marker", *times] if paged else [])], since=(2, 59))
        filters = {name: value for name in known if (value := req.text_param(name)) is not None}
        if filters.get("project_id") != req.ctx.project_id:
            policy.enforce("os_compute_api:os-migrations:index:all_projects", identity, project)
        for name in ("instance_uuid", "user_id", "project_id"):
            if name == "instance_uuid" and name in filters and not is_uuid(filters[name]) and paged:
                raise Invalid(f"Invalid input for query parameters {name}. Value: {shown(filters[name])} is not a "
                              "'uuid'.")
        page = paging.parse(req) if paged else paging.Page(1000, None, False)
        moments = {name: moment(value, name) for name in times
                   if paged and (value := req.text_param(name)) is not None}
        since, before = moments.get("changes-since"), moments.get("changes-before")
        if since is not None and before is not None and before < since:
            raise Invalid("The value of changes-since must be less than or equal to changes-before.")
        rows, more = await migration_records.list_migrations(self.nova, req.ctx, page, filters, since=since,
                                                             before=before)
        hosts = policy.check("os_compute_api:os-migrations:index:host", identity, project)
        resp.media = body = {"migrations": [view(row, version, hosts=hosts) for row in rows]}
        if rows and paged:
            add_next(req, body, "migrations", page, rows[-1].uuid, more)


class _OfServer:
    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def check(self, req: Request, server_id: str, action: str) -> None:
        await servers.get_server(self.nova, req.ctx, server_id, f"os_compute_api:servers:migrations:{action}")

    async def view(self, req: Request, row: Any) -> dict[str, Any]:
        """A live migration as its server shows it."""
        body = {"id": row.id, "server_uuid": row.server_id, "status": row.status,
                "created_at": micro(row.created_at), "updated_at": micro(row.updated_at),
                **await server_moves.progress(self.nova, req.ctx, row), **_hosts(row, True)}
        if req.microversion >= (2, 59):
            body["uuid"] = row.uuid
        if req.microversion >= (2, 80):
            body |= {"user_id": row.user_id, "project_id": row.project_id}
        return body


class ServerMigrations(_OfServer):
    """/v2.1/servers/{server_id}/migrations: its live migrations that are under way"""

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        require(req.microversion, (2, 23))
        await self.check(req, server_id, "index")
        rows = await migration_records.live_migrations(self.nova, server_id)
        resp.media = {"migrations": [await self.view(req, row) for row in rows]}


class ServerMigration(_OfServer):
    """/v2.1/servers/{server_id}/migrations/{migration_id}"""

    async def on_get(self, req: Request, resp: Response, server_id: str, migration_id: str) -> None:
        require(req.microversion, (2, 23))
        await self.check(req, server_id, "show")
        row = await migration_records.find(self.nova, server_id, migration_id)
        if row is None:
            raise NotFound(f"In-progress live migration {shown(migration_id)} is not found for server {server_id}.")
        if row.type != "live-migration":
            raise NotFound(f"Migration {row.id} for server {server_id} is not live-migration.")
        if row.status not in migration_records.IN_PROGRESS:
            raise NotFound(f"Live migration {row.id} for server {server_id} is not in progress.")
        resp.media = {"migration": await self.view(req, row)}

    async def on_delete(self, req: Request, resp: Response, server_id: str, migration_id: str) -> None:
        require(req.microversion, (2, 24))
        await self.check(req, server_id, "delete")
        row = await migration_records.find(self.nova, server_id, migration_id)
        if row is None:
            raise NotFound(f"Migration {shown(migration_id)} not found for instance {server_id}")
        await server_moves.abort(self.nova, req.ctx, server_id, row, early=req.microversion >= (2, 65))
        resp.status = 202


class ServerMigrationAction(_OfServer):
    """/v2.1/servers/{server_id}/migrations/{migration_id}/action"""

    async def on_post(self, req: Request, resp: Response, server_id: str, migration_id: str) -> None:
        require(req.microversion, (2, 22))
        await self.check(req, server_id, "force_complete")
        body: Any = await req.json()
        if not isinstance(body, dict) or list(body) != ["force_complete"] or body["force_complete"] is not None:
            raise Invalid("Invalid input for field/attribute body. It must be {\"force_complete\": null}.")
        row = await migration_records.find(self.nova, server_id, migration_id)
        if row is None:
            raise Invalid(f"Migration {shown(migration_id)} not found for instance {server_id}")
        await server_moves.force_complete(self.nova, req.ctx, server_id, row)
        resp.status = 202
