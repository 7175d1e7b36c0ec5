"""What is done to a volume, step by step: the durable operations behind create, delete, extend and their like.

    create    schedule -> bytes -> finish             undone: the bytes go; the volume is left in `error`
    delete    exports -> snapshots -> bytes -> forget  cannot be undone: `error_deleting` says that it stopped
    extend    bytes -> finish -> tell                  `error_extending`
    revert    bytes -> finish                          `error`
    reimage   erase -> bytes -> finish                 `error`
    upload    copy -> finish                           undone: the image goes; the volume is as before

Each failure leaves a user message.  The record's status is this work's rendering: whoever else wants to change it
must find a volume at rest.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa

from cloudseed.cinder import messages, volumes
from cloudseed.cinder.errors import VolumeNotFound
from cloudseed.cinder.models import attachments, snapshots, volume_image_metadata
from cloudseed.cinder.models import volumes as table
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volume_states import move, release, set_status, settle
from cloudseed.cinder.volumes import Volume
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import CloudseedError, NotFound
from cloudseed.kernel.operations import OperationType, Run, Step

COPY_PATIENCE_S = 3600.0  # a copy of many GiB, and a manager that starts again meanwhile
PATIENCE_S = 300.0

# Filled by `register`: the tables are needed before there is a cinder, to be ordered by name.
CREATE = OperationType("cinder.create", ())
DELETE = OperationType("cinder.delete", ())
EXTEND = OperationType("cinder.extend", ())
REVERT = OperationType("cinder.revert", ())
REIMAGE = OperationType("cinder.reimage", ())
UPLOAD = OperationType("cinder.upload", ())


class VolumeWork:
    """The steps, bound to a cinder."""

    def __init__(self, cinder: Cinder) -> None:
        self._cinder = cinder

    def types(self) -> list[OperationType]:
        step, fail = Step, self._failed
        return [
            CREATE._replace(steps=(
                step("schedule", self.schedule),
                step("bytes", self.create_bytes, self.undo_create_bytes, COPY_PATIENCE_S),
                step("finish", self.finish_create)), failed=self.create_failed),
            DELETE._replace(steps=(
                step("exports", self.delete_exports, patience_s=PATIENCE_S),
                step("snapshots", self.delete_snapshots, patience_s=PATIENCE_S),
                step("bytes", self.delete_bytes, patience_s=PATIENCE_S),
                step("forget", self.forget)), failed=self.delete_failed),
            EXTEND._replace(steps=(
                step("bytes", self.extend_bytes, patience_s=PATIENCE_S),
                step("finish", self.finish_extend),
                step("tell", self.tell_nova)), failed=self.extend_failed),
            REVERT._replace(steps=(
                step("bytes", self.revert_bytes, patience_s=COPY_PATIENCE_S),
                step("finish", self.finish_revert)), failed=self.revert_failed),
            REIMAGE._replace(steps=(
                step("erase", self.delete_bytes, patience_s=PATIENCE_S),
                step("bytes", self.create_bytes, patience_s=COPY_PATIENCE_S),
                step("finish", self.finish_reimage)), failed=fail("reimage volume", "error")),
            UPLOAD._replace(steps=(
                step("copy", self.copy_to_image, self.undo_copy_to_image, COPY_PATIENCE_S),
                step("finish", self.finish_back)), failed=fail("copy volume to image", None)),
        ]

    async def _volume(self, run: Run) -> Volume:
        async with self._cinder.db.read() as tx:
            volume = await volumes.read(tx, run.resource_id)
        if volume is None:
            raise VolumeNotFound(volume_id=run.resource_id)
        return volume

    def _failed(self, action: str, status: str | None) -> Callable[[Run, CloudseedError], Awaitable[None]]:
        """Render a failure: `status`, or (None) the one from before; and a message."""

        async def failed(run: Run, error: CloudseedError) -> None:
            async with self._cinder.db.write() as tx:
                volume = await volumes.read(tx, run.resource_id)
                if volume is None or volume.status != run.data.get("working", volume.status):
                    return  # deleted by force meanwhile
                await set_status(tx, volume.id, status or run.data["back_to"], previous_status=None)
                await settle(tx, volume.id)  # an error state stays
                await messages.add(tx, run.ctx, volume.project_id, action, "VOLUME", volume.id, error.message,
                                   operation_id=run.id)

        return failed

    # ---- create

    async def schedule(self, run: Run) -> None:
        volume = await self._volume(run)
        host = volume.host or run.data.get("host")
        if host is None:
            host = await self._cinder.bus.call(run.ctx, "cinder-scheduler", "choose_host", size=run.data["size"],
                                               zone=run.data["zone"], extra_specs=run.data["extra_specs"])
        run.data["host"] = host
        async with self._cinder.db.write() as tx:
            await tx.execute(sa.update(table).where(table.c.id == run.resource_id).values(host=host))

    async def create_bytes(self, run: Run) -> None:
        run.data["made"] = await self._cinder.managers.create_volume(
            run.ctx, run.data["host"], run.resource_id, run.data["size"], run.data["source"])

    async def undo_create_bytes(self, run: Run) -> None:
        await self._cinder.managers.delete_volume(run.ctx, run.data["host"], run.resource_id)

    async def finish_create(self, run: Run) -> None:
        made = run.data.get("made") or {}
        bootable = bool(run.data["bootable"] or made.get("bootable"))
        async with self._cinder.db.write() as tx:
            if await move(tx, run.resource_id, ["creating"], "available", bootable=bootable):
                await self._remember_image(tx, run.resource_id, made.get("image_metadata"))

    async def _remember_image(self, tx: Tx, volume_id: str, found: dict[str, Any] | None) -> None:
        if found is None:
            return
        known = set(await tx.scalars(sa.select(volume_image_metadata.c.key)
                                     .where(volume_image_metadata.c.volume_id == volume_id)))
        for key, value in found.items():
            if key not in known and value is not None:
                await tx.execute(sa.insert(volume_image_metadata).values(volume_id=volume_id, key=key[:255],
                                                                         value=str(value)))

    async def create_failed(self, run: Run, error: CloudseedError) -> None:
        scheduled = run.data.get("host") is not None
        async with self._cinder.db.write() as tx:
            volume = await volumes.read(tx, run.resource_id)
            if volume is not None and await move(tx, run.resource_id, ["creating"], "error"):
                from_image = scheduled and (run.data["source"] or {}).get("kind") == "image"
                action = "copy image to volume" if from_image else \
                    "create volume from backend storage" if scheduled else "schedule allocate volume"
                await messages.add(tx, run.ctx, volume.project_id, action, "VOLUME", volume.id, error.message,
                                   operation_id=run.id)

    # ---- delete

    async def delete_exports(self, run: Run) -> None:
        async with self._cinder.db.read() as tx:
            rows = await tx.all(sa.select(attachments.c.id).where(attachments.c.volume_id == run.resource_id))
        if run.data["host"] is not None:
            for row in rows:
                await self._cinder.managers.unexport(run.ctx, run.data["host"], run.resource_id, row.id)
        async with self._cinder.db.write() as tx:
            await tx.execute(sa.delete(attachments).where(attachments.c.volume_id == run.resource_id))

    async def delete_snapshots(self, run: Run) -> None:
        """Those that were ordered to go with the volume."""
        for snapshot_id in run.data["snapshots"]:
            await self._cinder.managers.delete_snapshot(run.ctx, run.data["host"], snapshot_id, run.resource_id)
            async with self._cinder.db.write() as tx:
                await tx.execute(sa.delete(snapshots).where(snapshots.c.id == snapshot_id))

    async def delete_bytes(self, run: Run) -> None:
        if run.data["host"] is not None:
            await self._cinder.managers.delete_volume(run.ctx, run.data["host"], run.resource_id)

    async def forget(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            await tx.execute(sa.delete(table).where(table.c.id == run.resource_id))

    async def delete_failed(self, run: Run, error: CloudseedError) -> None:
        async with self._cinder.db.write() as tx:
            volume = await volumes.read(tx, run.resource_id)
            if volume is None:
                return
            await set_status(tx, volume.id, "error_deleting")
            await tx.execute(sa.update(snapshots).where(snapshots.c.id.in_(run.data["snapshots"]))
                             .values(status="error_deleting", updated_at=utcnow()))
            await messages.add(tx, run.ctx, volume.project_id, "delete volume", "VOLUME", volume.id, error.message,
                               operation_id=run.id)

    # ---- extend

    async def extend_bytes(self, run: Run) -> None:
        await self._cinder.managers.extend_volume(run.ctx, run.data["host"], run.resource_id, run.data["size"])

    async def finish_extend(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            await release(tx, run.resource_id, "extending", run.data["back_to"], size=run.data["size"],
                          growing_to=None)

    async def tell_nova(self, run: Run) -> None:
        """Servers that have the volume see its new size at once; a nova that is away does not undo the growth."""
        async with self._cinder.db.read() as tx:
            servers = await tx.scalars(sa.select(attachments.c.instance_uuid).where(
                attachments.c.volume_id == run.resource_id, attachments.c.attach_status == "attached",
                attachments.c.instance_uuid.is_not(None)))
        if not servers:
            return
        events = [{"name": "volume-extended", "server_uuid": server, "tag": run.resource_id} for server in servers]
        try:
            await self._cinder.session.request(run.ctx, "compute", "POST", "/v2.1/os-server-external-events",
                                               json={"events": events}, microversion="compute 2.51", timeout_s=20.0)
        except CloudseedError as exc:
            run.data["nova"] = exc.message

    async def extend_failed(self, run: Run, error: CloudseedError) -> None:
        async with self._cinder.db.write() as tx:
            volume = await volumes.read(tx, run.resource_id)
            if volume is None:
                return
            await move(tx, volume.id, ["extending"], "error_extending", growing_to=None)
            await messages.add(tx, run.ctx, volume.project_id, "extend volume", "VOLUME", volume.id, error.message,
                               operation_id=run.id)

    # ---- revert, reimage, upload

    async def finish_back(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            await release(tx, run.resource_id, run.data["working"], run.data["back_to"])

    async def finish_revert(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            await move(tx, run.resource_id, ["reverting"], "available")
            await self._release_snapshot(tx, run)

    async def _release_snapshot(self, tx: Tx, run: Run) -> None:
        await tx.execute(sa.update(snapshots).where(snapshots.c.id == run.data["snapshot_id"],
                                                    snapshots.c.status == "restoring")
                         .values(status="available", status_since=time.time()))

    async def revert_failed(self, run: Run, error: CloudseedError) -> None:
        async with self._cinder.db.write() as tx:
            await self._release_snapshot(tx, run)
        await self._failed("revert volume to snapshot", "error")(run, error)

    async def revert_bytes(self, run: Run) -> None:
        await self._cinder.managers.revert_to_snapshot(run.ctx, run.data["host"], run.resource_id,
                                                       run.data["snapshot_id"])

    async def finish_reimage(self, run: Run) -> None:
        async with self._cinder.db.write() as tx:
            if await release(tx, run.resource_id, "downloading", run.data["back_to"], bootable=True):
                await volumes.replace_pairs(tx, volume_image_metadata, run.resource_id, run.data["image_metadata"])

    async def copy_to_image(self, run: Run) -> None:
        await self._cinder.managers.copy_to_image(run.ctx, run.data["host"], run.resource_id, run.data["image_id"],
                                                  run.data["disk_format"], run.data["container_format"])

    async def undo_copy_to_image(self, run: Run) -> None:
        """The image that was made for this upload; protection was the order's own."""
        path = f"/v2/images/{run.data['image_id']}"
        try:
            image = await self._cinder.session.get_json(run.ctx, "image", path)
            if image["protected"]:
                await self._cinder.session.request(
                    run.ctx, "image", "PATCH", path, body=b'[{"op": "replace", "path": "/protected", "value": false}]',
                    headers={"Content-Type": "application/openstack-images-v2.1-json-patch"})
            await self._cinder.session.request(run.ctx, "image", "DELETE", path)
        except NotFound:
            return
