"""Deleting a server: in whatever state it is, and with its host down too.

    machine       its host ends the machine and gives its ports back
    ports         whoever made them: what a host that is gone has left
    volumes       its attachments end, and the volumes that should end with it
    allocations   its claim is released
    finish        the record is marked deleted

A running boot was cancelled by the order (its undo ran first).  Nothing here is undone: a delete that fails is
ordered again.  What a host that is down still has, its reconciler removes when it is back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloudseed.kernel.db import utcnow
from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.operations import OperationType, Run, Step
from cloudseed.nova.conductor.boot_volumes import BootVolumes
from cloudseed.nova.conductor.on_host import HostGone, Hosts
from cloudseed.nova.conductor.records import (
    Server,
    add_fault,
    begin_event,
    change,
    end_event,
    load_server,
    load_spec,
    read_server,
)
from cloudseed.nova.conductor.shelve import delete_shelved_image
from cloudseed.nova.migration_records import FINAL
from cloudseed.nova.models import migrations
from cloudseed.nova.server_states import PowerState, VmState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

_OPEN = migrations.c.status.not_in(FINAL)
_OPEN_MOVES = sa.select(migrations.c.uuid, migrations.c.source_host, migrations.c.dest_host).where(
    migrations.c.server_id == sa.bindparam("this"), _OPEN)
_CLOSE_MOVES = sa.update(migrations).where(migrations.c.server_id == sa.bindparam("server"), _OPEN)
EVENT = "compute_terminate_instance"


class Delete:
    """The steps of a delete."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self._volumes = BootVolumes(nova, hosts)
        self.type = OperationType("nova.delete", (
            Step("machine", self.machine, patience_s=300), Step("ports", self.ports, patience_s=300),
            Step("volumes", self.volumes, patience_s=300),
            Step("image", self.image, patience_s=120),
            Step("allocations", self.allocations, patience_s=300), Step("finish", self.finish)), failed=self.failed)

    async def machine(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await begin_event(tx, run, EVENT, row.host)
        run.data["ports_left"] = True
        if row.host is None:
            return
        spec = await load_spec(self._nova, run.resource_id)
        try:
            await self._hosts.ask(run, row.host, "destroy", given_ports=spec.given_ports)
            run.data["ports_left"] = False
        except HostGone:
            pass
        for host in await self._other_hosts(row):
            try:
                await self._hosts.ask(run, host, "remove_machine")
            except HostGone:
                pass  # its reconciler removes it

    async def _other_hosts(self, row: Server) -> list[str]:
        """Where a move that is not over, such as a resize that waits for its user, has left something."""
        async with self._nova.db.read() as tx:
            moves = await tx.all(_OPEN_MOVES, {"this": row.id})
        hosts = {host for move in moves for host in (move.source_host, move.dest_host)}
        return sorted(host for host in hosts if host is not None and host != row.host)

    async def ports(self, run: Run) -> None:
        if run.data["ports_left"]:
            spec = await load_spec(self._nova, run.resource_id)
            await self._hosts.release_ports(run, spec.given_ports)

    async def volumes(self, run: Run) -> None:
        await self._volumes.release(run)

    async def image(self, run: Run) -> None:
        """What a shelved server was put away as."""
        await delete_shelved_image(self._nova, run, await load_server(self._nova, run.resource_id))

    async def allocations(self, run: Run) -> None:
        await self._nova.conductor_bus.call(run.ctx, "scheduler", "release", server_id=run.resource_id)
        async with self._nova.db.read() as tx:
            moves = [move.uuid for move in await tx.all(_OPEN_MOVES, {"this": run.resource_id})]
        for consumer in moves:  # what a resize held of the server's earlier size
            await self._nova.conductor_bus.call(run.ctx, "scheduler", "release", server_id=consumer)

    async def finish(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            now = utcnow()
            if row.deleted_at is None:
                await change(tx, row, vm_state=VmState.DELETED.value, task_state=None, deleted_at=now,
                             terminated_at=now, power_state=PowerState.NOSTATE.value, network_info=[])
            await tx.execute(_CLOSE_MOVES, {"server": run.resource_id, "status": "confirmed", "updated_at": now})
            await end_event(tx, run, EVENT)

    async def failed(self, run: Run, error: CloudseedError) -> None:
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            # no longer `deleting`, so that the user may order it again; set past `change`, which would keep it
            await change(tx, row, vm_state=VmState.ERROR.value, task_state=None, deleted_at=None)
            await add_fault(tx, row.id, error)
            await end_event(tx, run, EVENT, error)
