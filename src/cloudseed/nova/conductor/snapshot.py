"""createImage and createBackup: the server's disk becomes an image; a backup's older ones go.

A snapshot that fails leaves no image, and the server as it was.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cloudseed.kernel.errors import CloudseedError, NotFound
from cloudseed.kernel.operations import Cancelled, OperationType, Run, Step
from cloudseed.nova.conductor.image_of_server import ImageOfServer
from cloudseed.nova.conductor.on_host import Hosts
from cloudseed.nova.conductor.records import add_fault, change, end_event, read_server

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)
SNAPSHOT_EVENT, BACKUP_EVENT = "compute_snapshot_instance", "compute_backup_instance"


class Snapshot:
    """The operations snapshot and backup."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self.types = [
            OperationType("nova.snapshot", (
                *ImageOfServer(nova, hosts, SNAPSHOT_EVENT).steps, Step("finish", self.finish)), failed=self.failed),
            OperationType("nova.backup", (
                *ImageOfServer(nova, hosts, BACKUP_EVENT).steps, Step("rotate", self.rotate),
                Step("finish", self.finish)), failed=self.failed)]

    async def rotate(self, run: Run) -> None:
        """Delete the oldest backups of this type that are more than `rotation`.  Those of the user's project alone
        count: anybody may write any server's id into an image."""
        session, wanted = self._nova.conductor_session, run.data
        found = await session.get_json(run.ctx, "image", "/v2/images", params={
            "image_type": "backup", "backup_type": wanted["backup_type"], "instance_uuid": run.resource_id,
            "owner": run.ctx.project_id, "sort": "created_at:desc", "limit": 1000})
        for image in found["images"][wanted["rotation"]:]:
            try:
                await session.request(run.ctx, "image", "DELETE", f"/v2/images/{image['id']}")
            except NotFound:
                pass
            except CloudseedError as exc:
                if exc.retry:
                    raise
                log.warning("backup %s of server %s stays: %s", image["id"], run.resource_id, exc.message)

    async def finish(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            await change(tx, await read_server(tx, run.resource_id), task_state=None)
            await end_event(tx, run, self._event(run))

    async def failed(self, run: Run, error: CloudseedError) -> None:
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await change(tx, row, task_state=None)
            if not isinstance(error, Cancelled):
                await add_fault(tx, row.id, error)
            await end_event(tx, run, self._event(run), error)

    @staticmethod
    def _event(run: Run) -> str:
        return BACKUP_EVENT if run.kind == "nova.backup" else SNAPSHOT_EVENT
