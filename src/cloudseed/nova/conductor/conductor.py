"""The conductor's door: what nova-api orders in its own transactions, and what computes ask over the bus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import from_wire
from cloudseed.kernel.operations import OperationType
from cloudseed.kernel.operations.tables import OPEN
from cloudseed.nova import console_tokens
from cloudseed.nova.conductor.boot import Boot
from cloudseed.nova.conductor.delete import Delete
from cloudseed.nova.conductor.evacuation import Evacuation
from cloudseed.nova.conductor.heartbeats import Heartbeats
from cloudseed.nova.conductor.hosts import HostDesk
from cloudseed.nova.conductor.interfaces import Interfaces
from cloudseed.nova.conductor.live_migration import LiveMigration
from cloudseed.nova.conductor.on_host import Hosts
from cloudseed.nova.conductor.power import Power
from cloudseed.nova.conductor.rebuild import Rebuild
from cloudseed.nova.conductor.records import change, read_server
from cloudseed.nova.conductor.rescue import Rescue
from cloudseed.nova.conductor.resize import Resize
from cloudseed.nova.conductor.shelve import Shelve
from cloudseed.nova.conductor.snapshot import Snapshot
from cloudseed.nova.conductor.suspend import Suspend
from cloudseed.nova.conductor.volume_snapshots import VolumeSnapshots
from cloudseed.nova.conductor.volumes import Reservation, VolumeOperations, nothing
from cloudseed.nova.models import operation_tables
from cloudseed.nova.server_states import TaskState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class Conductor:
    """Orders and drives the operations of servers; topic `conductor`.

    The `order_` functions run inside the caller's write transaction, so that intent and record are one; after it
    the caller casts `wake` to this topic.
    """

    def __init__(self, nova: Nova) -> None:
        self._nova = nova
        hosts = Hosts(nova)
        self._boot = Boot(nova, hosts).type
        self._delete = Delete(nova, hosts).type
        self._desk = HostDesk(nova)
        self.heartbeats = Heartbeats(nova)
        self.reservation = Reservation(nova)
        volume_snapshots = VolumeSnapshots(nova, hosts)
        self.volume_snapshots = volume_snapshots.type
        self.types: list[OperationType] = [self._boot, self._delete, *Power(nova, hosts).types,
                                         *Resize(nova, hosts).types, *Shelve(nova, hosts).types,
                                         *Interfaces(nova, hosts).types,
                                         *Snapshot(nova, hosts).types, *Suspend(nova, hosts).types,
                                         *VolumeOperations(nova, hosts).types, self.reservation.type(nothing),
                                         volume_snapshots.type, volume_snapshots.unquiesce]
        self.types += [Rebuild(nova, hosts).type, *Rescue(nova, hosts).types, LiveMigration(nova, hosts).type,
                       Evacuation(nova, hosts).type]
        self._by_kind = {kind.kind: kind for kind in self.types}

    async def start(self) -> None:
        """Listen on the topic `conductor`."""
        self._nova.conductor_bus.serve("conductor", {
            "wake": self._wake, "outcome": self._outcome, "alive": self.heartbeats.alive, **self._desk.handlers()})

    async def _wake(self, ctx: Context) -> None:
        self._nova.engine.wake()

    async def _outcome(self, ctx: Context, operation_id: str) -> dict[str, Any]:
        """Wait until an operation is over: its data, or its error raised."""
        table, pause = operation_tables.operations, 0.01
        while True:
            async with self._nova.db.read() as tx:
                row = await tx.first(sa.select(table.c.status, table.c.data, table.c.error)
                                     .where(table.c.id == operation_id))
            if row is None or row.status == "done":
                return dict(row.data) if row is not None else {}
            if row.status not in OPEN:
                raise from_wire(row.error)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    async def order_boot(self, tx: Tx, ctx: Context, server_id: str, admin_password: str | None = None) -> None:
        """Boot a server that this transaction has written (vm_state building, task_state scheduling).

        `admin_password` goes onto its config drive, and is forgotten when the boot ends.
        """
        data = {"admin_password": admin_password} if admin_password is not None else {}
        await self._nova.engine.submit(tx, self._boot, server_id, data, ctx)

    async def order_delete(self, tx: Tx, ctx: Context, server_id: str) -> None:
        """Delete: whatever else is under way is cancelled and undone first; ordered twice it is one delete."""
        operations = operation_tables.operations
        under_way = await tx.scalar(sa.select(sa.func.count()).where(
            operations.c.resource_id == server_id, operations.c.kind == self._delete.kind,
            operations.c.status.in_(OPEN)))
        if under_way:
            return
        others = tuple(kind.kind for kind in self.types if kind is not self._delete)
        await self._nova.engine.cancel(tx, server_id, kinds=others)
        await self.order(tx, ctx, server_id, self._delete.kind, TaskState.DELETING)

    async def order(self, tx: Tx, ctx: Context, server_id: str, kind: str, task_state: TaskState | None,
                    data: dict[str, Any] | None = None) -> str:
        """Order an operation of `types` on a server whose state this transaction has checked; returns its id."""
        if task_state is not None:
            data = {**(data or {}), "task_state": task_state.value}
            await change(tx, await read_server(tx, server_id), task_state=task_state.value)
            await console_tokens.forget(tx, server_id, task_state)
        return await self._nova.engine.submit(tx, self._by_kind[kind], server_id, data or {}, ctx)
