"""The backup manager: what it is asked over the bus, and its report.

Everything may be asked twice, as of the volume manager.  It reads and writes the volumes of its own host.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from cloudseed.cinder.backup.objects import BackupObjects
from cloudseed.cinder.backup.work import BackupWork
from cloudseed.cinder.volume.backend import Backend, VolumeHost
from cloudseed.cinder.volume.jobs import Jobs
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.periodic import Loop
from cloudseed.kernel.runtime import Environment, Service

PART = "cinder-backup"
API_TOPIC = "cinder-api"


class BackupManager:
    """Backups of this host's volumes."""

    def __init__(self, env: Environment, host: VolumeHost) -> None:
        self.name = env.config.host
        self._bus = env.bus(PART)
        self._session = env.session(PART, "cinder")
        self._work = BackupWork(Backend(host, self.name))
        self._jobs = Jobs()
        self._unsubscribe: Callable[[], None] | None = None
        self.loops = [Loop(f"cinder-backup {self.name}: report", self.report, env.config.report_interval_s)]

    async def start(self) -> None:
        """Listen."""
        handlers: dict[str, Callable[..., Awaitable[Any]]] = {
            "create_backup": self.create_backup, "restore_backup": self.restore_backup,
            "delete_backup": self.delete_backup}
        self._unsubscribe = self._bus.serve(f"cinder-backup.{self.name}", handlers)

    async def stop(self) -> None:
        """Listen no more; what is under way is given up, and begun anew when it is asked for again."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        await self._jobs.stop()

    async def create_backup(self, ctx: Context, backup_id: str, volume_id: str, project_id: str,
                            container: str | None = None, parent: dict[str, Any] | None = None,
                            snapshot_id: str | None = None) -> dict[str, Any]:
        """{"object_count", "size" (GiB), "stored_bytes", "location"}.  `parent`: {"id", "volume_id"}."""
        objects = BackupObjects(self._session, project_id, container)
        answer: dict[str, Any] = await self._jobs.join(
            f"create backup {backup_id}",
            lambda: self._work.create(ctx, objects, backup_id, volume_id, snapshot_id, parent))
        return answer

    async def restore_backup(self, ctx: Context, backup_id: str, volume_id: str, backup_volume_id: str,
                             project_id: str, container: str | None = None) -> None:
        """`volume_id`: where to; `backup_volume_id`: the volume that the backup is of."""
        objects = BackupObjects(self._session, project_id, container)
        await self._jobs.join(f"restore backup {backup_id} to {volume_id}", lambda: self._work.restore(
            ctx, objects, backup_id, backup_volume_id, volume_id))

    async def delete_backup(self, ctx: Context, backup_id: str, volume_id: str, project_id: str,
                            container: str | None = None) -> None:
        """Remove all that there is of it, also of one that was never finished."""
        await self._jobs.settled(f"create backup {backup_id}")
        objects = BackupObjects(self._session, project_id, container)
        await self._jobs.join(f"delete backup {backup_id}",
                              lambda: self._work.delete(ctx, objects, backup_id, volume_id))

    async def report(self) -> None:
        """That it is there."""
        await self._bus.call(Context(), API_TOPIC, "report_state", host=self.name, binary=PART, capabilities={})


def build(env: Environment) -> Service:
    """The manager of this process's host; none where there is no host to ask."""
    if not isinstance(env.host, VolumeHost):
        return Service(PART)
    manager = BackupManager(env, env.host)

    async def ready() -> None:
        """Known from the first request on; a failure is made good by the loop."""
        with contextlib.suppress(CloudseedError):
            await manager.report()

    return Service(PART, loops=manager.loops, start=manager.start, ready=ready, stop=manager.stop, handle=manager)
