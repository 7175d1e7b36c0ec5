"""Version documents, the list of extensions and of filters."""

from __future__ import annotations

from typing import Any

from cloudseed.cinder import snapshots, volumes
from cloudseed.cinder.api import MAX, MIN
from cloudseed.cinder.api.lists import params
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import render, require
from cloudseed.kernel.http.request import Request


def _version(req: Request) -> dict[str, Any]:
    return {"id": "v3.0", "status": "CURRENT", "version": render(MAX), "min_version": render(MIN),
            "updated": "2023-08-31T00:00:00Z",
            "links": [{"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
                      {"rel": "self", "href": f"{req.base_url}/v3/"}],
            "media-types": [{"base": "application/json",
                             "type": "application/vnd.openstack.volume+json;version=3"}]}


class Versions:
    """GET /: several choices; GET /v3: one"""

    public = True
    unversioned = True

    def __init__(self, status: int) -> None:
        self._status = status

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.status = self._status
        resp.media = {"versions": [_version(req)]}


_EXTENSIONS = {
    "os-admin-actions": "AdminActions", "os-availability-zone": "AvailabilityZones", "backups": "Backups",
    "capabilities": "Capabilities", "os-extended-services": "ExtendedServices",
    "os-extended-snapshot-attributes": "ExtendedSnapshotAttributes", "os-hosts": "Hosts",
    "os-quota-class-sets": "Quota_classes", "os-quota-sets": "Quotas", "qos-specs": "Qos_specs_manage",
    "OS-SCH-HNT": "SchedulerHints", "scheduler-stats": "Scheduler_stats", "os-services": "Services",
    "os-snapshot-actions": "SnapshotActions", "os-types-extra-specs": "TypesExtraSpecs",
    "os-types-manage": "TypesManage", "os-used-limits": "UsedLimits", "os-volume-actions": "VolumeActions",
    "os-volume-encryption-metadata": "VolumeEncryptionMetadata", "os-vol-host-attr": "VolumeHostAttribute",
    "os-vol-image-meta": "VolumeImageMetadata", "os-vol-mig-status-attr": "VolumeMigStatusAttribute",
    "os-vol-tenant-attr": "VolumeTenantAttribute", "os-volume-transfer": "VolumeTransfer",
    "os-volume-type-access": "VolumeTypeAccess", "encryption": "VolumeTypeEncryption"}


class Extensions:
    """GET /v3/extensions"""

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"extensions": [
            {"name": name, "alias": alias, "description": f"{name}, part of the API.", "links": [],
             "updated": "2018-01-01T00:00:00+00:00"} for alias, name in _EXTENSIONS.items()]}


RESOURCE_FILTERS: dict[str, list[str]] = {
    "volume": [name for name in volumes.FILTERS if not name.endswith("~") and not name.startswith("display_")],
    "snapshot": [name for name in snapshots.FILTERS if not name.endswith("~") and not name.startswith("display_")],
    "backup": ["name", "status", "volume_id"], "group": ["name"], "group_snapshot": ["name", "status", "group_id"],
    "attachment": ["volume_id", "status", "instance_id", "attach_status"],
    "message": ["resource_uuid", "resource_type", "event_id", "request_id", "message_level"],
    "pool": ["name", "volume_type"], "volume_type": ["is_public", "extra_specs"]}


class ResourceFilters:
    """GET /v3/resource_filters: what users may filter lists by (3.33)"""

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, (3, 33))
        wanted = params(req).get("resource")
        resp.media = {"resource_filters": [{"resource": name, "filters": filters}
                                           for name, filters in RESOURCE_FILTERS.items() if wanted in (None, name)]}
