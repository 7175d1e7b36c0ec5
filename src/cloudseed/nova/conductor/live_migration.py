"""Live migration: a guest goes to another host and hardly notices.

    claim     a host is chosen and claimed; what the server had is the migration's       undo: it is the server's
    networks  its ports are bound there too, and wait                                    undo: unbound there
    volumes   its volumes are connected there too                                        undo: disconnected there
    receive   a machine waits there, which stands still                                  undo: removed
    send      disks and memory are there; the guest stands still on both sides           undo: it goes on here
    switch    the record says: there.  From here there is no way back
    run       the guest goes on there, and the network sends to it
    clean     what is left on the source goes
    finish    the migration's claim is released

At every moment at most one of the two machines runs: the new one stands still until `run`, which comes only after
`switch` is on disk, and the old one goes on only by the undo of `send`, which never comes after `switch`.  So whoever
is killed at whatever point, the record says whose guest it is.  Should the destination be lost after `switch`, the
server is in error there: what it wrote to its volumes since must not meet an older memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.db import flush
from cloudseed.kernel.errors import CloudseedError, Invalid
from cloudseed.kernel.operations import Cancelled, OperationType, Run, Step
from cloudseed.nova import block_devices
from cloudseed.nova.compute.devices import BlockDevice, decode_devices
from cloudseed.nova.compute.spec import ServerSpec, encode_spec, spec_from_row
from cloudseed.nova.conductor.moving import Migration, Moving, change_migration, disk_spec, required
from cloudseed.nova.conductor.on_host import HostGone, Hosts
from cloudseed.nova.conductor.records import Server, add_fault, begin_event, change, end_event
from cloudseed.nova.models import operation_tables
from cloudseed.nova.server_states import VmState, check_action

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

EVENT = "conductor_live_migrate_instance"
SEND_PATIENCE_S = 24 * 3600.0


class LiveMigration:
    """`data`: "migration", its uuid; "host"?, "forced"?, what was asked for; "block_migration": true, false, "auto"."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self._moving = Moving(nova, hosts)
        self.type = OperationType("nova.live_migrate", (
            Step("claim", self._claim, self._give_back, patience_s=120),
            Step("networks", self._join_networks, self._leave_networks, patience_s=180),
            Step("volumes", self._join_volumes, self._leave_volumes, patience_s=240),
            Step("receive", self._receive, self._remove, patience_s=3600),
            Step("send", self._send, self._take_back, patience_s=SEND_PATIENCE_S),
            Step("switch", self._switch),
            Step("run", self._run, patience_s=240),
            Step("clean", self._clean, patience_s=240),
            Step("finish", self._finish, patience_s=120)), failed=self._failed)

    # ---- before anything moves

    async def _claim(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row, migration = await self._moving.begin(tx, run)
            await begin_event(tx, run, EVENT, row.host)
            await change_migration(tx, run, status="preparing")
        check_action("live_migrate", row.id, row.vm_state, None)
        source = migration.source_host
        if not await self._hosts.is_up(source):
            raise Invalid(f"Compute service of {source} is unavailable at this time.")
        await self._moving.hold(run)
        spec, wanted = spec_from_row(row), run.data.get("host")
        destination = {"host": wanted, "forced": bool(run.data.get("forced"))} if wanted else None
        await self._moving.choose(run, row, spec, destination, [source])
        if run.data.get("block_migration") is False and _has_local_disks(spec):
            raise Invalid(f"{source} is not on shared storage: Live migration can not be used without shared storage "
                          "except a booted from volume VM which does not have a local disk.")

    async def _give_back(self, run: Run) -> None:
        if not await self._is_switched(run):
            await self._moving.give_back(run)

    async def _join_networks(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        with required(f"bind the ports of server {row.id}"):
            await self._hosts.ask(run, migration.dest_host, "join_networks", ports=[v["id"] for v in row.network_info])

    async def _leave_networks(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        if not _switched(row, migration):
            await self._moving.leave_networks(run, row, migration.dest_host)

    async def _join_volumes(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        spec = spec_from_row(row)
        run.data["devices"] = []
        if spec.connected_volumes:
            with required(f"connect the volumes of server {row.id}"):
                run.data["devices"] = await self._hosts.ask(run, migration.dest_host, "join_volumes",
                                                            spec=encode_spec(spec))

    async def _leave_volumes(self, run: Run) -> None:
        if not await self._is_switched(run):
            await self._moving.one_attachment(run)

    async def _receive(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        with required(f"make room for server {row.id}"):
            run.data["door"] = await self._hosts.ask(run, migration.dest_host, "receive_live",
                                                     spec=encode_spec(_there(row, run)))

    async def _remove(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        if not _switched(row, migration):
            await self._moving.remove_machine(run, migration.dest_host)

    # ---- the guest goes

    async def _send(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row, migration = await self._moving.read(tx, run)
            await change_migration(tx, run, status="running")
        with required(f"send server {row.id}"):
            await self._hosts.ask(run, migration.source_host, "send_live", spec=encode_spec(spec_from_row(row)),
                                  door=run.data["door"])

    async def _take_back(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        if _switched(row, migration):
            return
        try:
            await self._hosts.ask(run, migration.source_host, "take_back", paused=_paused(migration))
        except HostGone:
            pass  # its guest stands still there until somebody looks, or it ended with its host

    async def _switch(self, run: Run) -> None:
        """The one write that decides whose guest it is; an abort that came before it wins."""
        async with self._nova.db.write() as tx:
            row, migration = await self._moving.read(tx, run)
            if not _switched(row, migration):
                if await _cancel_requested(tx, run):
                    raise Cancelled()
                await change(tx, row, host=migration.dest_host, node=migration.dest_node)
                await block_devices.change_devices(tx, row.id, decode_devices(run.data["devices"]))
                await change_migration(tx, run, status="post-migrating")
        await flush()

    async def _run(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        vifs = await self._hosts.require(run, row, "run_here", spec=encode_spec(spec_from_row(row)),
                                         paused=_paused(migration))
        run.data["vifs"] = vifs

    async def _clean(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        await self._moving.remove_machine(run, migration.source_host)
        await self._moving.one_attachment(run)
        await self._moving.leave_networks(run, row, migration.source_host)

    async def _finish(self, run: Run) -> None:
        await self._moving.release(run)
        async with self._nova.db.write() as tx:
            row, _ = await self._moving.read(tx, run)
            await change(tx, row, task_state=None, network_info=run.data.pop("vifs", row.network_info))
            await change_migration(tx, run, status="completed")
            await end_event(tx, run, EVENT)

    # ---- when it failed

    async def _failed(self, run: Run, error: CloudseedError) -> None:
        """The guest runs on where it was.  When it was lost after the switch, its server is in error there; a delete
        that came then finds what is left by the migration, which is open still."""
        row, migration = await self._moving.load(run)
        lost, cancelled = _switched(row, migration), isinstance(error, Cancelled)
        if lost and not cancelled:
            await self._moving.release(run)
            await self._moving.one_attachment(run)
        async with self._nova.db.write() as tx:
            row, migration = await self._moving.read(tx, run)
            values: dict[str, Any] = {"vm_state": VmState.ERROR.value} if lost and not cancelled else {}
            await change(tx, row, task_state=None, **values)
            if not (lost and cancelled):
                await change_migration(tx, run, status="cancelled" if cancelled else "error")
            if not cancelled:
                await add_fault(tx, row.id, error)
            await end_event(tx, run, EVENT, error)

    async def _is_switched(self, run: Run) -> bool:
        return _switched(*await self._moving.load(run))


def _switched(row: Server, migration: Migration) -> bool:
    return migration.dest_host is not None and bool(row.host == migration.dest_host)


def _paused(migration: Migration) -> bool:
    return bool(migration.old_vm_state == VmState.PAUSED)


def _has_local_disks(spec: ServerSpec) -> bool:
    return not spec.volume_backed or bool(spec.ephemeral_disks_gib) or bool(spec.swap_disk_mib)


def _there(row: Server, run: Run) -> ServerSpec:
    """The server with its volumes as the destination has them."""
    spec = disk_spec(row)
    joined: dict[str, BlockDevice] = {device.id: device for device in decode_devices(run.data["devices"])}
    return msgspec.structs.replace(spec, block_devices=[joined.get(d.id, d) for d in spec.block_devices])


async def _cancel_requested(tx: Any, run: Run) -> bool:
    table = operation_tables.operations
    return bool(await tx.scalar(sa.select(table.c.cancel_requested).where(table.c.id == run.id)))


