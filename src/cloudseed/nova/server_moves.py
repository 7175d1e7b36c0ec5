"""Orders to move servers to other hosts: cold, live, or away from a host that is down; and what is asked of a live
migration while it runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import CloudseedError, Forbidden, Invalid, NotFound, Timeout
from cloudseed.nova import server_states, servers
from cloudseed.nova.migration_records import Migration, new_migration
from cloudseed.nova.models import migrations, services
from cloudseed.nova.server_create import new_password
from cloudseed.nova.server_states import TaskState, VmState
from cloudseed.nova.servers import COMPUTES, Server
from cloudseed.nova.services import alive_since, is_up

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

WAIT_S = 60.0  # how long old microversions wait for a live migration to begin
PROGRESS_TIMEOUT_S = 3.0


class InvalidMigrationState(Invalid):
    template = ("Migration %(migration_id)s state of instance %(server_id)s is %(state)s. Cannot %(method)s while the "
                "migration is in this state.")


class LiveOrder(msgspec.Struct, kw_only=True):
    """A live migration as ordered.  `forced`: the host is taken without asking the filters; `wait`: return only when
    it has begun, or raise why not."""

    host: str | None = None
    block_migration: bool | None = None  # null: as its disks need it
    forced: bool = False
    wait: bool = False


class EvacuateOrder(msgspec.Struct, kw_only=True):
    """`stopped`: the server is off there, whatever it was (2.95)."""

    host: str | None = None
    forced: bool = False
    stopped: bool = False
    admin_password: str | None = None


async def migrate_server(nova: Nova, ctx: Context, server_id: str, host: str | None) -> None:
    """Order the server's move to another host, `host` if one is named; the user then confirms or reverts it."""
    rule = f"os-migrate-server:migrate{':host' if host else ''}"
    server = await servers.get_server(nova, ctx, server_id, f"os_compute_api:{rule}")
    servers.check_order(nova, ctx, server, "migrate")
    if host:
        await _check_known(nova, host)
        if host == server.host:
            raise Invalid("Cannot migrate to the host where the server exists.")

    async def prepare(tx: Tx, row: Server) -> dict[str, Any]:
        return {"migration": await new_migration(tx, ctx, row, "migration", row.flavor), "host": host}

    await servers.order(nova, ctx, server_id, "nova.migrate", TaskState.RESIZE_PREP, rule=rule, action="migrate",
                        record="migrate", prepare=prepare)


async def live_migrate_server(nova: Nova, ctx: Context, server_id: str, order: LiveOrder) -> None:
    """Order the move of a server that runs on meanwhile."""
    rule = f"os-migrate-server:migrate_live{':host' if order.host else ''}"
    server = await servers.get_server(nova, ctx, server_id, f"os_compute_api:{rule}")
    servers.check_order(nova, ctx, server, "live_migrate")
    if order.host:
        await _check_known(nova, order.host)
        if order.host == server.host:
            raise Invalid(f"Unable to migrate instance ({server.id}) to current host ({order.host}).")
    made = ""

    async def prepare(tx: Tx, row: Server) -> dict[str, Any]:
        nonlocal made
        made = await new_migration(tx, ctx, row, "live-migration", row.flavor)
        return {"migration": made, "host": order.host, "forced": order.forced,
                "block_migration": order.block_migration}

    operation_id = await servers.order(nova, ctx, server_id, "nova.live_migrate", TaskState.MIGRATING, rule=rule,
                                       action="live_migrate", record="live-migration", prepare=prepare)
    if order.wait:
        await _until_begun(nova, ctx, made, operation_id)


async def _until_begun(nova: Nova, ctx: Context, migration: str, operation_id: str) -> None:
    """Return when the migration's checks are over.  Invalid with what they found."""
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                async with nova.db.read() as tx:
                    status = await tx.scalar(sa.select(migrations.c.status).where(migrations.c.uuid == migration))
                if status in ("error", "cancelled"):
                    break
                if status not in ("accepted", "preparing"):
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        return  # it goes on; whoever wants to know looks at the migration
    try:
        await servers.outcome(nova, ctx, operation_id, WAIT_S)
    except (Timeout, Forbidden):
        raise
    except CloudseedError as exc:
        raise Invalid(exc.message) from exc


