"""Servers: find, describe with what belongs to them, change what the user may change, order power changes.

nova-api writes names, descriptions, metadata, tags and locks.  States belong to the conductor: what changes one is
ordered from it here, in the transaction that checked the state, so that two orders cannot both win.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict
from cloudseed.nova import server_states
from cloudseed.nova.errors import ServerLocked, ServerNotFound
from cloudseed.nova.models import (
    server_actions,
    server_faults,
    server_group_members,
    server_tags,
    servers,
    services,
)
from cloudseed.nova.server_states import TaskState
from cloudseed.nova.services import alive_since, is_up, zones_by_host

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

Server = sa.Row[Any]
Prepare = Callable[[Tx, Server], Awaitable[dict[str, Any]]]
# built once: building a statement costs more than running it
_ANY = sa.select(servers).where(servers.c.id == sa.bindparam("this"))
_LIVING = _ANY.where(servers.c.deleted_at.is_(None))
_TAGS = sa.select(server_tags).where(server_tags.c.server_id.in_(sa.bindparam("ids", expanding=True))).order_by(
    server_tags.c.tag)
_MEMBERS = sa.select(server_group_members).where(
    server_group_members.c.server_id.in_(sa.bindparam("ids", expanding=True)))
COMPUTES = sa.select(services).where(services.c.binary == "nova-compute")
_NEW_ACTION = sa.insert(server_actions)
DEFAULT_ZONE = "nova"
INTERNAL_ZONE = "internal"


class Extras:
    """What is shown with servers but lies in other tables; read in a constant number of statements."""

    def __init__(self) -> None:
        self.tags: dict[str, list[str]] = {}
        self.faults: dict[str, sa.Row[Any]] = {}
        self.groups: dict[str, list[str]] = {}
        self.host_status: dict[str, str] = {}
        self.zones: dict[str, str] = {}
        self.security_groups: dict[str, list[dict[str, str]]] = {}

    def zone_of(self, server: Server) -> str:
        """The availability zone where a server is, or the one that it asked for."""
        if server.host:
            return self.zones.get(server.host, DEFAULT_ZONE)
        return server.availability_zone or ""


def target(server: Any) -> dict[str, Any]:
    """A server as policy sees it."""
    return {"project_id": server.project_id, "user_id": server.user_id}


async def find_server(nova: Nova, tx: Tx, ctx: Context, server_id: str, rule: str, *,
                      deleted: bool = False) -> Server:
    """The server, if the caller's project owns it (or the caller is an admin) and `rule` allows.

    Raises ServerNotFound for unknown, deleted (unless `deleted`) and foreign servers alike, Forbidden by rule.
    """
    row = await tx.first(_ANY if deleted else _LIVING, {"this": server_id})
    if row is None or (row.project_id != ctx.project_id
                       and not nova.policy.check("context_is_admin", ctx.identity)):
        raise ServerNotFound(server_id=server_id)
    nova.policy.enforce(rule, ctx.identity, target(row))
    return row


async def get_server(nova: Nova, ctx: Context, server_id: str,
                     rule: str = "os_compute_api:servers:show", *, deleted: bool = False) -> Server:
    """As `find_server`, in a transaction of its own."""
    async with nova.db.read() as tx:
        return await find_server(nova, tx, ctx, server_id, rule, deleted=deleted)


async def load_extras(nova: Nova, tx: Tx, rows: Iterable[Server], *, groups: bool = False) -> Extras:
    """What belongs to `rows`; five statements at most, however many rows."""
    extras, rows = Extras(), list(rows)
    ids = [row.id for row in rows]
    if not ids:
        return extras
    for tag in await tx.all(_TAGS, {"ids": ids}):
        extras.tags.setdefault(tag.server_id, []).append(tag.tag)
    failed = [row.id for row in rows if row.vm_state in ("error", "deleted")]
    if failed:
        for fault in await tx.all(sa.select(server_faults).where(server_faults.c.server_id.in_(failed))
                                  .order_by(server_faults.c.id)):
            extras.faults[fault.server_id] = fault  # the latest wins
    if groups:
        for member in await tx.all(_MEMBERS, {"ids": ids}):
            extras.groups.setdefault(member.server_id, []).append(member.group_id)
    if any(row.host for row in rows):
        extras.zones = await zones_by_host(tx)
        since = alive_since(nova)
        for record in await tx.all(COMPUTES):
            up = "UP" if is_up(record, since) else "DOWN" if record.forced_down else "UNKNOWN"
            extras.host_status[record.host] = "MAINTENANCE" if record.disabled else up
    return extras


async def record_action(tx: Tx, ctx: Context, server_id: str, action: str, message: str | None = None) -> None:
    """Note what a user does to a server; shown by os-instance-actions."""
    now = utcnow()
    await tx.execute(_NEW_ACTION, {
        "server_id": server_id, "action": action, "request_id": ctx.request_id, "user_id": ctx.user_id,
        "project_id": ctx.project_id, "message": message, "start_time": now, "updated_at": now})


def check_lock(nova: Nova, ctx: Context, server: Server) -> None:
    """A locked server is changed by admins only.  Raises ServerLocked."""
    if server.locked_by and not nova.policy.check("context_is_admin", ctx.identity):
        raise ServerLocked(server_id=server.id)


# ---- change

async def update_server(nova: Nova, ctx: Context, server_id: str, values: dict[str, Any]) -> Server:
    """Change columns that users may name (name, description, hostname, access addresses)."""
    async with nova.db.write() as tx:
        await find_server(nova, tx, ctx, server_id, "os_compute_api:servers:update")
        if values:
            await tx.execute(sa.update(servers).where(servers.c.id == server_id)
                             .values(**values, updated_at=utcnow()))
        row = await tx.first(sa.select(servers).where(servers.c.id == server_id))
    assert row is not None
    return row


async def lock_server(nova: Nova, ctx: Context, server_id: str, reason: str | None) -> None:
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, "os_compute_api:os-lock-server:lock")
        if row.locked_by == "admin" and not nova.policy.check("context_is_admin", ctx.identity):
            raise ServerLocked(server_id=server_id)
        who = "owner" if row.project_id == ctx.project_id and row.user_id == ctx.user_id else "admin"
        await tx.execute(sa.update(servers).where(servers.c.id == server_id).values(
            locked_by=who, locked_reason=reason, updated_at=utcnow()))
        await record_action(tx, ctx, server_id, "lock")


async def unlock_server(nova: Nova, ctx: Context, server_id: str) -> None:
    """An admin's lock is undone by those alone who may override it."""
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, "os_compute_api:os-lock-server:unlock")
        if row.locked_by == "admin":
            nova.policy.enforce("os_compute_api:os-lock-server:unlock:unlock_override", ctx.identity, target(row))
        await tx.execute(sa.update(servers).where(servers.c.id == server_id).values(
            locked_by=None, locked_reason=None, updated_at=utcnow()))
        await record_action(tx, ctx, server_id, "unlock")


