"""Resize and cold migration: another flavor or another host, on trial until the user confirms it or goes back.

resize, migrate
          claim     what the server had in placement is the migration's; a host is claimed besides
                                                                        undo: the server has the old claim again
          stop      the machine is off                                  undo: it runs again, if it did
          networks  (moved) its ports are bound to the new host         undo: to the old one
          volumes   (moved) its volumes are connected there             undo: to the old one
          disks     those of the new flavor, on its host; the old ones are kept
                                                                        undo: the old ones are back
          flavor    the record has the new flavor, and the new host     undo: the old ones
          start     the machine runs, if it did                         undo: it is off
          finish    the server waits for the user (VERIFY_RESIZE)
confirm   disks     the old ones go, and with them the whole machine of a host that was left
          claim     the migration's claim is released
          finish    the server is what it was, in its new size
revert    stop, networks, volumes, disks, claim, flavor, start: as the undo of each; finish

A resize stays on its host when that has room, which saves the way for the disks; a migration never does.  A confirm
or revert that fails leaves the server waiting, and can be ordered again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.db import utcnow
from cloudseed.kernel.errors import CloudseedError, Conflict, NotFound
from cloudseed.kernel.operations import Cancelled, OperationType, Run, Step
from cloudseed.nova.compute.errors import HostFailed
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.moving import Migration, Moving, change_migration, disk_spec, required
from cloudseed.nova.conductor.on_host import HostGone, Hosts
from cloudseed.nova.conductor.power import SOFT_TIMEOUT_S
from cloudseed.nova.conductor.records import Server, add_fault, begin_event, change, end_event
from cloudseed.nova.scheduler.errors import NoValidHost
from cloudseed.nova.server_states import PowerState, TaskState, VmState, check_action

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)
DISKS_PATIENCE_S = 6 * 3600.0
EVENTS = {"nova.resize": "compute_resize_instance", "nova.confirm_resize": "compute_confirm_resize",
          "nova.revert_resize": "compute_revert_resize", "nova.migrate": "compute_migrate_server"}
FORWARD = ("nova.resize", "nova.migrate")


class Resize:
    """The operations of resize and cold migration; `data["migration"]` is the migration's uuid."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self._moving = Moving(nova, hosts)
        steps = (
            Step("claim", self._claim, self._give_back, patience_s=120),
            Step("stop", self._stop, self._undo_stop, patience_s=240),
            Step("networks", self._bring_ports, self._return_ports, patience_s=180),
            Step("volumes", self._bring_volumes, self._return_volumes, patience_s=240),
            Step("disks", self._make_disks, self._old_disks, patience_s=DISKS_PATIENCE_S),
            Step("flavor", self._new_flavor, self._old_flavor),
            Step("start", self._start, self._undo_start, patience_s=600),
            Step("finish", self._finish))
        self.types = [
            OperationType("nova.resize", steps, failed=self._failed),
            OperationType("nova.migrate", steps, failed=self._failed),
            OperationType("nova.confirm_resize", (
                Step("disks", self._drop_kept, patience_s=240), Step("claim", self._release, patience_s=120),
                Step("finish", self._settle)), failed=self._undecided),
            OperationType("nova.revert_resize", (
                Step("stop", self._stop, patience_s=240), Step("networks", self._return_ports, patience_s=180),
                Step("volumes", self._return_volumes, patience_s=240),
                Step("claim", self._give_back, patience_s=120), Step("flavor", self._old_flavor),
                Step("disks", self._old_disks, patience_s=DISKS_PATIENCE_S),
                Step("start", self._start, patience_s=600), Step("finish", self._settle)), failed=self._undecided)]

    # ---- claims

    async def _claim(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row, migration = await self._moving.begin(tx, run)
            await begin_event(tx, run, EVENTS[run.kind], row.host)
            await change_migration(tx, run, status="pre-migrating")
        check_action(run.kind.removeprefix("nova."), row.id, row.vm_state, None)
        old, new = migration.old_flavor, migration.new_flavor
        if row.image_id and (new["disk"] < old["disk"] or (new.get("ephemeral") or 0) < (old.get("ephemeral") or 0)):
            raise Conflict("Resize error: Unable to resize disk down.")
        if not await self._hosts.is_up(migration.source_host):
            raise HostFailed(host=migration.source_host, doing=f"let server {row.id} go",
                             reason="it does not report in")
        await self._moving.hold(run)
        spec, here = spec_from_row(row, new), migration.source_host
        if run.kind == "nova.migrate":
            destination = {"host": run.data["host"]} if run.data.get("host") else None
            await self._moving.choose(run, row, spec, destination, [here])
            return
        try:
            await self._moving.choose(run, row, spec, {"host": here}, [])
        except NoValidHost as full:
            try:
                await self._moving.choose(run, row, spec, None, [here])
            except NoValidHost:
                raise full from None

    async def _give_back(self, run: Run) -> None:
        await self._moving.give_back(run)

    async def _release(self, run: Run) -> None:
        await self._moving.release(run)

    # ---- the machine

    async def _stop(self, run: Run) -> None:
        row = await self._enter(run, TaskState.RESIZE_MIGRATING, status="migrating")
        await self._hosts.require(run, row, "power_off", soft_timeout_s=SOFT_TIMEOUT_S)
        if run.kind in FORWARD:  # what an earlier one, whose host was lost midway, may have left
            await self._hosts.require(run, row, "drop_kept_disks")

    async def _undo_stop(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        if migration.old_vm_state == VmState.ACTIVE and row.task_state != TaskState.DELETING:
            method = "start_returned" if _moved(migration) else "power_on"
            try:
                await self._undo(run, _home(run, row, migration), method, spec=encode_spec(spec_from_row(row)))
            except NotFound as exc:  # trying again would bring nothing back
                log.error("server %s cannot run again on %s: %s", row.id, _home(run, row, migration), exc.message)
                run.data["source_lost"] = True

    async def _bring_ports(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        if _moved(migration):
            with required(f"bind the ports of server {row.id}"):
                await self._moving.bring_ports(run, migration.dest_host, "arrive_ports",
                                               start=migration.old_vm_state == VmState.ACTIVE)

    async def _return_ports(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        if _moved(migration):
            start = migration.old_vm_state == VmState.ACTIVE and row.task_state != TaskState.DELETING
            await self._moving.return_ports(run, _home(run, row, migration), start=start)

    async def _bring_volumes(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        if _moved(migration):
            with required(f"connect the volumes of server {row.id}"):
                await self._moving.bring_volumes(run, migration.dest_host, "arrive_volumes")

    async def _return_volumes(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        if _moved(migration):
            await self._moving.return_volumes(run, _home(run, row, migration))

    async def _make_disks(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        spec = encode_spec(spec_from_row(row, migration.new_flavor))
        if _moved(migration):
            await self._send(run, row, migration, spec)
        else:
            await self._hosts.require(run, row, "resize_disks", spec=spec)
        await self._enter(run, TaskState.RESIZE_MIGRATED, status="post-migrating")

    async def _send(self, run: Run, row: Server, migration: Migration, spec: dict[str, Any]) -> None:
        """The disks as they are, then in their new sizes."""
        as_it_is, there = encode_spec(disk_spec(row, migration.old_flavor)), migration.dest_host
        with required(f"take the disks of server {row.id}"):
            door = await self._hosts.ask(run, there, "receive_disks", spec=as_it_is)
        with required(f"send the disks of server {row.id}"):
            await self._hosts.ask(run, migration.source_host, "send_disks", spec=as_it_is, door=door)
        with required(f"settle the disks of server {row.id}"):
            await self._hosts.ask(run, there, "settle_disks", spec=spec)

    async def _old_disks(self, run: Run) -> None:
        """The new ones go; the old ones are there again."""
        row, migration = await self._moving.load(run)
        if _moved(migration):
            if run.kind in FORWARD:
                await self._undo(run, migration.source_host, "stop_sending")
            await self._moving.remove_machine(run, migration.dest_host)
        elif run.kind in FORWARD:
            await self._undo(run, migration.source_host, "restore_disks")
        else:
            await self._hosts.require(run, row, "restore_disks")

    async def _drop_kept(self, run: Run) -> None:
        row = await self._enter(run, None, status="confirming")
        _, migration = await self._moving.load(run)
        if _moved(migration):
            await self._moving.remove_machine(run, migration.source_host)
        else:
            await self._hosts.require(run, row, "drop_kept_disks")

    async def _start(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        if migration.old_vm_state != VmState.ACTIVE:
            return
        if not _moved(migration):
            await self._hosts.require(run, row, "power_on", spec=encode_spec(spec_from_row(row)))
            return
        method = "start_arrived" if run.kind in FORWARD else "start_returned"
        run.data["vifs"] = await self._hosts.require(run, row, method, spec=encode_spec(spec_from_row(row)))

    async def _undo_start(self, run: Run) -> None:
        row, _ = await self._moving.load(run)
        await self._undo(run, row.host, "power_off", soft_timeout_s=0)

    # ---- the record

    async def _new_flavor(self, run: Run) -> None:
        await self._set_flavor(run, "new_flavor", TaskState.RESIZE_FINISH)

    async def _old_flavor(self, run: Run) -> None:
        await self._set_flavor(run, "old_flavor", TaskState.RESIZE_REVERTING if run.kind == "nova.revert_resize"
                               else TaskState.RESIZE_MIGRATED)

    async def _set_flavor(self, run: Run, which: str, task_state: TaskState) -> None:
        async with self._nova.db.write() as tx:
            row, migration = await self._moving.read(tx, run)
            flavor, side = getattr(migration, which), "dest" if which == "new_flavor" else "source"
            await change(tx, row, flavor=flavor, flavor_id=flavor["id"], vcpus=flavor["vcpus"],
                         memory_mb=flavor["ram"], disk_gb=flavor["disk"] + (flavor.get("ephemeral") or 0),
                         host=getattr(migration, f"{side}_host"), node=getattr(migration, f"{side}_node"),
                         task_state=task_state.value)

    async def _finish(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row, migration = await self._moving.read(tx, run)
            await change(tx, row, vm_state=VmState.RESIZED.value, task_state=None, launched_at=utcnow(),
                         power_state=_power(migration), network_info=run.data.pop("vifs", row.network_info))
            await change_migration(tx, run, status="finished")
            await end_event(tx, run, EVENTS[run.kind])

    async def _settle(self, run: Run) -> None:
        """The user has decided: the server is what it was before."""
        async with self._nova.db.write() as tx:
            row, migration = await self._moving.read(tx, run)
            await change(tx, row, vm_state=migration.old_vm_state, task_state=None, power_state=_power(migration),
                         network_info=run.data.pop("vifs", row.network_info))
            await change_migration(tx, run, status="confirmed" if run.kind == "nova.confirm_resize" else "reverted")
            await end_event(tx, run, EVENTS[run.kind])

    async def _failed(self, run: Run, error: CloudseedError) -> None:
        """All is undone: the server is what it was, and shows why.  One whose host was lost on the way back is in
        doubt."""
        async with self._nova.db.write() as tx:
            row, _ = await self._moving.read(tx, run)
            in_doubt = {"vm_state": VmState.ERROR.value} if run.data.get("source_lost") else {}
            await change(tx, row, task_state=None, **in_doubt)
            await change_migration(tx, run, status="error")
            if not isinstance(error, Cancelled):
                await add_fault(tx, row.id, error)
            await end_event(tx, run, EVENTS[run.kind], error)

    async def _undecided(self, run: Run, error: CloudseedError) -> None:
        """The server still waits for the user, who can order it again."""
        async with self._nova.db.write() as tx:
            row, _ = await self._moving.read(tx, run)
            await change(tx, row, task_state=None)
            if run.kind == "nova.confirm_resize":
                await change_migration(tx, run, status="finished")
            if not isinstance(error, Cancelled):
                await add_fault(tx, row.id, error)
            await end_event(tx, run, EVENTS[run.kind], error)

    # ---- shared

    async def _enter(self, run: Run, task_state: TaskState | None, status: str) -> Server:
        """Begin a part: its task state, the migration's status, the event."""
        async with self._nova.db.write() as tx:
            row, _ = await self._moving.read(tx, run)
            await begin_event(tx, run, EVENTS[run.kind], row.host)
            if run.kind in FORWARD and task_state is not None:
                await change(tx, row, task_state=task_state.value)
            await change_migration(tx, run, status="reverting" if run.kind == "nova.revert_resize" else status)
        return row

    async def _undo(self, run: Run, host: str, method: str, **arguments: Any) -> None:
        """As `Hosts.ask`; a host that is gone does not hold up what follows, such as a delete."""
        try:
            await self._hosts.ask(run, host, method, **arguments)
        except HostGone:
            _, migration = await self._moving.load(run)
            if host == migration.source_host or host != migration.dest_host:
                run.data["source_lost"] = True


def _moved(migration: Migration) -> bool:
    """Whether it goes to another host; one that was undone before a host was chosen does not."""
    return migration.dest_host is not None and migration.dest_host != migration.source_host


def _home(run: Run, row: Server, migration: Migration) -> str:
    """Where the machine is again once it is undone: until a revert has written it, the record names the other host."""
    return str(row.host if run.kind in FORWARD and row.host is not None else migration.source_host)


def _power(migration: Migration) -> int:
    on = migration.old_vm_state == VmState.ACTIVE
    return (PowerState.RUNNING if on else PowerState.SHUTDOWN).value
