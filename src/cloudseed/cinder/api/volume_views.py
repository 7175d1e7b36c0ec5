"""Volumes as clients see them."""

from __future__ import annotations

from typing import Any

from cloudseed.cinder import services
from cloudseed.cinder.api.body import is_admin, links, when
from cloudseed.cinder.attachments import is_service
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volumes import Attachment, Volume
from cloudseed.kernel.http.request import Request


def summary(req: Request, volume: Volume) -> dict[str, Any]:
    return {"id": volume.id, "name": volume.name, "links": links(req, "volumes", volume.id)}


def plain(req: Request, volume: Volume) -> dict[str, Any]:
    """As creating and changing one answer: without what other parts of the API add to `detail`."""
    version, admin = req.microversion, is_admin(req)
    view: dict[str, Any] = {
        "id": volume.id, "status": volume.status, "size": volume.size,
        "availability_zone": volume.availability_zone, "created_at": when(volume.created_at),
        "updated_at": when(volume.updated_at), "name": volume.name, "description": volume.description,
        "volume_type": volume.type_name, "snapshot_id": volume.snapshot_id, "source_volid": volume.source_volid,
        "metadata": _metadata(volume), "links": links(req, "volumes", volume.id), "user_id": volume.user_id,
        "bootable": str(volume.bootable).lower(), "encrypted": False, "replication_status": None,
        "consistencygroup_id": None, "multiattach": volume.multiattach,
        "attachments": [_attachment(req, attachment) for attachment in volume.attachments
                        if attachment.attach_status in ("attached", "detaching") and attachment.attach_time]}
    if admin:
        view["migration_status"] = volume.migration_status
    if version >= (3, 13):
        view["group_id"] = volume.group_id
    if version >= (3, 21) and admin:
        view["provider_id"] = None
    if version >= (3, 48):
        view["shared_targets"], view["service_uuid"] = False, None
    if version >= (3, 61) and admin:
        view["cluster_name"] = None
    if version >= (3, 63):
        view["volume_type_id"] = volume.volume_type_id
    if version >= (3, 65):
        view["consumes_quota"] = volume.consumes_quota
    return view


def detail(req: Request, cinder: Cinder, volume: Volume) -> dict[str, Any]:
    """Everything that the caller may see, in this version's shape."""
    view, may = plain(req, volume), _allowed(req, cinder, volume)
    if "volume_extension:volume_host_attribute" in may:
        view["os-vol-host-attr:host"] = services.full_name(volume.host) if volume.host is not None else None
    if "volume_extension:volume_tenant_attribute" in may:
        view["os-vol-tenant-attr:tenant_id"] = volume.project_id
    if "volume_extension:volume_mig_status_attribute" in may:
        view["os-vol-mig-status-attr:migstat"] = volume.migration_status
        view["os-vol-mig-status-attr:name_id"] = None
    if volume.image_metadata and "volume_extension:volume_image_metadata:show" in may:
        view["volume_image_metadata"] = volume.image_metadata
    return view


_RULES = ("volume_extension:volume_host_attribute", "volume_extension:volume_tenant_attribute",
          "volume_extension:volume_mig_status_attribute", "volume_extension:volume_image_metadata:show")


def _allowed(req: Request, cinder: Cinder, volume: Volume) -> frozenset[str]:
    """Which of the rules above the caller meets: asked once for each owner in a list, not for each volume."""
    known: dict[tuple[str, str], frozenset[str]] = req.context.setdefault("allowed", {})  # type: ignore[assignment]
    owner = (volume.project_id, volume.user_id)
    if owner not in known:
        known[owner] = frozenset(rule for rule in _RULES
                                 if cinder.policy.check(rule, req.ctx.identity, volume.target))
    return known[owner]


def _metadata(volume: Volume) -> dict[str, str]:
    """The user's, and what upstream shows of its own beside it."""
    return {**volume.metadata, "readonly": str(volume.readonly)} if volume.readonly_said else volume.metadata


def _attachment(req: Request, attachment: Attachment) -> dict[str, Any]:
    host = attachment.attached_host if is_admin(req) or is_service(req.ctx) else None
    return {"id": attachment.volume_id, "attachment_id": attachment.id, "volume_id": attachment.volume_id,
            "server_id": attachment.instance_uuid, "host_name": host, "device": attachment.mountpoint,
            "attached_at": when(attachment.attach_time)}
