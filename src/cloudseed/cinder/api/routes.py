"""The URL table of cinder-api, without the project that a URL may hold (prefix.py)."""

from __future__ import annotations

from typing import Any

from cloudseed.cinder.api import (
    attachments,
    backups,
    groups,
    messages,
    quotas,
    services,
    snapshots,
    transfers,
    type_extras,
    versions,
    volume_types,
    volumes,
)
from cloudseed.cinder.api.volume_actions import VolumeAction
from cloudseed.cinder.export_work import ExportWork
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.http.microversion import Version


def routes(cinder: Cinder, work: ExportWork) -> dict[str, Any]:
    """URI template -> resource."""
    return {
        "/": versions.Versions(300),
        "/v3": versions.Versions(200),
        "/v3/extensions": versions.Extensions(),
        "/v3/resource_filters": versions.ResourceFilters(),
        "/v3/volumes": volumes.Volumes(cinder),
        "/v3/volumes/detail": volumes.VolumesDetail(cinder),
        "/v3/volumes/summary": volumes.VolumesSummary(cinder),
        "/v3/volumes/{volume_id}": volumes.Volume(cinder),
        "/v3/volumes/{volume_id}/action": VolumeAction(cinder, work),
        "/v3/volumes/{volume_id}/metadata": volumes.VolumeMetadata(cinder),
        "/v3/volumes/{volume_id}/metadata/{key}": volumes.VolumeMetadataItem(cinder),
        "/v3/volumes/{volume_id}/encryption": volumes.VolumeEncryption(cinder),
        "/v3/volumes/{volume_id}/encryption/{key}": volumes.VolumeEncryption(cinder),
        "/v3/attachments": attachments.Attachments(cinder, work),
        "/v3/attachments/detail": attachments.AttachmentsDetail(cinder),
        "/v3/attachments/{attachment_id}": attachments.Attachment(cinder, work),
        "/v3/attachments/{attachment_id}/action": attachments.AttachmentAction(cinder),
        "/v3/snapshots": snapshots.Snapshots(cinder),
        "/v3/snapshots/detail": snapshots.SnapshotsDetail(cinder),
        "/v3/snapshots/{snapshot_id}": snapshots.Snapshot(cinder),
        "/v3/snapshots/{snapshot_id}/action": snapshots.SnapshotAction(cinder),
        "/v3/snapshots/{snapshot_id}/metadata": snapshots.SnapshotMetadata(cinder),
        "/v3/snapshots/{snapshot_id}/metadata/{key}": snapshots.SnapshotMetadataItem(cinder),
        "/v3/types": volume_types.VolumeTypes(cinder),
        "/v3/types/{type_id}": volume_types.VolumeTypeItem(cinder),
        "/v3/types/{type_id}/extra_specs": volume_types.ExtraSpecs(cinder),
        "/v3/types/{type_id}/extra_specs/{key}": volume_types.ExtraSpec(cinder),
        "/v3/types/{type_id}/action": type_extras.TypeAction(cinder),
        "/v3/types/{type_id}/os-volume-type-access": type_extras.TypeAccess(cinder),
        "/v3/types/{type_id}/encryption": type_extras.TypeEncryption(cinder),
        "/v3/types/{type_id}/encryption/{key}": type_extras.TypeEncryptionItem(cinder),
        "/v3/default-types": type_extras.DefaultTypes(cinder),
        "/v3/default-types/{project_id}": type_extras.DefaultType(cinder),
        "/v3/qos-specs": type_extras.QosSpecs(cinder),
        "/v3/qos-specs/{specs_id}": type_extras.QosSpec(cinder),
        "/v3/qos-specs/{specs_id}/delete_keys": type_extras.QosSpecKeys(cinder),
        "/v3/qos-specs/{specs_id}/{verb}": type_extras.QosSpecAssociations(cinder),
        "/v3/backups": backups.Backups(cinder),
        "/v3/backups/detail": backups.BackupsDetail(cinder),
        "/v3/backups/import_record": backups.BackupsImport(cinder),
        "/v3/backups/{backup_id}": backups.Backup(cinder),
        "/v3/backups/{backup_id}/action": backups.BackupAction(cinder),
        "/v3/backups/{backup_id}/restore": backups.BackupRestore(cinder),
        "/v3/backups/{backup_id}/export_record": backups.BackupExport(cinder),
        "/v3/groups": groups.Groups(cinder),
        "/v3/groups/detail": groups.GroupsDetail(cinder),
        "/v3/groups/action": groups.GroupsAction(cinder),
        "/v3/groups/{group_id}": groups.Group(cinder),
        "/v3/groups/{group_id}/action": groups.GroupAction(cinder),
        "/v3/group_snapshots": groups.GroupSnapshots(cinder),
        "/v3/group_snapshots/detail": groups.GroupSnapshotsDetail(cinder),
        "/v3/group_snapshots/{snapshot_id}": groups.GroupSnapshot(cinder),
        "/v3/group_snapshots/{snapshot_id}/action": groups.GroupSnapshotAction(cinder),
        "/v3/group_types": groups.GroupTypes(cinder),
        "/v3/group_types/{type_id}": groups.GroupType(cinder),
        "/v3/group_types/{type_id}/group_specs": groups.GroupSpecs(cinder),
        "/v3/group_types/{type_id}/group_specs/{key}": groups.GroupSpec(cinder),
        **_manageable("volume", cinder), **_manageable("snapshot", cinder),
        **_transfers("/v3/os-volume-transfer", cinder, (3, 0)),
        **_transfers("/v3/volume-transfers", cinder, (3, 55)),
        "/v3/messages": messages.Messages(cinder),
        "/v3/messages/{message_id}": messages.Message(cinder),
        "/v3/os-quota-sets/{project_id}": quotas.QuotaSet(cinder),
        "/v3/os-quota-sets/{project_id}/defaults": quotas.QuotaSetDefaults(cinder),
        "/v3/os-quota-class-sets/{class_id}": quotas.QuotaClassSet(cinder),
        "/v3/limits": quotas.Limits(cinder),
        "/v3/os-services": services.Services(cinder),
        "/v3/os-services/{action}": services.ServicesAction(cinder),
        "/v3/os-hosts": services.Hosts(cinder),
        "/v3/os-hosts/{host}": services.Host(cinder),
        "/v3/os-availability-zone": services.AvailabilityZones(cinder),
        "/v3/scheduler-stats/get_pools": services.Pools(cinder),
        "/v3/capabilities/{host}": services.Capabilities(cinder),
        "/v3/workers/cleanup": services.WorkersCleanup(cinder),
        "/v3/clusters": services.Clusters(cinder),
        "/v3/clusters/{name}": services.Clusters(cinder),
    }


def _transfers(root: str, cinder: Cinder, since: Version) -> dict[str, Any]:
    return {root: transfers.Transfers(cinder, since), f"{root}/detail": transfers.TransfersDetail(cinder, since),
            f"{root}/{{transfer_id}}": transfers.Transfer(cinder, since),
            f"{root}/{{transfer_id}}/accept": transfers.TransferAccept(cinder, since)}


def _manageable(kind: str, cinder: Cinder) -> dict[str, Any]:
    """Under its own name (3.8) and under the older one."""
    found = {}
    for root, since in ((f"/v3/manageable_{kind}s", (3, 8)), (f"/v3/os-{kind}-manage", (3, 0))):
        found[root] = services.Manageable(cinder, kind, since)
        found[f"{root}/detail"] = services.Manageable(cinder, kind, since)
    return found
