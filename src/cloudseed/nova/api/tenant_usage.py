"""/os-simple-tenant-usage"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.db import utcnow
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http import paging
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import usage
from cloudseed.nova.api.body import check_query
from cloudseed.nova.api.links import add_next
from cloudseed.nova.api.server_query import moment
from cloudseed.nova.api.server_views import micro
from cloudseed.nova.server_states import api_status

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


def _server(one: usage.ServerUsage, now: datetime.datetime) -> dict[str, Any]:
    row = one.server
    return {"instance_id": row.id, "name": row.name, "hours": one.hours, "flavor": row.flavor["name"],
            "tenant_id": row.project_id, "started_at": micro(one.started_at), "ended_at": micro(one.ended_at),
            "memory_mb": row.memory_mb, "vcpus": row.vcpus, "local_gb": row.disk_gb,
            "state": "terminated" if one.ended_at else api_status(row.vm_state, row.task_state).lower(),
            "uptime": max(0, int(((one.ended_at or now) - one.started_at).total_seconds()))}


def by_project(found: list[usage.ServerUsage], start: datetime.datetime, end: datetime.datetime, *,
               detailed: bool) -> list[dict[str, Any]]:
    """Sums by project."""
    projects: dict[str, dict[str, Any]] = {}
    now = utcnow()
    for one in found:
        row = one.server
        total = projects.setdefault(row.project_id, {
            "tenant_id": row.project_id, "start": micro(start), "stop": micro(end), "total_hours": 0.0,
            "total_vcpus_usage": 0.0, "total_memory_mb_usage": 0.0, "total_local_gb_usage": 0.0,
            "server_usages": []})
        total["total_hours"] += one.hours
        total["total_vcpus_usage"] += one.hours * row.vcpus
        total["total_memory_mb_usage"] += one.hours * row.memory_mb
        total["total_local_gb_usage"] += one.hours * row.disk_gb
        total["server_usages"].append(_server(one, now))
    if not detailed:
        for total in projects.values():
            del total["server_usages"]
    return list(projects.values())


class _Base:
    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def found(self, req: Request, project_id: str | None) -> tuple[list[usage.ServerUsage], bool, paging.Page,
                                                                         datetime.datetime, datetime.datetime]:
        paged = req.microversion >= (2, 40)
        check_query(req, ("start", "end", "detailed", *(("limit", "marker") if paged else ())), since=(2, 75))
        page = paging.parse(req) if paged else paging.Page(1000, None, False)
        given = {name: req.text_param(name) for name in ("start", "end")}
        end = moment(given["end"], "end") if given["end"] else utcnow()
        start = moment(given["start"], "start") if given["start"] else end
        if start > end:
            raise Invalid("Invalid start time. The start time cannot occur after the end time.")
        if not given["start"]:
            start = end - datetime.timedelta(days=28)
        rows, more = await usage.list_usage(self.nova, project_id, start, end, page)
        return rows, more, page, start, end


class TenantUsages(_Base):
    """/v2.1/os-simple-tenant-usage"""

    async def on_get(self, req: Request, resp: Response) -> None:
        self.nova.policy.enforce("os_compute_api:os-simple-tenant-usage:list", req.ctx.identity)
        rows, more, page, start, end = await self.found(req, None)
        resp.media = body = {"tenant_usages": by_project(rows, start, end,
                                                         detailed=req.text_param("detailed") == "1")}
        add_next(req, body, "tenant_usages", page, rows[-1].server.id if rows else "", more)


class TenantUsage(_Base):
    """/v2.1/os-simple-tenant-usage/{project_id}"""

    async def on_get(self, req: Request, resp: Response, project_id: str) -> None:
        self.nova.policy.enforce("os_compute_api:os-simple-tenant-usage:show", req.ctx.identity,
                                 {"project_id": project_id})
        rows, more, page, start, end = await self.found(req, project_id)
        body: dict[str, Any] = {"tenant_usage": next(iter(by_project(rows, start, end, detailed=True)), {})}
        add_next(req, body, "tenant_usage", page, rows[-1].server.id if rows else "", more)
        resp.media = body
