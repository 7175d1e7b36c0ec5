"""Operations end, and every transient state has one that carries it on."""

from __future__ import annotations

from collections.abc import Iterator

from cloudseed.ledger.violations import Picture, Violation, held, moment, operations, rule

# seconds without a step done; an upload takes as long as its client sends, an image download an hour
DEADLINE_S = 3700.0
UNDO_DEADLINE_S = 600.0
UNDO_FAILING_S = 180.0  # it is tried again every minute
PATIENT = {"glance.upload": 7 * 86400.0, "glance.delete": 86400.0}


@rule
def operations_end(picture: Picture) -> Iterator[Violation]:
    """No operation is open beyond its deadline."""
    for service, operation in operations(picture):
        age = moment(picture) - operation["updated_at"]
        deadline = PATIENT.get(operation["kind"], DEADLINE_S)
        if operation["status"] == "undoing":
            deadline = UNDO_DEADLINE_S
        if age > deadline:
            yield Violation(
                "operation-stuck",
                operation["id"],
                f"{operation['kind']} of {operation['resource_id']} ({service}) is {operation['status']} and did "
                f"not move for {age:.0f} s",
                "see what its latest step says with `cloudseed explain`, and mend the cause; it is tried again by "
                "itself",
            )


@rule
def undos_succeed(picture: Picture) -> Iterator[Violation]:
    """No operation's undo fails for long: each try of it moves the operation's record, but nothing else."""
    for service, operation in operations(picture):
        since = operation.get("undo_failing_since")
        if since is not None and moment(picture) - since > UNDO_FAILING_S:
            yield Violation(
                "undo-failing",
                operation["id"],
                f"{operation['kind']} of {operation['resource_id']} ({service}) cannot be undone for "
                f"{moment(picture) - since:.0f} s: {operation['undo_error']}",
                "mend the cause that it names; the undo is tried again by itself every minute",
            )


@rule
def server_states_have_an_owner(picture: Picture) -> Iterator[Violation]:
    """A server with a task state, or still building, has an open operation."""
    owned = {operation["resource_id"] for operation in held(picture, "nova", "operations") or []}
    for server in held(picture, "nova", "servers") or []:
        if (server["task_state"] or server["vm_state"] == "building") and server["id"] not in owned:
            yield Violation(
                "state-without-owner",
                server["id"],
                f"server is {server['vm_state']}/{server['task_state']} and no operation carries it on",
                f"delete it: openstack server delete {server['id']}",
            )


@rule
def image_states_have_an_owner(picture: Picture) -> Iterator[Violation]:
    """An image that is being filled has an open operation."""
    owned = {operation["resource_id"] for operation in held(picture, "glance", "operations") or []}
    for image in held(picture, "glance", "images") or []:
        if image["status"] in ("saving", "importing") and image["id"] not in owned:
            yield Violation(
                "state-without-owner",
                image["id"],
                f"image is {image['status']} and no operation carries it on",
                f"delete it and upload it again: openstack image delete {image['id']}",
            )
