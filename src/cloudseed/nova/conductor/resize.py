"""Resize: another flavor on the same host, on trial until the user confirms it or goes back.

resize    claim     what the server had in placement is the migration's, the new flavor is claimed besides
                                                                        undo: the server has the old claim again
          stop      the machine is off                                  undo: it runs again, if it did
          disks     those of the new flavor; the old ones are kept      undo: the old ones are back
          flavor    the record has the new flavor                       undo: the old one
          start     the machine runs, if it did                         undo: it is off
          finish    the server waits for the user (VERIFY_RESIZE)
confirm   disks     the old ones go
          claim     the migration's claim is released
          finish    the server is what it was, in its new size
revert    stop, disks, claim, flavor, start: as the undo of each; finish

A confirm or revert that fails leaves the server waiting, and can be ordered again.  Moving to another host needs
the disks there: until that exists, a migration finds no valid host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import CloudseedError, Conflict
from cloudseed.kernel.operations import Cancelled, OperationType, Run, Step
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.boot import server_group
from cloudseed.nova.conductor.on_host import HostGone, Hosts
from cloudseed.nova.conductor.power import SOFT_TIMEOUT_S
from cloudseed.nova.conductor.records import Server, add_fault, begin_event, change, end_event, read_server
from cloudseed.nova.models import migrations
from cloudseed.nova.scheduler.errors import NoValidHost
from cloudseed.nova.server_states import PowerState, TaskState, VmState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

SCHEDULE_TIMEOUT_S = 60.0
DISKS_PATIENCE_S = 3600.0
EVENTS = {"nova.resize": "compute_resize_instance", "nova.confirm_resize": "compute_confirm_resize",
          "nova.revert_resize": "compute_revert_resize", "nova.migrate": "conductor_migrate_server"}
_BY_ID = sa.select(migrations).where(migrations.c.uuid == sa.bindparam("this"))


class Resize:
    """The operations of resize; `data["migration"]` is the migration's uuid."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self.types = [
            OperationType("nova.resize", (
                Step("claim", self._claim, self._give_back, patience_s=120),
                Step("stop", self._stop, self._undo_stop, patience_s=240),
                Step("disks", self._resize_disks, self._restore_disks, patience_s=DISKS_PATIENCE_S),
                Step("flavor", self._new_flavor, self._old_flavor),
                Step("start", self._start, self._undo_start, patience_s=240),
                Step("finish", self._finish)), failed=self._failed),
            OperationType("nova.confirm_resize", (
                Step("disks", self._drop_kept, patience_s=240), Step("claim", self._release, patience_s=120),
                Step("finish", self._settle)), failed=self._undecided),
            OperationType("nova.revert_resize", (
                Step("stop", self._stop, patience_s=240),
                Step("disks", self._restore_disks, patience_s=DISKS_PATIENCE_S),
                Step("claim", self._give_back, patience_s=120), Step("flavor", self._old_flavor),
                Step("start", self._start, patience_s=240), Step("finish", self._settle)), failed=self._undecided),
            OperationType("nova.migrate", (Step("claim", self._no_host),), failed=self._failed)]

    # ---- claims

    async def _claim(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row, migration = await self._read(tx, run)
            await begin_event(tx, run, EVENTS[run.kind], row.host)
            await _change_migration(tx, run, status="pre-migrating")
            group = await server_group(tx, row.id)
        old, new = migration.old_flavor, migration.new_flavor
        if row.image_id and (new["disk"] < old["disk"] or (new.get("ephemeral") or 0) < (old.get("ephemeral") or 0)):
            raise Conflict("Resize error: Unable to resize disk down.")
        await self._scheduler(run, "hold")
        spec = spec_from_row(row, migration.new_flavor)
        await self._nova.conductor_bus.call(
            run.ctx, "scheduler", "select_destination", timeout_s=SCHEDULE_TIMEOUT_S, server_id=row.id,
            spec=encode_spec(spec), destination={"host": row.host}, hints={}, group=group, excluded=[])

    async def _give_back(self, run: Run) -> None:
        await self._scheduler(run, "give_back")

    async def _release(self, run: Run) -> None:
        await self._nova.conductor_bus.call(run.ctx, "scheduler", "release", server_id=run.data["migration"])

    async def _scheduler(self, run: Run, method: str) -> None:
        await self._nova.conductor_bus.call(run.ctx, "scheduler", method, timeout_s=SCHEDULE_TIMEOUT_S,
                                            server_id=run.resource_id, migration_id=run.data["migration"])

    async def _no_host(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row, _ = await self._read(tx, run)
            await begin_event(tx, run, EVENTS[run.kind], row.host)
        raise NoValidHost(reason=f"Server {row.id} has its disks on host {row.host}, and no other host can take them.")

    # ---- the machine

    async def _stop(self, run: Run) -> None:
        row = await self._enter(run, {"nova.resize": TaskState.RESIZE_MIGRATING}, status="migrating")
        await self._hosts.require(run, row, "power_off", soft_timeout_s=SOFT_TIMEOUT_S)
        if run.kind == "nova.resize":  # what an earlier one, whose host was lost midway, may have left
            await self._hosts.require(run, row, "drop_kept_disks")

    async def _undo_stop(self, run: Run) -> None:
        row, migration = await self._load(run)
        if migration.old_vm_state == VmState.ACTIVE and row.task_state != TaskState.DELETING:
            await self._undo(run, row, "power_on", spec=encode_spec(spec_from_row(row)))

    async def _resize_disks(self, run: Run) -> None:
        row, migration = await self._load(run)
        spec = spec_from_row(row, migration.new_flavor)
        await self._hosts.require(run, row, "resize_disks", spec=encode_spec(spec))
        await self._enter(run, {"nova.resize": TaskState.RESIZE_MIGRATED}, status="post-migrating")

    async def _restore_disks(self, run: Run) -> None:
        row, _ = await self._load(run)
        if run.kind == "nova.resize":
            await self._undo(run, row, "restore_disks")
        else:
            await self._hosts.require(run, row, "restore_disks")

    async def _drop_kept(self, run: Run) -> None:
        row = await self._enter(run, {}, status="confirming")
        await self._hosts.require(run, row, "drop_kept_disks")

    async def _start(self, run: Run) -> None:
        row, migration = await self._load(run)
        if migration.old_vm_state == VmState.ACTIVE:
            await self._hosts.require(run, row, "power_on", spec=encode_spec(spec_from_row(row)))

    async def _undo_start(self, run: Run) -> None:
        row, _ = await self._load(run)
        await self._undo(run, row, "power_off", soft_timeout_s=0)

    # ---- the record

    async def _new_flavor(self, run: Run) -> None:
        await self._set_flavor(run, "new_flavor", TaskState.RESIZE_FINISH)

    async def _old_flavor(self, run: Run) -> None:
        await self._set_flavor(run, "old_flavor", TaskState.RESIZE_REVERTING if run.kind == "nova.revert_resize"
                               else TaskState.RESIZE_MIGRATED)

    async def _set_flavor(self, run: Run, which: str, task_state: TaskState) -> None:
        async with self._nova.db.write() as tx:
            row, migration = await self._read(tx, run)
            flavor = getattr(migration, which)
            await change(tx, row, flavor=flavor, flavor_id=flavor["id"], vcpus=flavor["vcpus"],
                         memory_mb=flavor["ram"], disk_gb=flavor["disk"] + (flavor.get("ephemeral") or 0),
                         task_state=task_state.value)

    async def _finish(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row, migration = await self._read(tx, run)
            await change(tx, row, vm_state=VmState.RESIZED.value, task_state=None, launched_at=utcnow(),
                         power_state=_power(migration))
            await _change_migration(tx, run, status="finished")
            await end_event(tx, run, EVENTS[run.kind])

    async def _settle(self, run: Run) -> None:
        """The user has decided: the server is what it was before."""
        async with self._nova.db.write() as tx:
            row, migration = await self._read(tx, run)
            await change(tx, row, vm_state=migration.old_vm_state, task_state=None, power_state=_power(migration))
            await _change_migration(tx, run, status="confirmed" if run.kind == "nova.confirm_resize" else "reverted")
            await end_event(tx, run, EVENTS[run.kind])

    async def _failed(self, run: Run, error: CloudseedError) -> None:
        """All is undone: the server is what it was, and shows why.  One whose host was lost on the way back is in
        doubt."""
        async with self._nova.db.write() as tx:
            row, _ = await self._read(tx, run)
            in_doubt = {"vm_state": VmState.ERROR.value} if run.data.get("host_lost") else {}
            await change(tx, row, task_state=None, **in_doubt)
            await _change_migration(tx, run, status="error")
            if not isinstance(error, Cancelled):
                await add_fault(tx, row.id, error)
            await end_event(tx, run, EVENTS[run.kind], error)

    async def _undecided(self, run: Run, error: CloudseedError) -> None:
        """The server still waits for the user, who can order it again."""
        async with self._nova.db.write() as tx:
            row, _ = await self._read(tx, run)
            await change(tx, row, task_state=None)
            if run.kind == "nova.confirm_resize":
                await _change_migration(tx, run, status="finished")
            if not isinstance(error, Cancelled):
                await add_fault(tx, row.id, error)
            await end_event(tx, run, EVENTS[run.kind], error)

    # ---- shared

    async def _read(self, tx: Tx, run: Run) -> tuple[Server, sa.Row[Any]]:
        migration = await tx.first(_BY_ID, {"this": run.data["migration"]})
        assert migration is not None  # written with the order
        return await read_server(tx, run.resource_id), migration

    async def _load(self, run: Run) -> tuple[Server, sa.Row[Any]]:
        async with self._nova.db.read() as tx:
            return await self._read(tx, run)

    async def _enter(self, run: Run, task_states: dict[str, TaskState], status: str) -> Server:
        """Begin a part: its task state, the migration's status, the event."""
        async with self._nova.db.write() as tx:
            row, _ = await self._read(tx, run)
            await begin_event(tx, run, EVENTS[run.kind], row.host)
            if run.kind in task_states:
                await change(tx, row, task_state=task_states[run.kind].value)
            await _change_migration(tx, run, status="reverting" if run.kind == "nova.revert_resize" else status)
        return row

    async def _undo(self, run: Run, row: Server, method: str, **arguments: Any) -> None:
        """As `Hosts.require`; a host that is gone does not hold up what follows, such as a delete."""
        try:
            await self._hosts.ask(run, row.host, method, **arguments)
        except HostGone:
            run.data["host_lost"] = True


async def _change_migration(tx: Tx, run: Run, **values: Any) -> None:
    await tx.execute(sa.update(migrations).where(migrations.c.uuid == run.data["migration"])
                     .values(updated_at=utcnow(), **values))


def _power(migration: sa.Row[Any]) -> int:
    on = migration.old_vm_state == VmState.ACTIVE
    return (PowerState.RUNNING if on else PowerState.SHUTDOWN).value
