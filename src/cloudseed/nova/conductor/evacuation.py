"""Evacuation: the servers of a host that is down are built anew on another, under their names and addresses.

    claim     a host is chosen and claimed; what the server had is the migration's      undo: it is the server's
    volumes   its attachments end, which ends the dead host's way to them; new ones are connected to the new host
                                                                                        undo: connected nowhere
    networks  its ports are bound there                                                 undo: to the old host
    disks     its own disks are made there, from its image                              undo: removed
    host      the record says: there                                                    undo: here
    start     the machine runs, if it did
    finish    the migration's claim is released

What the server had on its own disks is lost, as the API's reference says; what is on its volumes is not.  The dead
host may run on unseen: its volumes are taken from it before anybody else gets them, and when it is back it removes
the machine that is no longer its own (compute/reconcile.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudseed.kernel.db import utcnow
from cloudseed.kernel.errors import CloudseedError, Invalid
from cloudseed.kernel.operations import Cancelled, OperationType, Run, Step
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.moving import Moving, change_migration, required
from cloudseed.nova.conductor.on_host import Hosts
from cloudseed.nova.conductor.records import add_fault, begin_event, change, end_event
from cloudseed.nova.conductor.remake import running_or_off
from cloudseed.nova.errors import ServerNotFound
from cloudseed.nova.server_states import ServerStateConflict, VmState, check_action

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

EVENT = "compute_rebuild_instance"
IMAGE_PATIENCE_S = 3600.0


class HostInUse(Invalid):
    """When its turn came, the server was on a host that is up: that came back, or an earlier move had ended well."""


NEEDLESS = (Cancelled, HostInUse, ServerNotFound, ServerStateConflict)  # said of it before anything is done


class Evacuation:
    """`data`: "migration", its uuid; "host"?, "forced"?, what was asked for; "start"; "admin_password"?"""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self._moving = Moving(nova, hosts)
        self.type = OperationType("nova.evacuate", (
            Step("claim", self._claim, self._give_back, patience_s=120),
            Step("volumes", self._volumes, self._undo_volumes, patience_s=240),
            Step("networks", self._networks, self._undo_networks, patience_s=180),
            Step("disks", self._disks, self._undo_disks, patience_s=IMAGE_PATIENCE_S),
            Step("host", self._new_host, self._old_host),
            Step("start", self._start, patience_s=600),
            Step("finish", self._finish, patience_s=120)), failed=self._failed)

    async def _claim(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row, migration = await self._moving.begin(tx, run)
            await begin_event(tx, run, EVENT, row.host)
            await change_migration(tx, run, status="pre-migrating")
        if row.deleted_at is not None:  # that was ordered first
            raise ServerNotFound(server_id=row.id)
        check_action("evacuate", row.id, row.vm_state, None)
        if row.vm_state == VmState.STOPPED:  # perhaps only since the order
            run.data["start"] = False
        if await self._hosts.is_up(migration.source_host):  # it came back, and its machine may run
            raise HostInUse(f"Compute service of {migration.source_host} is still in use.")
        await self._moving.hold(run)
        wanted = run.data.get("host")
        destination = {"host": wanted, "forced": bool(run.data.get("forced"))} if wanted else None
        await self._moving.choose(run, row, spec_from_row(row), destination, [migration.source_host])

    async def _give_back(self, run: Run) -> None:
        await self._moving.give_back(run)

    async def _volumes(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        with required(f"connect the volumes of server {row.id}"):
            await self._moving.bring_volumes(run, migration.dest_host, "arrive_volumes")

    async def _undo_volumes(self, run: Run) -> None:
        _, migration = await self._moving.load(run)
        await self._moving.return_volumes(run, migration.source_host)

    async def _networks(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        with required(f"bind the ports of server {row.id}"):
            await self._moving.bring_ports(run, migration.dest_host, "arrive_ports", start=run.data["start"])

    async def _undo_networks(self, run: Run) -> None:
        _, migration = await self._moving.load(run)
        await self._moving.return_ports(run, migration.source_host, start=False)

    async def _disks(self, run: Run) -> None:
        row, migration = await self._moving.load(run)
        with required(f"make the disks of server {row.id}"):
            await self._hosts.ask(run, migration.dest_host, "prepare_disks", spec=encode_spec(spec_from_row(row)),
                                  admin_password=run.data.get("admin_password"))

    async def _undo_disks(self, run: Run) -> None:
        _, migration = await self._moving.load(run)
        await self._moving.remove_machine(run, migration.dest_host)

    async def _new_host(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row, migration = await self._moving.read(tx, run)
            await change(tx, row, host=migration.dest_host, node=migration.dest_node)

    async def _old_host(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row, migration = await self._moving.read(tx, run)
            await change(tx, row, host=migration.source_host, node=migration.source_node)

    async def _start(self, run: Run) -> None:
        row, _ = await self._moving.load(run)
        if run.data["start"]:
            run.data["vifs"] = await self._hosts.require(run, row, "start_arrived",
                                                         spec=encode_spec(spec_from_row(row)))

    async def _finish(self, run: Run) -> None:
        run.data.pop("admin_password", None)
        await self._moving.release(run)
        async with self._nova.db.write() as tx:
            row, _ = await self._moving.read(tx, run)
            vifs = run.data.pop("vifs", row.network_info)
            await change(tx, row, task_state=None, launched_at=utcnow(), progress=0, network_info=vifs,
                         **running_or_off(run.data["start"]))
            await change_migration(tx, run, status="done")
            await end_event(tx, run, EVENT)

    async def _failed(self, run: Run, error: CloudseedError) -> None:
        """It is where it was, on a host that is down: in error, until that is back or somebody tries again.

        On a host that is up it is left as it is, and so is one that is no longer what can be evacuated: nothing was
        done to it, and nothing needs to be.
        """
        run.data.pop("admin_password", None)
        async with self._nova.db.write() as tx:
            row, _ = await self._moving.read(tx, run)
            cancelled = isinstance(error, Cancelled)
            values = {} if isinstance(error, NEEDLESS) else {"vm_state": VmState.ERROR.value}
            await change(tx, row, task_state=None, **values)
            await change_migration(tx, run, status="cancelled" if cancelled else "error")
            if not cancelled:
                await add_fault(tx, row.id, error)
            await end_event(tx, run, EVENT, error)