# ---- orders

async def wake(nova: Nova, ctx: Context) -> None:
    """Tell the conductor that an order was committed."""
    await nova.api_bus.cast(ctx, "conductor", "wake")


async def delete_server(nova: Nova, ctx: Context, server_id: str, *, force: bool = False) -> None:
    """Order the end of a server, in whatever state it is; ordering it twice is harmless."""
    rule = "os_compute_api:os-deferred-delete:force" if force else "os_compute_api:servers:delete"
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, rule)
        check_lock(nova, ctx, row)
        server_states.check_action("force_delete" if force else "delete", server_id, row.vm_state, row.task_state)
        if row.task_state == "deleting":
            return
        await record_action(tx, ctx, server_id, "delete")
        await nova.conductor.order_delete(tx, ctx, server_id)
    await wake(nova, ctx)


async def restore_server(nova: Nova, ctx: Context, server_id: str) -> None:
    """Bring a server back whose deletion is deferred: none is here (upstream's reclaim_instance_interval = 0), so this
    always raises, ServerStateConflict or what the server's own rules say first."""
    server = await get_server(nova, ctx, server_id, "os_compute_api:os-deferred-delete:restore")
    server_states.check_action("restore", server_id, server.vm_state, server.task_state)


async def inject_network_info(nova: Nova, ctx: Context, server_id: str) -> None:
    """Have the host look at the server's interfaces anew; nothing is written into the guest, as with upstream's
    libvirt driver."""
    server = await get_server(nova, ctx, server_id, "os_compute_api:os-admin-actions:inject_network_info")
    check_lock(nova, ctx, server)
    if server.host is not None:
        await nova.api_bus.cast(ctx, f"compute.{server.host}", "external_event", events=[
            {"name": "network-changed", "server_uuid": server_id}])


