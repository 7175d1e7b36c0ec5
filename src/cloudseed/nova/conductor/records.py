"""How the conductor writes a server: every change of its state goes through `change`, and is logged OLD -> NEW.

A server that is being deleted keeps `task_state = deleting` whatever a step that still runs may write.  And a task
state that a later order has set stays: the last step of an operation may run again, after a kill, when its first run
had already told the user that the server was free.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import CloudseedError, NotFound
from cloudseed.kernel.operations import Run
from cloudseed.nova.compute.spec import ServerSpec, spec_from_row
from cloudseed.nova.models import operation_tables, server_action_events, server_actions, server_faults, servers
from cloudseed.nova.server_states import can_move

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)
Server = sa.Row[Any]
# built once: building a statement costs more than running it
_SERVER = sa.select(servers).where(servers.c.id == sa.bindparam("this"))
_CHANGE = sa.update(servers).where(servers.c.id == sa.bindparam("this"))
_EVENT = sa.update(server_action_events).where(
    server_action_events.c.server_id == sa.bindparam("server"), server_action_events.c.event == sa.bindparam("part"),
    server_action_events.c.request_id == sa.bindparam("request"))
_OPEN_EVENT = _EVENT.where(server_action_events.c.finish_time.is_(None))
_NEW_EVENT = sa.insert(server_action_events)
_OPERATIONS = operation_tables.operations.c
# one that somebody has in hand does not wait, even where a database that crashed has lost that it began
_ORDERED = sa.select(_OPERATIONS.data).where(
    _OPERATIONS.resource_id == sa.bindparam("this"), _OPERATIONS.status == "pending",
    _OPERATIONS.lease_owner.is_(None)).order_by(_OPERATIONS.created_at.desc(), _OPERATIONS.id)
_ACTION = sa.update(server_actions).where(
    server_actions.c.server_id == sa.bindparam("server"), server_actions.c.request_id == sa.bindparam("request"))


async def load_server(nova: Nova, server_id: str) -> Server:
    """The server's record, deleted or not."""
    async with nova.db.look() as tx:
        return await read_server(tx, server_id)


async def read_server(tx: Tx, server_id: str) -> Server:
    row = await tx.first(_SERVER, {"this": server_id})
    if row is None:
        raise NotFound(f"Instance {server_id} could not be found.")
    return row


async def load_spec(nova: Nova, server_id: str) -> ServerSpec:
    return spec_from_row(await load_server(nova, server_id))


async def change(tx: Tx, row: Server, **values: Any) -> None:
    """Change a server that this transaction has read."""
    if row.task_state == "deleting" and "deleted_at" not in values:
        values.pop("task_state", None)
    elif row.task_state is not None and "task_state" in values and values["task_state"] is None:
        values["task_state"] = await _ordered_state(tx, row.id)
    new = values.get("vm_state", row.vm_state)
    if new != row.vm_state:
        if not can_move(row.vm_state, new):
            log.error("server %s: %s -> %s is no move that we know", row.id, row.vm_state, new)
        log.info("server %s: %s -> %s", row.id, row.vm_state, new)
    await tx.execute(_CHANGE, {"this": row.id, "updated_at": utcnow(), "generation": row.generation + 1, **values})


async def _ordered_state(tx: Tx, server_id: str) -> str | None:
    """The task state that the newest order which waits its turn has set."""
    waiting = await tx.all(_ORDERED, {"this": server_id})
    return next((row.data["task_state"] for row in waiting if row.data.get("task_state")), None)


async def add_fault(tx: Tx, server_id: str, error: CloudseedError) -> None:
    """Show why it failed; the code is upstream's 500 for what the cloud could not do, else the error's own."""
    await tx.execute(sa.insert(server_faults).values(
        server_id=server_id, code=error.status if error.status in (400, 403, 404) else 500,
        message=error.message[:255], details=error.detail or error.message, created_at=utcnow()))


async def begin_event(tx: Tx, run: Run, event: str, host: str | None) -> None:
    """Record that a part of the user's action has begun; again for the same request only moves its host."""
    again = await tx.execute(_EVENT, {**_of(run), "part": event, "host": host})
    if again.rowcount == 0:
        await tx.execute(_NEW_EVENT, {"server_id": run.resource_id, "request_id": run.ctx.request_id, "event": event,
                                      "start_time": utcnow(), "host": host})


def _of(run: Run) -> dict[str, Any]:
    """The user's action that an operation belongs to."""
    return {"server": run.resource_id, "request": run.ctx.request_id}


async def end_event(tx: Tx, run: Run, event: str, error: CloudseedError | None = None) -> None:
    """Record how it ended; an error shows in the action too, as upstream does."""
    now = utcnow()
    await tx.execute(_OPEN_EVENT, {**_of(run), "part": event, "finish_time": now,
                                   "result": "Error" if error else "Success",
                                   "details": error.message if error else None})
    values: dict[str, Any] = {"updated_at": now}
    if error is not None:
        values["message"] = "Error"
    await tx.execute(_ACTION, {**_of(run), **values})
