"""Placement holds exactly what servers use, and no host has given more than it has."""

from __future__ import annotations

from collections.abc import Iterator

from cloudseed.ledger.violations import Item, Picture, Violation, busy, held, rule


@rule
def servers_hold_their_allocations(picture: Picture) -> Iterator[Violation]:
    """A server on a host has one allocation, from that host's node, of its flavor's amounts."""
    allocations = held(picture, "placement", "allocations")
    if allocations is None:
        return
    by_consumer: dict[str, list[Item]] = {}
    for allocation in allocations:
        by_consumer.setdefault(allocation["consumer"], []).append(allocation)
    under_way = busy(picture)
    for server in held(picture, "nova", "servers") or []:
        mine = by_consumer.get(server["id"], [])
        if server["id"] in under_way:
            continue
        if server["host"] is None:
            continue  # what it may still hold is the next rule's
        if not mine:
            yield Violation(
                "allocation-missing", server["id"],
                f"server is on host {server['host']} but holds nothing in placement",
                "stop the server or move it before the host is overcommitted; then give it its allocation: "
                f"openstack resource provider allocation set {server['id']}",
            )  # fmt: skip
            continue
        for allocation in mine:
            yield from _wrong_amounts(server, allocation)
            if server["node"] not in (allocation["provider_name"], allocation["provider"]):
                yield Violation(
                    "allocation-elsewhere", server["id"],
                    f"server is on node {server['node']} but holds resources of {allocation['provider_name']}",
                    f"openstack resource provider allocation unset --provider {allocation['provider']} {server['id']}",
                )  # fmt: skip


def _wrong_amounts(server: Item, allocation: Item) -> Iterator[Violation]:
    """The flavor's VCPU and MEMORY_MB; DISK_GB is at least its disks (swap is rounded up on top)."""
    given = allocation["resources"]
    wrong = [
        f"{name} {given.get(name, 0)} instead of {wanted}"
        for name, wanted in (("VCPU", server["vcpus"]), ("MEMORY_MB", server["ram"]))
        if given.get(name, 0) != wanted
    ]
    if given.get("DISK_GB", 0) < server["disk"]:
        wrong.append(f"DISK_GB {given.get('DISK_GB', 0)} instead of {server['disk']}")
    overridden = server.get("overridden_resources") or []
    wrong = [text for text in wrong if text.split()[0] not in overridden]
    if wrong:
        yield Violation(
            "allocation-amount", server["id"],
            f"server holds {', '.join(wrong)} in placement",
            f"openstack resource provider allocation set {server['id']} with the flavor's amounts",
        )  # fmt: skip


@rule
def allocations_have_a_server(picture: Picture) -> Iterator[Violation]:
    """No allocation of a server that is gone, or that is on no host."""
    servers = held(picture, "nova", "servers")
    if servers is None:
        return
    placed = {server["id"] for server in servers if server["host"] is not None}
    types = {owner["uuid"]: owner.get("consumer_type") for owner in held(picture, "placement", "consumers") or []}
    leave = placed | busy(picture)
    for allocation in held(picture, "placement", "allocations") or []:
        consumer = allocation["consumer"]
        if consumer not in leave and types.get(consumer) in (None, "INSTANCE", "unknown"):
            yield Violation(
                "allocation-leaked", consumer,
                f"{allocation['resources']} of {allocation['provider_name']} are held for a server that is not there",
                f"openstack resource provider allocation delete {consumer}",
            )  # fmt: skip


@rule
def migrations_hold_what_can_be_reverted(picture: Picture) -> Iterator[Violation]:
    """A resize that waits for the user holds the old size in placement; nothing else is held for migrations."""
    servers, allocations = held(picture, "nova", "servers"), held(picture, "placement", "allocations")
    if servers is None or allocations is None:
        return
    types = {owner["uuid"]: owner.get("consumer_type") for owner in held(picture, "placement", "consumers") or []}
    claims = {entry["consumer"] for entry in allocations if types.get(entry["consumer"]) == "MIGRATION"}
    under_way = busy(picture)
    moves = {move["uuid"]: move for move in held(picture, "nova", "migrations") or []}
    for consumer in sorted(claims):
        move = moves.get(consumer)
        if move is None or not (move["server_exists"] or move["server_id"] in under_way):
            yield Violation(
                "allocation-leaked", consumer,
                "resources are held for a migration that is over",
                f"openstack resource provider allocation delete {consumer}",
            )  # fmt: skip
    for move in moves.values():
        if move["status"] == "finished" and move["uuid"] not in claims and move["server_id"] not in under_way:
            yield Violation(
                "allocation-missing", move["server_id"],
                f"server was resized, but its migration {move['uuid']} holds nothing to revert to",
                f"confirm the resize: openstack server resize confirm {move['server_id']}",
            )  # fmt: skip


@rule
def nothing_is_overcommitted(picture: Picture) -> Iterator[Violation]:
    """What is used of a provider's resource is within its capacity."""
    for provider in held(picture, "placement", "providers") or []:
        for name, stock in provider["inventories"].items():
            if stock["used"] > stock["capacity"]:
                yield Violation(
                    "overcommitted", provider["uuid"],
                    f"{stock['used']} {name} of provider {provider['name']} are used, its capacity is "
                    f"{stock['capacity']}",
                    "move or delete servers of that host, or raise its allocation ratio",
                )  # fmt: skip


@rule
def computes_are_providers(picture: Picture) -> Iterator[Violation]:
    """A compute that is up has its resource provider, under its own id."""
    providers = held(picture, "placement", "providers")
    if providers is None:
        return
    known = {provider["uuid"] for provider in providers}
    for compute in held(picture, "nova", "computes") or []:
        if compute["up"] and compute["id"] not in known:
            yield Violation(
                "provider-missing", compute["id"],
                f"compute {compute['host']} is up but placement has no resource provider of its id",
                "restart its nova-compute, which reports its inventory anew",
            )  # fmt: skip
