"""Cinder's records among themselves: each transient state has its operation, each status fits its attachments."""

from __future__ import annotations

from collections.abc import Iterator

from cloudseed.ledger.violations import Picture, Violation, busy, held, moment, rule

WORKING = ("creating", "deleting", "extending", "uploading", "downloading", "reverting", "backing-up",
           "restoring-backup", "restoring")
# nova goes on with a reservation, or gives it up, within this time
ATTACHING_S = 600.0


@rule
def block_storage_states_have_an_owner(picture: Picture) -> Iterator[Violation]:
    """A volume, snapshot or backup in a transient state has an open operation, its own or of what it belongs to."""
    owned = busy(picture)
    for backup in held(picture, "cinder", "backups") or []:
        if backup["id"] in owned:
            owned |= {backup["volume_id"], backup["snapshot_id"]}
    for kind in ("volume", "snapshot", "backup"):
        for item in held(picture, "cinder", f"{kind}s") or []:
            parents = {item["id"], item.get("volume_id"), item.get("restore_volume_id"), item.get("group_snapshot_id"),
                       item.get("group_id")}
            if item["status"] in WORKING and not parents & owned:
                yield Violation(
                    "state-without-owner", item["id"], f"{kind} is {item['status']} and no operation carries it on",
                    f"set its state by hand: openstack volume {'' if kind == 'volume' else kind + ' '}set --state "
                    f"error {item['id']}")


@rule
def attachments_go_on(picture: Picture) -> Iterator[Violation]:
    """An attachment is half made or half removed for a while only."""
    for attachment in held(picture, "cinder", "attachments") or []:
        age = moment(picture) - attachment["since"]
        if attachment["status"] in ("attaching", "detaching") and age > ATTACHING_S:
            yield Violation(
                "attachment-stuck", attachment["id"],
                f"attachment of volume {attachment['volume_id']} to server {attachment['server_id']} is "
                f"{attachment['status']} for {age:.0f} s",
                f"detach the volume, or delete the attachment: openstack volume attachment delete {attachment['id']}")


@rule
def volumes_fit_their_attachments(picture: Picture) -> Iterator[Violation]:
    """A volume is in use when it is attached, and only then."""
    places: dict[str, list[dict[str, object]]] = {}
    for attachment in held(picture, "cinder", "attachments") or []:
        places.setdefault(attachment["volume_id"], []).append(attachment)
    for volume in held(picture, "cinder", "volumes") or []:
        mine = places.get(volume["id"], [])
        attached = any(place["status"] == "attached" for place in mine)
        if (volume["status"] == "in-use") != attached and volume["status"] in ("in-use", "available"):
            yield Violation(
                "volume-status", volume["id"],
                f"volume is {volume['status']} and {len(mine)} attachments of it say "
                f"{', '.join(sorted({str(place['status']) for place in mine})) or 'nothing'}",
                f"openstack volume set --state {'in-use' if attached else 'available'} {volume['id']}")
