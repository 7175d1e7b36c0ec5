"""What nova hears: POST /v2.1/os-server-external-events.

`network-changed` is a hint: sent once, beside the request that caused it; within nova's own request with nova's
own token, since it is part of nova's work.  `network-vif-plugged` and `-unplugged` are owed: the port's row says
so (`plug_event`) in the same transaction as its new status, until nova has taken them; a loop sends what is owed.
"""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError
from cloudseed.neutron import access, models
from cloudseed.neutron.server import Neutron

log = logging.getLogger(__name__)
CHANGED, PLUGGED = "network-changed", "network-vif-plugged"
FAILED = "network-vif-failed"  # our word for PLUGGED with status "failed"
UNPLUGGED, DELETED = "network-vif-unplugged", "network-vif-deleted"
_BATCH = 200
Event = dict[str, Any]


def is_servers(port: Any) -> bool:
    """Whether nova has a stake in a port (a row, or an API record's fields of the same names)."""
    return bool(port.device_id) and port.device_owner.startswith("compute:")


def event(name: str, server_id: str, port_id: str) -> Event:
    if name == CHANGED:
        return {"name": name, "server_uuid": server_id, "tag": port_id}
    if name == FAILED:
        return {"name": PLUGGED, "server_uuid": server_id, "tag": port_id, "status": "failed"}
    return {"name": name, "server_uuid": server_id, "tag": port_id, "status": "completed"}


def hint(neutron: Neutron, ctx: Context, events: list[Event]) -> None:
    """Send hints beside the request at hand, one batch; losing them is no harm."""
    if events:
        token = ctx.identity.token if access.is_service(ctx) else None
        neutron.spawn(_hint(neutron, ctx, events, token or None))


async def _hint(neutron: Neutron, ctx: Context, events: list[Event], token: str | None) -> None:
    try:
        await _post(neutron, ctx, events, token)
    except CloudseedError as exc:
        log.info("%s: nova did not take %s: %s", ctx.request_id, [e["name"] for e in events], exc.message)


async def _post(neutron: Neutron, ctx: Context, events: list[Event], token: str | None) -> None:
    # 207: nova did not know some of the servers (any more); that is its answer, not a failure of ours
    await neutron.session.request(ctx, "compute", "POST", "/v2.1/os-server-external-events", json={"events": events},
                                  token=token, timeout_s=30.0)


_OWED = sa.select(models.ports.c.id, models.ports.c.device_id, models.ports.c.plug_event).where(
    models.ports.c.plug_event.is_not(None)).limit(_BATCH)


async def send_owed(neutron: Neutron, ctx: Context) -> bool:
    """Send what rows say is owed.  False when nova did not take it: to be tried again."""
    ports = models.ports
    async with neutron.db.look() as tx:
        rows = await tx.all(_OWED)
    if not rows:
        return True
    try:
        await _post(neutron, ctx, [event(row.plug_event, row.device_id, row.id) for row in rows], None)
    except CloudseedError as exc:
        if exc.status not in (400, 404) or "service" not in exc.fields:
            log.info("nova did not take %d port events, they stay owed: %s", len(rows), exc.message)
            return False
        # nova is there and knows none of these servers: there is nobody to tell
    async with neutron.db.write() as tx:
        for name in {row.plug_event for row in rows}:
            # a port that changed meanwhile owes a newer event, which must stay
            await tx.execute(sa.update(ports).where(
                ports.c.id.in_([row.id for row in rows if row.plug_event == name]), ports.c.plug_event == name)
                .values(plug_event=None))
    return len(rows) < _BATCH or await send_owed(neutron, ctx)
