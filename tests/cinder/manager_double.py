"""A small volume manager for tests of cinder-api: what it holds outlives a restart, and it fails on demand."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.runtime import Environment, Service

HOST = "localhost"
IMAGE_METADATA: dict[str, str] = {}


class Manager:
    """What a host holds; one object is used over several starts of a cloud."""

    def __init__(self) -> None:
        self.volumes: dict[str, dict[str, Any]] = {}
        self.snapshots: dict[str, str] = {}  # id -> volume
        self.exports: dict[str, dict[str, Any]] = {}  # by attachment
        self.images: list[tuple[str, str]] = []
        self.backups: dict[str, dict[str, Any]] = {}
        self.failures: defaultdict[str, list[CloudseedError]] = defaultdict(list)  # by method
        self.hold: dict[str, asyncio.Event] = {}  # calls of that method wait
        self.held = 0
        self.calls: list[str] = []
        self.capabilities = {"volume_backend_name": "files", "free_capacity_gb": 500.0, "total_capacity_gb": 1000.0}

    def build(self, env: Environment) -> Service:
        bus, backup = env.bus("cinder-volume"), env.bus("cinder-backup")

        async def start() -> None:
            bus.serve(f"cinder-volume.{HOST}", {name: self._method(name) for name in (
                "create_volume", "delete_volume", "extend_volume", "create_snapshot", "delete_snapshot",
                "revert_to_snapshot", "export", "unexport", "copy_to_image")})
            backup.serve(f"cinder-backup.{HOST}", {name: self._method(name) for name in (
                "create_backup", "restore_backup", "delete_backup")})

        async def ready() -> None:
            for part, binary in ((bus, "cinder-volume"), (backup, "cinder-backup")):
                await part.call(Context(), "cinder-api", "report_state", host=HOST, binary=binary,
                                capabilities=self.capabilities)

        return Service("manager double", start=start, ready=ready)

    def _method(self, name: str) -> Any:
        async def method(ctx: Context, **arguments: Any) -> Any:
            self.calls.append(name)
            if name in self.hold:
                self.held += 1
                await self.hold[name].wait()
                self.held -= 1
            while name.startswith("delete_") and self.held:  # as real managers do: what undoes must not overtake
                await asyncio.sleep(0.005)
            if self.failures[name]:
                raise self.failures[name].pop(0)
            return getattr(self, f"_{name}")(**arguments)

        return method

    def _create_volume(self, volume_id: str, size_gib: int, source: dict[str, Any] | None) -> dict[str, Any]:
        self.volumes[volume_id] = {"size": size_gib, "source": source}
        image = source is not None and source["kind"] == "image"
        return {"size_bytes": size_gib << 30, "bootable": image,
                "image_metadata": {"signature_verified": "False"} if image else None}

    def _delete_volume(self, volume_id: str) -> None:
        assert not [a for a, e in self.exports.items() if e["volume_id"] == volume_id], "deleted while exported"
        self.volumes.pop(volume_id, None)

    def _extend_volume(self, volume_id: str, size_gib: int) -> None:
        self.volumes[volume_id]["size"] = size_gib

    def _create_snapshot(self, snapshot_id: str, volume_id: str) -> None:
        self.snapshots[snapshot_id] = volume_id

    def _delete_snapshot(self, snapshot_id: str, volume_id: str) -> None:
        self.snapshots.pop(snapshot_id, None)

    def _revert_to_snapshot(self, volume_id: str, snapshot_id: str) -> None:
        assert self.snapshots[snapshot_id] == volume_id

    def _export(self, volume_id: str, attachment_id: str, read_only: bool, connector: dict[str, Any]
                ) -> dict[str, Any]:
        self.exports[attachment_id] = {"volume_id": volume_id, "read_only": read_only}
        return {"driver_volume_type": "nbd", "data": {
            "volume_id": volume_id, "path": f"/run/{volume_id}.sock", "export": attachment_id, "format": "raw",
            "access_mode": "ro" if read_only else "rw", "discard": True, "qos_specs": None, "encrypted": False,
            "cacheable": False}}

    def _unexport(self, volume_id: str, attachment_id: str) -> None:
        self.exports.pop(attachment_id, None)

    def _copy_to_image(self, volume_id: str, image_id: str, disk_format: str, container_format: str) -> None:
        self.images.append((volume_id, image_id))

    def _create_backup(self, backup_id: str, **rest: Any) -> dict[str, Any]:
        self.backups[backup_id] = rest
        return {"object_count": 3, "size": 1 << 20, "location": {"prefix": f"volume_{backup_id}"}}

    def _restore_backup(self, backup_id: str, volume_id: str, **rest: Any) -> None:
        assert backup_id in self.backups and volume_id in self.volumes

    def _delete_backup(self, backup_id: str, **rest: Any) -> None:
        self.backups.pop(backup_id, None)

    def holds_nothing(self) -> bool:
        return not (self.volumes or self.snapshots or self.exports or self.backups)
