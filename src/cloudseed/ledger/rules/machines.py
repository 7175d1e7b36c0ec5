"""This host runs the machines that its servers wish for, and no others."""

from __future__ import annotations

from collections.abc import Iterator

from cloudseed.ledger.violations import Item, Picture, Violation, busy, held, host_rule, rule

DOWNLOADING = ("nova.boot", "cinder.create", "cinder.reimage")  # operations that fill the cache of images
COPYING = ("nova.snapshot", "nova.backup", "nova.shelve")  # operations that send copies of disks to glance
RUNNING = ("active", "paused")
RUNS = 1  # a power state; a resized server runs or not, as it did before
OFF = ("stopped", "suspended", "shelved", "shelved_offloaded", "soft-delete")


def _machines(picture: Picture) -> tuple[Item, set[str], set[str]] | None:
    """The host's picture, its machines' ids and those that run; None when it keeps no machines of servers."""
    host = picture.get("host")
    if not isinstance(host, dict) or not host.get("runs_servers") or "machines" not in host:
        return None
    return host, set(host["machines"]), set(host["machine_pids"])


@host_rule
def the_host_answers(picture: Picture) -> Iterator[Violation]:
    """Without the host's picture nothing on it can be judged, which must not look like a clean audit.

    A host of which no part is up is known to be away: nova's and neutron's lists say so, and who owns servers there
    decides what becomes of them.
    """
    host = picture.get("host")
    if isinstance(host, dict) and host.get("error") and host.get("services_up", True):
        yield Violation(
            "host-unseen", host["name"],
            f"host {host['name']} does not say what is there: {host['error']}",
            "start its processes again: cloudseed up, or cloudseed serve on that machine",
        )  # fmt: skip


@host_rule
def servers_have_their_machine(picture: Picture) -> Iterator[Violation]:
    """An ACTIVE or PAUSED server's machine runs; a stopped or SUSPENDED one's does not, but has its disks."""
    servers, found = held(picture, "nova", "servers"), _machines(picture)
    if servers is None or found is None:
        return
    host, machines, running = found
    under_way = busy(picture)
    for server in servers:
        if server["host"] not in host["computes"] or server["id"] in under_way:
            continue
        on = server["vm_state"] in RUNNING or (server["vm_state"] == "resized" and server["power_state"] == RUNS)
        if on and server["id"] not in running:
            yield Violation(
                "machine-not-running", server["id"],
                f"server is {server['vm_state']} but no QEMU process of it runs on its host",
                f"openstack server reboot --hard {server['id']}",
            )  # fmt: skip
        elif server["vm_state"] in OFF and server["id"] in running:
            yield Violation(
                "machine-runs-on", server["id"],
                f"server is {server['vm_state']} but its QEMU process {host['machine_pids'][server['id']]} runs",
                f"openstack server start {server['id']}, then stop it again",
            )  # fmt: skip
        if server["vm_state"] in OFF and server["id"] not in machines:
            yield Violation(
                "machine-missing", server["id"],
                f"server is {server['vm_state']} but its host has no disks of it",
                "the disks are lost: delete the server, or rebuild it",
            )  # fmt: skip


@host_rule
def machines_have_a_server(picture: Picture) -> Iterator[Violation]:
    """No machine directory and no QEMU process without a server here."""
    servers, found = held(picture, "nova", "servers"), _machines(picture)
    if servers is None or found is None:
        return
    host, machines, running = found
    mine = {server["id"] for server in servers if server["host"] in host["computes"]} | busy(picture)
    # what a move that is not settled yet has on its source
    mine |= {move["server_id"] for move in held(picture, "nova", "migrations") or []
             if move.get("source_host") in host["computes"] and move["server_exists"]}
    for server_id in sorted((machines | running) - mine):
        runs = f"process {host['machine_pids'][server_id]} runs" if server_id in running else "its files are there"
        yield Violation(
            "machine-without-server", server_id,
            f"a machine of a server that is not on this host: {runs}",
            "look at its disk before you remove it: nova-compute removes machines of servers that it knows to be "
            "deleted, and leaves those that nobody knows",
        )  # fmt: skip


@rule
def machines_run_once(picture: Picture) -> Iterator[Violation]:
    """No server has a QEMU process on two hosts, but while it moves: they would write to one volume."""
    found: dict[str, list[str]] = {}
    for host in [picture.get("host"), *picture.get("hosts", ())]:
        if isinstance(host, dict) and host.get("runs_servers"):
            for server_id in host.get("machine_pids", ()):
                found.setdefault(server_id, []).append(host["name"])
    for server_id in sorted(found.keys() - busy(picture)):
        if len(found[server_id]) > 1:
            yield Violation(
                "machine-runs-twice", server_id,
                f"the server's machine runs on {' and on '.join(found[server_id])}",
                "end the one that is not on the host that `openstack server show` names",
            )  # fmt: skip


@host_rule
def no_strays(picture: Picture) -> Iterator[Violation]:
    """No process of ours that no record on the host explains: a second QEMU would be a second writer on a disk."""
    host = picture.get("host")
    for text in host.get("strays", []) if isinstance(host, dict) else []:
        pid, _, command = text.partition(" ")
        yield Violation(
            "stray-process", pid,
            f"{command} runs, and no record names it",
            f"look at it (ps -f {pid}), then end it: kill {pid}",
        )  # fmt: skip


@host_rule
def machines_have_their_image(picture: Picture) -> Iterator[Violation]:
    """The base image that a server's disk stands on is in the host's cache."""
    servers, found = held(picture, "nova", "servers"), _machines(picture)
    if servers is None or found is None:
        return
    host, machines, _ = found
    for server in servers:
        image_id = server["image_id"]
        if server["id"] in machines and image_id and image_id not in host["images"] \
                and server["id"] not in busy(picture):
            yield Violation(
                "base-image-missing", server["id"],
                f"the server's disk stands on image {image_id}, which the host's cache has lost",
                f"put the image's bytes back as images/{image_id} in the state directory, from glance",
            )  # fmt: skip


@host_rule
def host_files_have_an_owner(picture: Picture) -> Iterator[Violation]:
    """No file below machines/, images/ and dhcp/ that belongs to nothing, no forgotten download, no forgotten copy."""
    host = picture.get("host")
    if not isinstance(host, dict) or "files" not in host:
        return
    downloading = any(op["kind"] in DOWNLOADING for service in ("nova", "cinder")
                      for op in held(picture, service, "operations") or [])
    images = set(host["images"])
    copying = any(op["kind"] in COPYING for op in held(picture, "nova", "operations") or [])
    for file in host["files"]:
        top, _, rest = file.partition("/")
        name = rest.partition("/")[0]
        known = top != "images" or name.removesuffix(".info") in images or (name == "incoming" and downloading)
        if top == "outgoing" and not copying:
            yield Violation(
                "copy-without-snapshot", file,
                "a copy of a server's disk, and no snapshot is under way",
                "remove it from the state directory",
            )  # fmt: skip
        if not known:
            yield Violation(
                "file-without-owner", file,
                "a file in the image cache that is no image of it",
                "remove it from the state directory",
            )  # fmt: skip
