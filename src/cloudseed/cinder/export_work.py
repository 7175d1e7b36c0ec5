"""Connecting and disconnecting an attachment, as durable operations.

    connect       export -> record     undone: the export goes; the attachment is as it was before
    disconnect    unexport -> forget   cannot be undone: the attachment stays `detaching` and can be deleted again

The order settles what happens when a deletion meets a connection that is being made: `record` finds the attachment
gone or detaching, and the export that was made too late is removed by its undo.
"""

from __future__ import annotations

import time

import sqlalchemy as sa

from cloudseed.cinder.errors import ResourceConflict
from cloudseed.cinder.models import attachments as table
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volume_states import settle
from cloudseed.kernel.db import utcnow
from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.operations import OperationType, Run, Step

CONNECT = OperationType("cinder.connect", ())
DISCONNECT = OperationType("cinder.disconnect", ())
PATIENCE_S = 45.0  # nova waits for the answer


class ExportWork:
    """The steps, bound to a cinder.  `connect`, `disconnect`: the operation types, for `engine.run_here`."""

    def __init__(self, cinder: Cinder) -> None:
        self._cinder = cinder
        self.connect = CONNECT._replace(steps=(Step("export", self.export, self.undo_export, PATIENCE_S),
                                               Step("record", self.record)), failed=self.connect_failed)
        self.disconnect = DISCONNECT._replace(steps=(Step("unexport", self.unexport, patience_s=PATIENCE_S),
                                                     Step("forget", self.forget)))

    def types(self) -> list[OperationType]:
        return [self.connect, self.disconnect]

    async def export(self, run: Run) -> None:
        run.data["info"] = await self._cinder.managers.export(
            run.ctx, run.data["host"], run.data["volume_id"], run.resource_id, run.data["read_only"],
            run.data["connector"])

    async def undo_export(self, run: Run) -> None:
        if not run.data["had"]:  # else it was exported before this operation, and still is
            await self._cinder.managers.unexport(run.ctx, run.data["host"], run.data["volume_id"], run.resource_id)

    async def record(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            kept = await tx.execute(sa.update(table).where(table.c.id == run.resource_id,
                                                           table.c.attach_status.in_(("attaching", "attached")))
                                    .values(connection_info=run.data["info"], updated_at=utcnow()))
        if kept.rowcount == 0:
            raise ResourceConflict(reason=f"attachment {run.resource_id} was deleted while it was being connected")

    async def connect_failed(self, run: Run, error: CloudseedError) -> None:
        if run.data["had"]:
            return
        async with self._cinder.db.write() as tx:
            await tx.execute(sa.update(table).where(table.c.id == run.resource_id,
                                                    table.c.attach_status == "attaching")
                             .values(attach_status=run.data["before"], status_since=time.time(), connector=None,
                                     connection_info=None, attached_host=None, updated_at=utcnow()))
            await settle(tx, run.data["volume_id"])

    async def unexport(self, run: Run) -> None:
        if run.data["exported"] and run.data["host"] is not None:
            await self._cinder.managers.unexport(run.ctx, run.data["host"], run.data["volume_id"], run.resource_id)

    async def forget(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            await tx.execute(sa.delete(table).where(table.c.id == run.resource_id))
            await settle(tx, run.data["volume_id"])
