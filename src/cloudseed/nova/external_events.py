"""What other services tell about servers (a port was plugged, a network changed), delivered to the host at once.

Each event is answered for itself: delivered (200), of an unknown server (404) or of one that is on no host (422).
Delivery is a hint: the host's own look at neutron is what counts.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import utcnow
from cloudseed.nova.models import server_action_events, servers
from cloudseed.nova.servers import record_action

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)
Event = dict[str, str]
EXTEND_EVENT = "compute_extend_volume"
_HOSTS = sa.select(servers.c.id, servers.c.host).where(
    servers.c.id.in_(sa.bindparam("ids", expanding=True)), servers.c.deleted_at.is_(None))


async def deliver(nova: Nova, ctx: Context, events: list[Event]) -> tuple[list[dict[str, Any]], int]:
    """Hand each event to its server's host; returns the events with their codes, and the answer's status."""
    ids = {event["server_uuid"] for event in events}
    nova.metadata.sources.forget(ids)
    async with nova.db.look() as tx:
        rows = await tx.all(_HOSTS, {"ids": list(ids)})
    hosts = {row.id: row.host for row in rows}
    by_host: dict[str, list[Event]] = {}
    answers: list[dict[str, Any]] = []
    for event in events:
        server_id = event["server_uuid"]
        if server_id not in hosts:
            answers.append({**event, "status": "failed", "code": 404})
        elif not hosts[server_id]:
            answers.append({**event, "status": "failed", "code": 422})
        else:
            by_host.setdefault(hosts[server_id], []).append(event)
            answers.append({**event, "code": 200})
    grown = [event for its in by_host.values() for event in its if event["name"] == "volume-extended"]
    if grown:
        async with nova.db.write() as tx:
            for event in grown:
                await record_action(tx, ctx, event["server_uuid"], "extend_volume")
                await tx.execute(sa.insert(server_action_events).values(
                    server_id=event["server_uuid"], request_id=ctx.request_id, event=EXTEND_EVENT,
                    start_time=utcnow(), host=hosts[event["server_uuid"]]))
    for host, its in by_host.items():
        await nova.api_bus.cast(ctx, f"compute.{host}", "external_event", events=its)
    codes = {answer["code"] for answer in answers}
    if codes == {200}:
        return answers, 200
    if 200 in codes:
        return answers, 207
    return answers, 404 if codes == {404} else 422 if codes == {422} else 404
