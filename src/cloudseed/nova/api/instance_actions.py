"""/servers/{id}/os-instance-actions: what users did to a server, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.http import paging
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import server_actions
from cloudseed.nova.api.body import check_query
from cloudseed.nova.api.links import add_next
from cloudseed.nova.api.server_query import moment
from cloudseed.nova.api.server_views import host_id, micro
from cloudseed.nova.servers import target

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


def _view(row: Any, version: tuple[int, int]) -> dict[str, Any]:
    body = {"action": row.action, "instance_uuid": row.server_id, "request_id": row.request_id,
            "user_id": row.user_id, "project_id": row.project_id, "start_time": micro(row.start_time),
            "message": row.message}
    if version >= (2, 58):
        body["updated_at"] = micro(row.updated_at)
    return body


class InstanceActions:
    """/v2.1/servers/{server_id}/os-instance-actions"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        paged = req.microversion >= (2, 58)
        allowed = ("limit", "marker", "changes-since", *(("changes-before",) if req.microversion >= (2, 66) else ()))
        check_query(req, allowed if paged else (), since=(2, 58))
        page = paging.parse(req) if paged else paging.Page(1000, None, False)
        times = {name: moment(value, name) for name in ("changes-since", "changes-before")
                 if paged and (value := req.text_param(name)) is not None}
        rows, more = await server_actions.list_actions(
            self.nova, req.ctx, server_id, page, since=times.get("changes-since"),
            before=times.get("changes-before"), deleted=req.microversion >= (2, 21))
        resp.media = body = {"instanceActions": [_view(row, req.microversion) for row in rows]}
        if body["instanceActions"]:
            add_next(req, body, "links", page, rows[-1].request_id, more)
            if "links_links" in body:
                body["links"] = body.pop("links_links")


class InstanceAction:
    """/v2.1/servers/{server_id}/os-instance-actions/{request_id}"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str, request_id: str) -> None:
        server, action, events = await server_actions.get_action(
            self.nova, req.ctx, server_id, request_id, deleted=req.microversion >= (2, 21))
        body = _view(action, req.microversion)
        who = target(server)
        see_events = self.nova.policy.check("os_compute_api:os-instance-actions:events", req.ctx.identity, who)
        see_details = self.nova.policy.check("os_compute_api:os-instance-actions:events:details", req.ctx.identity,
                                             who)
        if see_events or req.microversion >= (2, 51):
            body["events"] = [self._event(req, server, event, see_events, see_details) for event in events]
        resp.media = {"instanceAction": body}

    def _event(self, req: Request, server: Any, event: Any, see_events: bool, see_details: bool) -> dict[str, Any]:
        body = {"event": event.event, "start_time": micro(event.start_time), "finish_time": micro(event.finish_time),
                "result": event.result}
        if see_events:
            body["traceback"] = None  # ours end as faults with their reason, never as traces
        if req.microversion >= (2, 62):
            body["hostId"] = host_id(server.project_id, event.host)
            if see_events:
                body["host"] = event.host
        if req.microversion >= (2, 84):
            body["details"] = event.details if see_details or event.result == "Error" else None
        return body
