"""Nova and neutron agree on which server has which port."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cloudseed.ledger.violations import Picture, Violation, busy, held, moment, operations, rule

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
PLUG_DEADLINE_S = 120.0


@rule
def ports_have_a_server(picture: Picture) -> Iterator[Violation]:
    """A port that a server owns (device_owner compute:...) belongs to a server that is there."""
    servers, ports = held(picture, "nova", "servers"), held(picture, "neutron", "ports")
    if servers is None or ports is None:
        return
    # a port that is made for an attachment is the operation's until the server has it
    there = {server["id"] for server in servers} | busy(picture) | {op["id"] for _, op in operations(picture)}
    for port in ports:
        # nova makes a port before it binds it: until then its owner is empty and its device the server
        begun = not port["device_owner"] and UUID.match(port["device_id"])
        if (begun or port["device_owner"].startswith("compute:")) and port["device_id"] not in there:
            yield Violation(
                "port-without-server", port["id"],
                f"port is owned by server {port['device_id'] or '(none)'}, which is not there",
                f"openstack port delete {port['id']}",
            )  # fmt: skip


@rule
def servers_know_their_ports(picture: Picture) -> Iterator[Violation]:
    """What a server shows as its interfaces are its ports, all of them and no others."""
    servers, ports = held(picture, "nova", "servers"), held(picture, "neutron", "ports")
    if servers is None or ports is None:
        return
    have: dict[str, set[str]] = {}
    for port in ports:
        have.setdefault(port["device_id"], set()).add(port["id"])
    for server in servers:
        mine, shown = have.get(server["id"], set()), set(server["ports"])
        if server["id"] in busy(picture) or mine == shown:
            continue
        for port_id in sorted(shown - mine):
            yield Violation(
                "port-missing", server["id"],
                f"server shows an interface on port {port_id}, which is not its port in neutron",
                f"openstack server remove port {server['id']} {port_id}",
            )  # fmt: skip
        for port_id in sorted(mine - shown):
            yield Violation(
                "port-unknown", server["id"],
                f"port {port_id} is the server's in neutron, but the server does not know it",
                f"openstack port delete {port_id}, unless something is about to attach it",
            )  # fmt: skip


@rule
def ports_come_up(picture: Picture) -> Iterator[Violation]:
    """A port that is bound to a host and not taken down becomes ACTIVE, and its server is told."""
    networks = held(picture, "neutron", "networks") or []
    down = {network["id"] for network in networks if not network["admin_state_up"]}
    for port in held(picture, "neutron", "ports") or []:
        waits = moment(picture) - port["status_since"]
        if waits < PLUG_DEADLINE_S or port["vif_type"] != "bridge" or not port["device_owner"].startswith("compute:"):
            continue
        if port["admin_state_up"] and port["network_id"] not in down and port["status"] != "ACTIVE":
            yield Violation(
                "port-not-wired", port["id"],
                f"port is {port['status']} on host {port['host']} for {waits:.0f} s",
                "see what the neutron agent of that host logs, and whether it lives: openstack network agent list",
            )  # fmt: skip
        if port["plug_event"]:
            yield Violation(
                "event-owed", port["id"],
                f"nova was not told of {port['plug_event']} for {waits:.0f} s",
                "see whether nova-api answers; neutron tries again by itself",
            )  # fmt: skip
