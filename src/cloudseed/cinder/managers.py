"""The bus to the managers: what cinder-api asks of those that have the bytes.

Every method is idempotent and takes JSON; a manager that is asked again while it works joins the work.  An answer
of Unavailable or Timeout means unknown: the durable step that asked, asks again.  Any other error is the reason
why it cannot be, in words for the user.  Who has the other end: cinder/volume and cinder/backup.
"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.bus import Bus
from cloudseed.kernel.context import Context

SHORT_S = 60.0  # a question
LONG_S = 900.0  # a copy of a volume; then asked again


class Managers:
    """Calls to `cinder-volume.<host>` and `cinder-backup.<host>`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def _volume(self, ctx: Context, host: str, method: str, timeout_s: float = SHORT_S, **arguments: Any) -> Any:
        return await self._bus.call(ctx, f"cinder-volume.{host}", method, timeout_s=timeout_s, **arguments)

    async def _backup(self, ctx: Context, host: str, method: str, timeout_s: float = LONG_S, **arguments: Any) -> Any:
        return await self._bus.call(ctx, f"cinder-backup.{host}", method, timeout_s=timeout_s, **arguments)

    async def create_volume(self, ctx: Context, host: str, volume_id: str, size_gib: int,
                            source: dict[str, Any] | None) -> dict[str, Any]:
        """{"size_bytes", "bootable", "image_metadata"}; `source`: {"kind": "snapshot"|"volume"|"image", "id"}."""
        answer: dict[str, Any] = await self._volume(ctx, host, "create_volume", LONG_S, volume_id=volume_id,
                                                    size_gib=size_gib, source=source)
        return answer

    async def delete_volume(self, ctx: Context, host: str, volume_id: str) -> None:
        await self._volume(ctx, host, "delete_volume", volume_id=volume_id)

    async def extend_volume(self, ctx: Context, host: str, volume_id: str, size_gib: int) -> None:
        await self._volume(ctx, host, "extend_volume", volume_id=volume_id, size_gib=size_gib)

    async def create_snapshot(self, ctx: Context, host: str, snapshot_id: str, volume_id: str) -> None:
        await self._volume(ctx, host, "create_snapshot", LONG_S, snapshot_id=snapshot_id, volume_id=volume_id)

    async def delete_snapshot(self, ctx: Context, host: str, snapshot_id: str, volume_id: str) -> None:
        await self._volume(ctx, host, "delete_snapshot", snapshot_id=snapshot_id, volume_id=volume_id)

    async def revert_to_snapshot(self, ctx: Context, host: str, volume_id: str, snapshot_id: str) -> None:
        await self._volume(ctx, host, "revert_to_snapshot", LONG_S, volume_id=volume_id, snapshot_id=snapshot_id)

    async def export(self, ctx: Context, host: str, volume_id: str, attachment_id: str, read_only: bool,
                     connector: dict[str, Any]) -> dict[str, Any]:
        """The connection_info that goes to whoever opens the volume."""
        answer: dict[str, Any] = await self._volume(ctx, host, "export", volume_id=volume_id,
                                                    attachment_id=attachment_id, read_only=read_only,
                                                    connector=connector)
        return answer

    async def unexport(self, ctx: Context, host: str, volume_id: str, attachment_id: str) -> None:
        await self._volume(ctx, host, "unexport", volume_id=volume_id, attachment_id=attachment_id)

    async def copy_to_image(self, ctx: Context, host: str, volume_id: str, image_id: str, disk_format: str,
                            container_format: str) -> None:
        await self._volume(ctx, host, "copy_to_image", LONG_S, volume_id=volume_id, image_id=image_id,
                           disk_format=disk_format, container_format=container_format)

    async def create_backup(self, ctx: Context, host: str, *, backup_id: str, volume_id: str, project_id: str,
                            container: str | None, parent: dict[str, str] | None, snapshot_id: str | None
                            ) -> dict[str, Any]:
        """{"object_count", "location", ...}; `parent`: {"id", "volume_id"} of the backup that this one adds to."""
        answer: dict[str, Any] = await self._backup(
            ctx, host, "create_backup", backup_id=backup_id, volume_id=volume_id, project_id=project_id,
            container=container, parent=parent, snapshot_id=snapshot_id)
        return answer

    async def restore_backup(self, ctx: Context, host: str, *, backup_id: str, volume_id: str, backup_volume_id: str,
                             project_id: str, container: str | None) -> None:
        """Into `volume_id`, whatever volume the backup is of."""
        await self._backup(ctx, host, "restore_backup", backup_id=backup_id, volume_id=volume_id,
                           backup_volume_id=backup_volume_id, project_id=project_id, container=container)

    async def delete_backup(self, ctx: Context, host: str, *, backup_id: str, volume_id: str, project_id: str,
                            container: str | None) -> None:
        await self._backup(ctx, host, "delete_backup", backup_id=backup_id, volume_id=volume_id,
                           project_id=project_id, container=container)
