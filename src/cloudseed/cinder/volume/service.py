"""The volume manager: what it is asked, what it reports, what it keeps true.

Everything may be asked twice: who asks while the work goes on joins it, who asks afterwards gets its result.  The
manager's end ends no export.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from cloudseed.cinder.volume.backend import Backend, VolumeHost
from cloudseed.cinder.volume.images import VolumeImages
from cloudseed.cinder.volume.jobs import Jobs
from cloudseed.host.paths import StatePaths
from cloudseed.host.records import ByteSource
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError, Invalid
from cloudseed.kernel.periodic import Loop
from cloudseed.kernel.runtime import Environment, Service

log = logging.getLogger(__name__)
PART = "cinder-volume"
API_TOPIC = "cinder-api"
EXPORTS_S = 60.0
GIB = 1024**3
BACKEND_NAME = "files"


class VolumeManager:
    """The volumes of this process's host."""

    def __init__(self, env: Environment, host: VolumeHost) -> None:
        self.name = env.config.host
        self.backend = Backend(host, self.name)
        self._bus = env.bus(PART)
        paths: StatePaths = getattr(host, "paths", None) or StatePaths(env.config.state_path)
        self._images = VolumeImages(env.session(PART, "cinder"), self.backend, paths.incoming)
        self._jobs = Jobs()
        self._unsubscribe: Callable[[], None] | None = None
        self.exports = Loop(f"cinder-volume {self.name}: exports", self.sync_exports, EXPORTS_S)
        self.loops = [Loop(f"cinder-volume {self.name}: report", self.report, env.config.report_interval_s),
                      self.exports]

    async def start(self) -> None:
        """Listen."""
        handlers: dict[str, Callable[..., Awaitable[Any]]] = {
            "create_volume": self.create_volume, "delete_volume": self.delete_volume,
            "extend_volume": self.extend_volume, "create_snapshot": self.create_snapshot,
            "delete_snapshot": self.delete_snapshot, "revert_to_snapshot": self.revert_to_snapshot,
            "export": self.export, "unexport": self.unexport, "copy_to_image": self.copy_to_image}
        self._unsubscribe = self._bus.serve(f"cinder-volume.{self.name}", handlers)

    async def stop(self) -> None:
        """Listen no more; what is under way is given up."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        await self._jobs.stop()

    # ---- volumes

    async def create_volume(self, ctx: Context, volume_id: str, size_gib: int,
                            source: dict[str, Any] | None = None) -> dict[str, Any]:
        """A volume of zeros, or of the source: {"kind": "snapshot" | "volume" | "image", "id"}."""
        async def make() -> dict[str, Any]:
            size, doing = size_gib * GIB, f"make volume {volume_id}"
            kind = source["kind"] if source else None
            if source is None:
                info = await self.backend.ask(doing, self.backend.host.create_volume(volume_id, size))
            elif kind == "image":
                info = await self._images.make_volume(ctx, volume_id, size, source["id"])
            elif kind == "snapshot" or kind == "volume":
                origin = ByteSource(kind="snapshot" if kind == "snapshot" else "volume", id=source["id"])
                info = await self.backend.ask(doing, self.backend.host.create_volume(volume_id, size, origin))
            else:
                raise Invalid(f"A volume cannot be made of a {kind}.")
            return {"size_bytes": info.size_bytes, "bootable": kind == "image", "image_metadata": None}

        answer: dict[str, Any] = await self._jobs.join(f"create volume {volume_id}", make)
        return answer

    async def delete_volume(self, ctx: Context, volume_id: str) -> None:
        await self._jobs.settled(f"create volume {volume_id}")
        await self.backend.ask(f"delete volume {volume_id}", self.backend.host.delete_volume(volume_id))

    async def extend_volume(self, ctx: Context, volume_id: str, size_gib: int) -> None:
        doing = f"extend volume {volume_id}"
        await self.backend.ask(doing, self.backend.host.extend_volume(volume_id, size_gib * GIB))

    async def create_snapshot(self, ctx: Context, snapshot_id: str, volume_id: str) -> None:
        async def make() -> None:
            doing = f"make snapshot {snapshot_id}"
            await self.backend.ask(doing, self.backend.host.create_snapshot(snapshot_id, volume_id))

        await self._jobs.join(f"create snapshot {snapshot_id}", make)

    async def delete_snapshot(self, ctx: Context, snapshot_id: str, volume_id: str = "") -> None:
        await self._jobs.settled(f"create snapshot {snapshot_id}")
        await self.backend.ask(f"delete snapshot {snapshot_id}", self.backend.host.delete_snapshot(snapshot_id))

    async def revert_to_snapshot(self, ctx: Context, volume_id: str, snapshot_id: str) -> None:
        async def revert() -> None:
            doing = f"revert volume {volume_id}"
            await self.backend.ask(doing, self.backend.host.revert_volume(volume_id, snapshot_id))

        await self._jobs.join(f"revert volume {volume_id} to {snapshot_id}", revert)

    async def copy_to_image(self, ctx: Context, volume_id: str, image_id: str, disk_format: str,
                            container_format: str = "bare") -> None:
        """The volume's bytes of now into a queued image."""
        if container_format != "bare":
            raise Invalid(f"A volume becomes an image of container format bare, not {container_format}.")
        await self._jobs.join(f"copy volume {volume_id} to image {image_id}",
                              lambda: self._images.copy_to_image(ctx, volume_id, image_id, disk_format))

    # ---- exports

    async def export(self, ctx: Context, volume_id: str, attachment_id: str, read_only: bool,
                     connector: dict[str, Any] | None = None) -> dict[str, Any]:
        """Export for an attachment; the answer is its connection_info.

        Machines of this host name volume and attachment, never the path, which is for people to read.
        """
        peer = self._peer(volume_id, connector or {})
        doing = f"export volume {volume_id} for attachment {attachment_id}"
        info = await self.backend.ask(
            doing, self.backend.host.export_volume(volume_id, attachment_id, read_only=read_only, peer=peer))
        way = {"way": msgspec.to_builtins(info.way)} if info.way is not None else {}
        return {"driver_volume_type": "nbd", "data": {
            **way,
            "volume_id": volume_id, "attachment_id": attachment_id, "path": info.path, "export": attachment_id,
            "format": "raw", "access_mode": "ro" if info.read_only else "rw", "discard": True, "qos_specs": None,
            "encrypted": False, "cacheable": False}}

    def _peer(self, volume_id: str, connector: dict[str, Any]) -> str:
        """The address of the connector's host, if that is another than this; Invalid when it has none."""
        host = connector.get("host")
        if host in (None, "", self.name) or _same_machine(connector, self.name):
            return ""
        try:
            return str(ipaddress.IPv4Address(str(connector.get("ip"))))
        except ValueError:
            raise Invalid(f"Volume {volume_id} is on host {self.name}: host {host} cannot reach it, as it gives no "
                          "address (ip) of its own.") from None

    async def unexport(self, ctx: Context, volume_id: str, attachment_id: str) -> None:
        doing = f"end the export of volume {volume_id} for attachment {attachment_id}"
        await self.backend.ask(doing, self.backend.host.unexport_volume(volume_id, attachment_id))

    async def sync_exports(self) -> None:
        """Make the exports that cinder knows of and that are not there.

        None is ended here: an export that cinder does not know may be one that it is about to; the audit tells.
        """
        ctx = Context()
        report = await self.backend.ask("list volumes", self.backend.host.list_volumes())
        # asked afterwards: an attachment that has ended by now is not exported again
        wish = await self._bus.call(ctx, API_TOPIC, "export_wish", host=self.name)
        there = {export.attachment_id for volume in report.volumes for export in volume.exports}
        for item in wish:
            if item["attachment_id"] not in there:
                try:
                    await self.export(ctx, item["volume_id"], item["attachment_id"], bool(item.get("read_only")),
                                      item.get("connector"))
                except CloudseedError as exc:
                    log.warning("attachment %s has no export: %s", item["attachment_id"], exc.message)

    # ---- what it has

    async def report(self) -> None:
        """What the host can hold, and that it is there."""
        found = await self.backend.ask("list volumes", self.backend.host.list_volumes())
        provisioned = sum(v.size_bytes for v in found.volumes) + sum(s.size_bytes for s in found.snapshots)
        allocated = sum(v.size_bytes for v in found.volumes)
        capabilities = {
            "volume_backend_name": BACKEND_NAME, "pool_name": BACKEND_NAME, "vendor_name": "Cloudseed",
            "driver_version": "1.0", "storage_protocol": "nbd", "backend_state": "up",
            "total_capacity_gb": _gib(found.total_bytes), "free_capacity_gb": _gib(found.free_bytes),
            "allocated_capacity_gb": _gib(allocated), "provisioned_capacity_gb": _gib(provisioned),
            "reserved_percentage": 0, "thin_provisioning_support": True, "thick_provisioning_support": False,
            "max_over_subscription_ratio": "20.0", "multiattach": True, "QoS_support": False,
            "online_extend_support": True, "location_info": f"Files:{self.name}"}
        await self._bus.call(Context(), API_TOPIC, "report_state", host=self.name, binary=PART,
                             capabilities=capabilities)


def _gib(size_bytes: int) -> float:
    return round(size_bytes / GIB, 2)


def _same_machine(connector: dict[str, Any], name: str) -> bool:
    """Several computes of one machine have names of their own: `name`, `name-2`, ..."""
    host = str(connector.get("host"))
    return host.startswith(f"{name}-") and host.removeprefix(f"{name}-").isdigit()


def build(env: Environment) -> Service:
    """The manager of this process's host; none where there is no host to ask."""
    if not isinstance(env.host, VolumeHost):
        return Service(PART)
    manager = VolumeManager(env, env.host)

    async def ready() -> None:
        """Known from the first request on; a failure is made good by the loop."""
        with contextlib.suppress(CloudseedError):
            await manager.report()

    return Service(PART, loops=manager.loops, start=manager.start, ready=ready, stop=manager.stop, handle=manager)
