"""Nova and cinder agree on which server has which volume."""

from __future__ import annotations

from collections.abc import Iterator

from cloudseed.ledger.violations import Picture, Violation, busy, held, moment, rule

# whoever made a reservation for a server may still order it; nova does both within a request
RESERVATION_DEADLINE_S = 600.0


@rule
def servers_have_their_volumes(picture: Picture) -> Iterator[Violation]:
    """A volume that a server shows is attached to it in cinder, by the attachment that the server names."""
    servers, attachments = held(picture, "nova", "servers"), held(picture, "cinder", "attachments")
    if servers is None or attachments is None:
        return
    there = {attachment["id"]: (attachment["server_id"], attachment["volume_id"]) for attachment in attachments}
    under_way = busy(picture)
    for server in servers:
        for volume in server.get("volumes", ()) if server["id"] not in under_way else ():
            named = volume["attachment_id"]
            if volume["volume_id"] in under_way or named in under_way:
                continue
            if volume["state"] == "detaching":
                yield Violation(
                    "volume-detach-stuck", server["id"],
                    f"volume {volume['volume_id']} is being detached, and nobody is at work on it",
                    f"openstack server delete {server['id']}, or look at nova's log for what ended the detach",
                )  # fmt: skip
            elif (named is not None or server["vm_state"] != "error") \
                    and there.get(named) != (server["id"], volume["volume_id"]):
                yield Violation(
                    "attachment-missing", server["id"],
                    f"server shows volume {volume['volume_id']}, but cinder has no attachment {named} of it",
                    "save what the guest still has of it, then detach it: openstack server remove volume "
                    f"{server['id']} {volume['volume_id']}",
                )  # fmt: skip


@rule
def attachments_have_their_server(picture: Picture) -> Iterator[Violation]:
    """No attachment in cinder of a server that does not have the volume, or is not there."""
    servers, attachments = held(picture, "nova", "servers"), held(picture, "cinder", "attachments")
    if servers is None or attachments is None:
        return
    known = {volume["attachment_id"] for server in servers for volume in server.get("volumes", ())}
    there, under_way = {server["id"] for server in servers}, busy(picture)
    for attachment in attachments:
        if attachment["id"] in known or under_way & {attachment["id"], attachment["server_id"],
                                                     attachment["volume_id"]}:
            continue
        # others than nova may attach volumes too, to what is no server: they say so by having no export here
        old = moment(picture) - attachment["since"] > RESERVATION_DEADLINE_S
        if attachment["exported"] or (attachment["server_id"] in there and old):
            yield Violation(
                "attachment-without-server", attachment["id"],
                f"volume {attachment['volume_id']} is attached to server {attachment['server_id']}, which "
                f"{'does not know it' if attachment['server_id'] in there else 'is not there'}",
                f"openstack volume attachment delete {attachment['id']}",
            )  # fmt: skip
