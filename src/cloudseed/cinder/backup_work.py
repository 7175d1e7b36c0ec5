"""What is done to a backup, step by step.

    backup create    bytes -> finish              undone: its objects go; the backup is left in `error`
    backup delete    bytes -> forget              `error_deleting`
    backup restore   volume -> bytes -> finish    the volume is left in `error_restoring`, a new one without bytes
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from cloudseed.cinder import messages, volumes
from cloudseed.cinder.models import backups as table
from cloudseed.cinder.models import snapshots
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volume_states import move, release
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.operations import OperationType, Run, Step

CREATE = OperationType("cinder.backup.create", ())
DELETE = OperationType("cinder.backup.delete", ())
RESTORE = OperationType("cinder.backup.restore", ())
COPY_PATIENCE_S, PATIENCE_S = 3600.0, 300.0


async def _set(tx: Tx, backup_id: str, old: str, new: str, **values: Any) -> bool:
    changed = await tx.execute(sa.update(table).where(table.c.id == backup_id, table.c.status == old)
                               .values(status=new, status_since=time.time(), updated_at=utcnow(), **values))
    return changed.rowcount == 1


class BackupWork:
    """The steps, bound to a cinder."""

    def __init__(self, cinder: Cinder) -> None:
        self._cinder = cinder

    def types(self) -> list[OperationType]:
        return [
            CREATE._replace(steps=(Step("bytes", self.make, self.remove, COPY_PATIENCE_S),
                                   Step("finish", self.finish_create)), failed=self.create_failed),
            DELETE._replace(steps=(Step("bytes", self.remove, patience_s=PATIENCE_S), Step("forget", self.forget)),
                            failed=self.delete_failed),
            RESTORE._replace(steps=(Step("volume", self.make_volume, self.remove_volume, PATIENCE_S),
                                    Step("bytes", self.restore, patience_s=COPY_PATIENCE_S),
                                    Step("finish", self.finish_restore)), failed=self.restore_failed)]

    async def make(self, run: Run) -> None:
        run.data["made"] = await self._cinder.managers.create_backup(
            run.ctx, run.data["host"], backup_id=run.resource_id,
            **{name: run.data[name] for name in ("volume_id", "project_id", "container", "parent", "snapshot_id")})

    async def remove(self, run: Run) -> None:
        if run.data["host"] is not None:
            await self._cinder.managers.delete_backup(
                run.ctx, run.data["host"], backup_id=run.resource_id,
                **{name: run.data[name] for name in ("volume_id", "project_id", "container")})

    async def _release_source(self, tx: Tx, run: Run) -> None:
        """What was backed up may be worked on again."""
        if run.data["snapshot_id"] is not None:
            await tx.execute(sa.update(snapshots).where(snapshots.c.id == run.data["snapshot_id"],
                                                        snapshots.c.status == "backing-up")
                             .values(status="available", status_since=time.time()))
        else:
            await release(tx, run.data["volume_id"], "backing-up", run.data["back_to"])

    async def finish_create(self, run: Run) -> None:
        made = run.data["made"]
        async with self._cinder.db.write() as tx:
            await self._release_source(tx, run)
            await _set(tx, run.resource_id, "creating", "available", object_count=made.get("object_count", 0),
                       location=made.get("location"))

    async def create_failed(self, run: Run, error: CloudseedError) -> None:
        async with self._cinder.db.write() as tx:
            await self._release_source(tx, run)
            await self._failed(tx, run, run.resource_id, "creating", "error", "create backup", error)

    async def forget(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            await tx.execute(sa.delete(table).where(table.c.id == run.resource_id))

    async def delete_failed(self, run: Run, error: CloudseedError) -> None:
        async with self._cinder.db.write() as tx:
            await self._failed(tx, run, run.resource_id, "deleting", "error_deleting", "delete backup", error)

    async def _failed(self, tx: Tx, run: Run, backup_id: str, old: str, new: str, action: str, error: CloudseedError
                      ) -> None:
        if await _set(tx, backup_id, old, new, fail_reason=error.message):
            project_id = await tx.scalar(sa.select(table.c.project_id).where(table.c.id == backup_id))
            await messages.add(tx, run.ctx, project_id, action, "VOLUME_BACKUP", backup_id, error.message,
                               operation_id=run.id)

    # ---- restore: the operation is the volume's

    async def make_volume(self, run: Run) -> None:
        if run.data["new"]:
            await self._cinder.managers.create_volume(run.ctx, run.data["host"], run.resource_id, run.data["size"],
                                                      None)

    async def remove_volume(self, run: Run) -> None:
        if run.data["new"]:
            await self._cinder.managers.delete_volume(run.ctx, run.data["host"], run.resource_id)

    async def restore(self, run: Run) -> None:
        await self._cinder.managers.restore_backup(
            run.ctx, run.data["host"], volume_id=run.resource_id,
            **{name: run.data[name] for name in ("backup_id", "backup_volume_id", "project_id", "container")})

    async def finish_restore(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            await move(tx, run.resource_id, ["restoring-backup"], "available")
            await _set(tx, run.data["backup_id"], "restoring", "available")

    async def restore_failed(self, run: Run, error: CloudseedError) -> None:
        async with self._cinder.db.write() as tx:
            await _set(tx, run.data["backup_id"], "restoring", "available", fail_reason=error.message)
            volume = await volumes.read(tx, run.resource_id)
            if volume is not None and await move(tx, run.resource_id, ["restoring-backup"], "error_restoring"):
                await messages.add(tx, run.ctx, volume.project_id, "restore backup", "VOLUME", volume.id,
                                   error.message, operation_id=run.id)
