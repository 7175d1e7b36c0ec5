"""Cinder's volumes, snapshots and exports are on their host, and the host has no others; backups have an owner."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cloudseed.ledger.violations import Item, Picture, Violation, busy, held, host_rule, rule

# of these a volume may have no bytes (yet, or any more)
WITHOUT_BYTES = ("creating", "downloading", "error", "deleting", "error_deleting")
_BACKUP = re.compile(r"volume_[0-9a-f-]{36}/backup_([0-9a-f-]{36})/")
DEFAULT_CONTAINER = "volumebackups"


def _host(picture: Picture) -> Item | None:
    """The host's picture, when it says which volumes it has."""
    host = picture.get("host")
    return host if isinstance(host, dict) and "volumes" in host else None


@host_rule
def volumes_have_their_bytes(picture: Picture) -> Iterator[Violation]:
    """What cinder calls a volume or a snapshot is a file of the host that cinder names."""
    host, volumes = _host(picture), held(picture, "cinder", "volumes")
    if host is None or volumes is None:
        return
    places = {volume["id"]: volume["host"] for volume in volumes}
    under_way = busy(picture)
    for volume in volumes:
        if volume["host"] == host["name"] and volume["status"] not in WITHOUT_BYTES \
                and volume["id"] not in host["volumes"] and volume["id"] not in under_way:
            yield Violation(
                "volume-missing", volume["id"],
                f"volume is {volume['status']} but its host has no file of it",
                "its bytes are lost: restore a backup to a new volume, then openstack volume delete --force "
                f"{volume['id']}",
            )  # fmt: skip
    for snapshot in held(picture, "cinder", "snapshots") or []:
        if places.get(snapshot["volume_id"]) == host["name"] and snapshot["status"] == "available" \
                and snapshot["id"] not in host["snapshots"] and snapshot["id"] not in under_way:
            yield Violation(
                "volume-snapshot-missing", snapshot["id"],
                "snapshot is available but its host has no file of it",
                f"its bytes are lost: openstack volume snapshot delete {snapshot['id']}",
            )  # fmt: skip


@host_rule
def bytes_have_their_volume(picture: Picture) -> Iterator[Violation]:
    """No file of a volume, snapshot or copy on the host that belongs to nothing."""
    host, volumes = _host(picture), held(picture, "cinder", "volumes")
    if host is None or volumes is None:
        return
    under_way = busy(picture)
    working = any(operation["kind"].startswith("cinder.") for operation in held(picture, "cinder", "operations") or [])
    snapshots = {snapshot["id"] for snapshot in held(picture, "cinder", "snapshots") or []}
    known = {volume["id"] for volume in volumes}
    for volume_id in sorted(set(host["volumes"]) - known - under_way):
        yield Violation(
            "volume-bytes-leaked", volume_id,
            "the host has a file of a volume that cinder does not know",
            f"remove volumes/{volume_id} from the state directory, once nobody misses it",
        )  # fmt: skip
    # copies of one moment, for uploads and backups, bear those ids, and live as long as the operation
    for name, found in (("snapshots", set(host["snapshots"]) - snapshots), ("packs", set(host["packs"]))):
        for leaked in sorted(found - under_way) if not working else ():
            yield Violation(
                "volume-copy-leaked", leaked,
                f"the host has a file in volumes/{name} that cinder does not know, and nothing is under way",
                f"remove volumes/{name}/{leaked} from the state directory",
            )  # fmt: skip


@host_rule
def exports_are_attachments(picture: Picture) -> Iterator[Violation]:
    """An attachment that is connected has its export, by a daemon that runs; and no other export is there."""
    host, attachments = _host(picture), held(picture, "cinder", "attachments")
    if host is None or attachments is None:
        return
    under_way = busy(picture)
    places = {volume["id"]: volume["host"] for volume in held(picture, "cinder", "volumes") or []}
    known = {attachment["id"]: attachment for attachment in attachments}
    for attachment in attachments:
        if attachment["exported"] and attachment["id"] not in host["exports"] and attachment["id"] not in under_way \
                and places.get(attachment["volume_id"]) == host["name"] and attachment["status"] != "detaching":
            yield Violation(
                "export-missing", attachment["id"],
                f"attachment of volume {attachment['volume_id']} is connected but the host does not export it",
                "cinder-volume makes it within a minute: see its log for why it cannot",
            )  # fmt: skip
    for attachment_id, volume_id in sorted(host["exports"].items()):
        if attachment_id in under_way or volume_id in under_way:
            continue
        if attachment_id not in known or not known[attachment_id]["exported"]:
            yield Violation(
                "export-without-attachment", attachment_id,
                f"the host exports volume {volume_id} for an attachment that cinder does not know or has not connected",
                f"remove it from volumes/{volume_id}/exports.json in the state directory, then cloudseed up",
            )  # fmt: skip
        elif host.get("runs_servers") and not any(
                f"v{volume_id}-{mode}" in host["exporter_pids"] for mode in ("rw", "ro")):
            yield Violation(
                "export-not-served", attachment_id,
                f"volume {volume_id} is exported, and no storage daemon of it runs: its guests wait",
                "the host process starts it again: see its log for why it cannot",
            )  # fmt: skip


@rule
def one_writer_a_volume(picture: Picture) -> Iterator[Violation]:
    """Never two that write to one volume, unless it is made for that."""
    volumes, attachments = held(picture, "cinder", "volumes"), held(picture, "cinder", "attachments")
    if volumes is None or attachments is None:
        return
    shared = {volume["id"] for volume in volumes if volume["multiattach"]}
    writers: dict[str, list[str]] = {}
    for attachment in attachments:
        if attachment["exported"] and attachment["mode"] != "ro" and attachment["status"] != "detaching":
            writers.setdefault(attachment["volume_id"], []).append(attachment["id"])
    for volume_id, found in sorted(writers.items()):
        if len(found) > 1 and volume_id not in shared:
            yield Violation(
                "two-writers", volume_id,
                f"{len(found)} attachments may write to a volume that is not multiattach: {', '.join(sorted(found))}",
                "stop the servers that have it, then detach it from all but one",
            )  # fmt: skip


@rule
def backup_objects_have_a_backup(picture: Picture) -> Iterator[Violation]:
    """No object of a backup that is gone or was never finished."""
    backups, objects = held(picture, "cinder", "backups"), held(picture, "swift", "objects")
    if backups is None or objects is None:
        return
    known = {backup["id"] for backup in backups} | busy(picture)
    containers = {backup["container"] for backup in backups} | {DEFAULT_CONTAINER}
    leaked: dict[tuple[str, str, str], int] = {}
    for found in objects:
        match = _BACKUP.match(found["name"]) if found["container"] in containers else None
        if match and match[1] not in known:
            key = (match[1], found["account"], found["container"])
            leaked[key] = leaked.get(key, 0) + 1
    for (backup_id, account, container), count in sorted(leaked.items()):
        yield Violation(
            "backup-objects-leaked", backup_id,
            f"{count} objects of a backup that cinder does not know, in {account}/{container}",
            "delete the objects whose names hold the backup's id, unless their owner put them there",
        )  # fmt: skip