async def order(nova: Nova, ctx: Context, server_id: str, kind: str, task_state: TaskState | None, *, rule: str,
                action: str, record: str, data: dict[str, Any] | None = None, prepare: Prepare | None = None) -> str:
    """Order the operation `kind` of the conductor: allowed by `rule`, not locked, `action` allowed in the server's
    state (server_states.py); `record` is the name under which os-instance-actions shows it.  A null `task_state`
    leaves the server's as it is.  `prepare` checks more, writes what belongs to the order, in the same transaction,
    and returns more data.  Returns the operation's id.
    """
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, f"os_compute_api:{rule}")
        check_order(nova, ctx, row, action)
        if prepare is not None:
            data = {**(data or {}), **await prepare(tx, row)}
        await record_action(tx, ctx, server_id, record)
        operation_id = await nova.conductor.order(tx, ctx, server_id, kind, task_state, data)
    await wake(nova, ctx)
    return operation_id


def check_order(nova: Nova, ctx: Context, server: Server, action: str) -> None:
    """Whether `action` may be ordered of the server now: not locked, and in a state that allows it."""
    check_lock(nova, ctx, server)
    server_states.check_action(action, server.id, server.vm_state, server.task_state)


async def outcome(nova: Nova, ctx: Context, operation_id: str, timeout_s: float) -> dict[str, Any]:
    """Wait for an operation's end: what it left in its `data`, or its error raised.  Timeout: it goes on."""
    data: dict[str, Any] = await nova.api_bus.call(ctx, "conductor", "outcome", timeout_s=timeout_s,
                                                   operation_id=operation_id)
    return data


async def stop_server(nova: Nova, ctx: Context, server_id: str) -> None:
    """The power button, and the plug after a while."""
    await order(nova, ctx, server_id, "nova.stop", TaskState.POWERING_OFF, rule="servers:stop", action="stop",
                record="stop")


async def start_server(nova: Nova, ctx: Context, server_id: str) -> None:
    await order(nova, ctx, server_id, "nova.start", TaskState.POWERING_ON, rule="servers:start", action="start",
                record="start")


async def reboot_server(nova: Nova, ctx: Context, server_id: str, *, hard: bool) -> None:
    """Soft: the guest shuts down, then the machine starts.  Hard: the plug."""
    await order(nova, ctx, server_id, "nova.reboot", TaskState.REBOOTING_HARD if hard else TaskState.REBOOTING,
                rule="servers:reboot", action="hard_reboot" if hard else "soft_reboot", record="reboot",
                data={"hard": hard})


async def reset_state(nova: Nova, ctx: Context, server_id: str, vm_state: str) -> None:
    """An admin's order to believe that the server is `active` or in `error`; the conductor writes it."""
    server = await get_server(nova, ctx, server_id, "os_compute_api:os-admin-actions:reset_state")
    async with nova.db.write() as tx:
        await record_action(tx, ctx, server.id, "resetState")
        # the one state that an operator sets by hand: no operation owns it, so it is written here
        await tx.execute(sa.update(servers).where(servers.c.id == server.id).values(
            vm_state=vm_state, task_state=None, updated_at=utcnow(), generation=servers.c.generation + 1))


async def get_console_output(nova: Nova, ctx: Context, server_id: str, length: int | None) -> str:
    """The last `length` lines (all that is kept, when None) that the server wrote to its serial console."""
    server = await get_server(nova, ctx, server_id, "os_compute_api:os-console-output")
    server_states.check_action("get_console_output", server_id, server.vm_state, server.task_state)
    if not server.host:
        raise Conflict(f"Instance {server_id} is not ready: it is on no host.")
    output: str = await nova.api_bus.call(ctx, f"compute.{server.host}", "console_output", server_id=server_id,
                                          length=length)
    return output


async def get_diagnostics(nova: Nova, ctx: Context, server_id: str) -> dict[str, Any]:
    """What the host knows of a running server."""
    server = await get_server(nova, ctx, server_id, "os_compute_api:os-server-diagnostics")
    server_states.check_action("get_diagnostics", server_id, server.vm_state, server.task_state)
    found: dict[str, Any] = await nova.api_bus.call(ctx, f"compute.{server.host}", "diagnostics",
                                                    server_id=server_id)
    return found
