"""/v3/volumes/{volume_id}/action: one action a request, dispatched by its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from cloudseed.cinder import attachments, volume_orders, volumes
from cloudseed.cinder.api.body import (
    as_type,
    check_range,
    check_text,
    check_uuid,
    pick,
    read_action,
    read_pairs,
    shown,
    when,
)
from cloudseed.cinder.errors import InvalidVolume, NotSupported
from cloudseed.cinder.export_work import ExportWork
from cloudseed.cinder.models import volume_types
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Version, require
from cloudseed.kernel.http.request import Request

Handler = Callable[["VolumeAction", Request, Response, str, Any], Awaitable[None]]


class _Attach(msgspec.Struct, forbid_unknown_fields=True):
    mountpoint: str
    instance_uuid: str | None = None
    host_name: str | None = None
    mode: Literal["rw", "ro"] = "rw"

    def __post_init__(self) -> None:
        check_text(self.mountpoint, "mountpoint", minimum=1)
        check_uuid(self.instance_uuid, "instance_uuid")
        check_text(self.host_name, "host_name")
        if (self.instance_uuid is None) == (self.host_name is None):
            raise ValueError("Invalid request to attach volume to an invalid target: give instance_uuid or host_name")


class _Detach(msgspec.Struct):
    attachment_id: str | None = None

    def __post_init__(self) -> None:
        check_uuid(self.attachment_id, "attachment_id")


class _Connector(msgspec.Struct):
    connector: dict[str, Any]


class _ForceDetach(msgspec.Struct):
    connector: dict[str, Any] | None = None
    attachment_id: str | None = None


class _Extend(msgspec.Struct, forbid_unknown_fields=True):
    new_size: int

    def __post_init__(self) -> None:
        check_range(self.new_size, "new_size", 1)


class _Readonly(msgspec.Struct, forbid_unknown_fields=True):
    readonly: bool


class _Bootable(msgspec.Struct, forbid_unknown_fields=True):
    bootable: bool


class _Retype(msgspec.Struct):
    new_type: str
    migration_policy: Literal["on-demand", "never"] | None = None


class _ResetStatus(msgspec.Struct):
    status: str | None = None
    attach_status: Literal["attached", "detached"] | None = None
    migration_status: Literal["migrating", "error", "success", "completing", "none", "starting"] | None = None

    def __post_init__(self) -> None:
        if self.status is None and self.attach_status is None and self.migration_status is None:
            raise ValueError("Invalid input for field/attribute os-reset_status. It must name status, attach_status or "
                             "migration_status")


class _Upload(msgspec.Struct):
    image_name: str
    force: bool = False
    container_format: str | None = None
    disk_format: str | None = None
    visibility: Literal["community", "public", "private", "shared"] | None = None
    protected: bool | None = None

    def __post_init__(self) -> None:
        check_text(self.image_name, "image_name", minimum=1)


class _Reimage(msgspec.Struct, forbid_unknown_fields=True):
    image_id: str
    reimage_reserved: bool = False

    def __post_init__(self) -> None:
        check_uuid(self.image_id, "image_id")


class VolumeAction:
    """POST with {"action's name": its arguments}; the answer is an empty 202 unless the action says otherwise."""

    def __init__(self, cinder: Cinder, work: ExportWork) -> None:
        self.cinder = cinder
        self.work = work

    async def on_post(self, req: Request, resp: Response, volume_id: str) -> None:
        name, value = await read_action(req, '{"os-extend": {"new_size": 2}}')
        found = _ACTIONS.get(name)
        if found is None:
            raise Invalid(f"There is no such action: {shown(name)}")
        handler, since = found
        require(req.microversion, since)
        resp.status = 202
        await handler(self, req, resp, volume_id, value)

    # ---- attaching

    async def attach(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        order = as_type(value, _Attach, "os-attach")
        await attachments.attach_volume(self.cinder, req.ctx, volume_id, instance_uuid=order.instance_uuid,
                                        host_name=order.host_name, mountpoint=order.mountpoint, mode=order.mode)

    async def detach(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        order = as_type(value or {}, _Detach, "os-detach")
        await attachments.detach_volume(self.cinder, self.work, req.ctx, volume_id, order.attachment_id)

    async def force_detach(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        order = as_type(value or {}, _ForceDetach, "os-force_detach")
        rule = "volume_extension:volume_admin_actions:force_detach"
        await attachments.detach_volume(self.cinder, self.work, req.ctx, volume_id, order.attachment_id, rule)

    async def reserve(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        await attachments.reserve_volume(self.cinder, req.ctx, volume_id)

    async def unreserve(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        await attachments.unreserve_volume(self.cinder, req.ctx, volume_id)

    async def begin_detaching(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        await attachments.begin_detaching(self.cinder, req.ctx, volume_id)

    async def roll_detaching(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        await attachments.roll_detaching(self.cinder, req.ctx, volume_id)

    async def initialize_connection(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        order = as_type(value, _Connector, "os-initialize_connection")
        info = await attachments.initialize_connection(self.cinder, self.work, req.ctx, volume_id, order.connector)
        resp.status = 200
        resp.media = {"connection_info": {**info, "enforce_multipath": False}}

    async def terminate_connection(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        order = as_type(value, _Connector, "os-terminate_connection")
        await attachments.terminate_connection(self.cinder, self.work, req.ctx, volume_id, order.connector)

    # ---- the volume's bytes

    async def extend(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        order = as_type(value, _Extend, "os-extend")
        await volume_orders.extend_volume(self.cinder, req.ctx, volume_id, order.new_size,
                                          attached=req.microversion >= (3, 42))

    async def extend_completion(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        rule = "volume_extension:volume_admin_actions:extend_volume_completion"
        await volumes.get_volume(self.cinder, req.ctx, volume_id, rule)
        raise InvalidVolume(reason=f"Volume {volume_id} does not wait for a server to complete its extension.")

    async def upload_image(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        order = as_type(value, _Upload, "os-volume_upload_image")
        image: dict[str, Any] = {"name": order.image_name, "container_format": order.container_format or "bare",
                                 "disk_format": order.disk_format or "raw"}
        if req.microversion >= (3, 1):
            image["visibility"] = order.visibility or "private"
            image["protected"] = bool(order.protected)
        volume, made = await volume_orders.upload_volume(self.cinder, req.ctx, volume_id, image, force=order.force)
        view = {"id": volume.id, "updated_at": when(volume.updated_at), "status": "uploading",
                "display_description": volume.description, "size": volume.size,
                "volume_type": await self._whole_type(volume.volume_type_id), "image_id": made["id"],
                "container_format": made["container_format"], "disk_format": made["disk_format"],
                "image_name": made["name"]}
        if req.microversion >= (3, 1):
            view |= {"visibility": made["visibility"], "protected": made["protected"]}
        resp.media = {"os-volume_upload_image": view}

    async def _whole_type(self, type_id: str) -> dict[str, Any]:
        """Here, and nowhere else, upstream answers with the record of the type in place of its name."""
        async with self.cinder.db.read() as tx:
            row, = await tx.all(sa.select(volume_types).where(volume_types.c.id == type_id))
        return {"id": row.id, "name": row.name, "description": row.description, "is_public": row.is_public,
                "extra_specs": row.extra_specs, "qos_specs_id": row.qos_specs_id, "projects": [], "deleted": False,
                "created_at": when(row.created_at), "updated_at": when(row.updated_at), "deleted_at": None}

    async def revert(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        snapshot_id = value.get("snapshot_id") if isinstance(value, dict) else None
        await volume_orders.revert_volume(self.cinder, req.ctx, volume_id,
                                          snapshot_id if isinstance(snapshot_id, str) else None)

    async def reimage(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        order = as_type(value, _Reimage, "os-reimage")
        await volume_orders.reimage_volume(self.cinder, req.ctx, volume_id, order.image_id,
                                           reserved=order.reimage_reserved)

    async def force_delete(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        await volume_orders.delete_volume(self.cinder, req.ctx, volume_id, force=True,
                                          force_rule="volume_extension:volume_admin_actions:force_delete")

    # ---- what is noted of it

    async def readonly_flag(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        order = as_type(value, _Readonly, "os-update_readonly_flag")
        await volumes.set_flags(self.cinder, req.ctx, volume_id, readonly=order.readonly)

    async def set_bootable(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        order = as_type(value, _Bootable, "os-set_bootable")
        await volumes.set_flags(self.cinder, req.ctx, volume_id, bootable=order.bootable)
        resp.status = 200

    async def retype(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        order = as_type(value, _Retype, "os-retype")
        await volume_orders.retype_volume(self.cinder, req.ctx, volume_id, order.new_type)

    async def reset_status(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        order = as_type({k: v.lower() if isinstance(v, str) else v for k, v in value.items()}
                        if isinstance(value, dict) else value, _ResetStatus, "os-reset_status")
        await volume_orders.reset_status(self.cinder, req.ctx, volume_id, status=order.status,
                                         migration_status=order.migration_status)
        if order.attach_status == "detached":
            await attachments.detach_all(self.cinder, self.work, req.ctx, volume_id, keep_status=order.status)

    async def set_image_metadata(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        pairs = read_pairs(value.get("metadata") if isinstance(value, dict) else None)
        found = await volumes.change_image_metadata(self.cinder, req.ctx, volume_id, pairs)
        resp.status = 200
        resp.media = {"metadata": found}

    async def show_image_metadata(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        volume = await volumes.get_volume(self.cinder, req.ctx, volume_id,
                                          "volume_extension:volume_image_metadata:show")
        resp.status = 200
        resp.media = {"metadata": volume.image_metadata}

    async def unset_image_metadata(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        key = value.get("key") if isinstance(value, dict) else None
        if not isinstance(key, str):
            raise Invalid("Invalid input for field/attribute os-unset_image_metadata. 'key' is a required property.")
        volume = await volumes.get_volume(self.cinder, req.ctx, volume_id)
        pick(volume.image_metadata, key)
        await volumes.delete_image_metadata(self.cinder, req.ctx, volume_id, key)
        resp.status = 200

    # ---- what this cloud cannot

    async def migrate(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        await volumes.get_volume(self.cinder, req.ctx, volume_id,
                                 "volume_extension:volume_admin_actions:migrate_volume")
        raise NotSupported(what="Migration of volumes", why="each volume stays on the host that made it.")

    async def migrate_completion(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        await volumes.get_volume(self.cinder, req.ctx, volume_id,
                                 "volume_extension:volume_admin_actions:migrate_volume_completion")
        raise InvalidVolume(reason=f"Volume {volume_id} is not being migrated.")

    async def unmanage(self, req: Request, resp: Response, volume_id: str, value: Any) -> None:
        await volumes.get_volume(self.cinder, req.ctx, volume_id, "volume_extension:volume_unmanage")
        raise NotSupported(what="Unmanaging volumes", why="their files belong to the host process alone.")


_ACTIONS: dict[str, tuple[Handler, Version]] = {
    "os-attach": (VolumeAction.attach, (3, 0)), "os-detach": (VolumeAction.detach, (3, 0)),
    "os-force_detach": (VolumeAction.force_detach, (3, 0)), "os-reserve": (VolumeAction.reserve, (3, 0)),
    "os-unreserve": (VolumeAction.unreserve, (3, 0)), "os-begin_detaching": (VolumeAction.begin_detaching, (3, 0)),
    "os-roll_detaching": (VolumeAction.roll_detaching, (3, 0)),
    "os-initialize_connection": (VolumeAction.initialize_connection, (3, 0)),
    "os-terminate_connection": (VolumeAction.terminate_connection, (3, 0)),
    "os-extend": (VolumeAction.extend, (3, 0)),
    "os-extend_volume_completion": (VolumeAction.extend_completion, (3, 71)),
    "os-volume_upload_image": (VolumeAction.upload_image, (3, 0)), "revert": (VolumeAction.revert, (3, 40)),
    "os-reimage": (VolumeAction.reimage, (3, 68)), "os-force_delete": (VolumeAction.force_delete, (3, 0)),
    "os-update_readonly_flag": (VolumeAction.readonly_flag, (3, 0)),
    "os-set_bootable": (VolumeAction.set_bootable, (3, 0)), "os-retype": (VolumeAction.retype, (3, 0)),
    "os-reset_status": (VolumeAction.reset_status, (3, 0)),
    "os-set_image_metadata": (VolumeAction.set_image_metadata, (3, 0)),
    "os-show_image_metadata": (VolumeAction.show_image_metadata, (3, 0)),
    "os-unset_image_metadata": (VolumeAction.unset_image_metadata, (3, 0)),
    "os-migrate_volume": (VolumeAction.migrate, (3, 0)),
    "os-migrate_volume_completion": (VolumeAction.migrate_completion, (3, 0)),
    "os-unmanage": (VolumeAction.unmanage, (3, 0))}