async def evacuate_server(nova: Nova, ctx: Context, server_id: str, order: EvacuateOrder) -> str:
    """Order that a server of a host that is down is built anew elsewhere; its guest's password."""
    server = await servers.get_server(nova, ctx, server_id, "os_compute_api:os-evacuate")
    servers.check_order(nova, ctx, server, "evacuate")
    if order.host:
        if not await _is_compute(nova, order.host):
            raise NotFound(f"Compute host {order.host} not found.")
        if order.host == server.host:
            raise Invalid("The target host can't be the same one.")
    await _check_down(nova, server)
    password = order.admin_password or new_password()

    async def prepare(tx: Tx, row: Server) -> dict[str, Any]:
        return {"migration": await new_migration(tx, ctx, row, "evacuation", row.flavor), "host": order.host,
                "forced": order.forced, "admin_password": password,
                "start": row.vm_state != VmState.STOPPED and not order.stopped}

    await servers.order(nova, ctx, server_id, "nova.evacuate", TaskState.REBUILDING, rule="os-evacuate",
                        action="evacuate", record="evacuate", prepare=prepare)
    return password


async def _check_down(nova: Nova, server: Server) -> None:
    """The server's host does not run its machine any more, as far as anybody can tell."""
    if server.host is None:
        raise Invalid(f"Server {server.id} is on no host: there is nothing to evacuate it from.")
    async with nova.db.read() as tx:
        mine = await tx.first(COMPUTES.where(services.c.host == server.host))
    if mine is not None and is_up(mine, alive_since(nova)):
        raise Invalid(f"Compute service of {server.host} is still in use.")


async def _is_compute(nova: Nova, host: str) -> bool:
    async with nova.db.read() as tx:
        return await tx.first(COMPUTES.where(services.c.host == host)) is not None


async def _check_known(nova: Nova, host: str) -> None:
    if not await _is_compute(nova, host):
        raise Invalid(f"Compute host {host} could not be found.")


# ---- a live migration that runs

async def abort(nova: Nova, ctx: Context, server_id: str, migration: Migration, *, early: bool) -> None:
    """Have the guest stay where it is.  `early`: also before it is being sent.  InvalidMigrationState when it is
    too late."""
    async with nova.db.write() as tx:
        row = await servers.find_server(nova, tx, ctx, server_id, "os_compute_api:servers:migrations:delete")
        await _check_under_way(nova, tx, ctx, row, migration, "abort live migration",
                               ("running", "accepted", "preparing") if early else ("running",))
        await servers.record_action(tx, ctx, server_id, "live_migration_cancel")
        await nova.engine.cancel(tx, server_id, kinds=("nova.live_migrate",))
    await servers.wake(nova, ctx)


async def force_complete(nova: Nova, ctx: Context, server_id: str, migration: Migration) -> None:
    """Let the guest stand still, so that the rest of it goes at once."""
    async with nova.db.write() as tx:
        row = await servers.find_server(nova, tx, ctx, server_id, "os_compute_api:servers:migrations:force_complete")
        await _check_under_way(nova, tx, ctx, row, migration, "force complete", ("running",))
        await servers.record_action(tx, ctx, server_id, "live_migration_force_complete")
    await nova.api_bus.cast(ctx, f"compute.{migration.source_host}", "hurry_live", server_id=server_id)


async def _check_under_way(nova: Nova, tx: Tx, ctx: Context, row: Server, migration: Migration, method: str,
                           statuses: tuple[str, ...]) -> None:
    servers.check_lock(nova, ctx, row)
    server_states.check_action(method.replace(" ", "_"), row.id, row.vm_state, row.task_state)
    status = await tx.scalar(sa.select(migrations.c.status).where(migrations.c.uuid == migration.uuid))
    if status not in statuses:
        raise InvalidMigrationState(migration_id=migration.id, server_id=row.id, state=status, method=method)


async def progress(nova: Nova, ctx: Context, migration: Migration) -> dict[str, int | None]:
    """How far its host says that it is, in bytes by {memory,disk}_{total,processed,remaining}_bytes; nulls when it
    says nothing."""
    found: dict[str, Any] | None = None
    if migration.status == "running":
        try:
            found = await nova.api_bus.call(ctx, f"compute.{migration.source_host}", "live_progress",
                                            timeout_s=PROGRESS_TIMEOUT_S, server_id=migration.server_id)
        except CloudseedError:
            pass
    names = [f"{what}_{part}_bytes" for what in ("memory", "disk") for part in ("total", "processed", "remaining")]
    return {name: (found or {}).get(name) for name in names}
