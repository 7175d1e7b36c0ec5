"""Routes of the current network namespace that are ours: those of our protocol number, in the main table."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from cloudseed.host.errors import HostError

PROTOCOL = 196  # none of iproute2's names
_MAIN = 254


@dataclass(frozen=True)
class Route:
    """Either by a next hop (on the link of that index, or wherever it is reached) or straight onto the link."""

    destination: str  # CIDR
    via: str | None
    link: int | None


def sync(ip: IPRoute, wanted: set[Route]) -> bool:
    """Make our routes so; true when something changed.  `failed` when the kernel refuses one."""
    present = _present(ip)
    gone = {found: route for found, route in present.items() if not any(_same(found, w) for w in wanted)}
    for message in gone.values():
        try:
            ip.route("del", **message)
        except NetlinkError as exc:
            if exc.code != 3:  # it went by itself, with its link
                raise
    missing = [w for w in wanted if not any(_same(found, w) for found in present)]
    # a hop may lie behind another of our routes: straight ones first
    for route in sorted(missing, key=lambda r: (r.via is not None, r.link is None)):
        try:
            ip.route("replace", **_message(route))
        except NetlinkError as exc:
            how = f"by {route.via}" if route.via else "on its link"
            raise HostError("failed", f"the kernel refused the route to {route.destination} {how}: {exc}") from exc
    return bool(gone or missing)


def _same(found: Route, wanted: Route) -> bool:
    return (found.destination, found.via) == (wanted.destination, wanted.via) and wanted.link in (None, found.link)


def _family(text: str) -> int:
    return socket.AF_INET6 if ":" in text else socket.AF_INET


def _message(route: Route) -> dict[str, Any]:
    message: dict[str, Any] = {
        "dst": route.destination, "family": _family(route.destination), "proto": PROTOCOL, "table": _MAIN,
    }  # fmt: skip
    if route.via is not None:
        message["gateway"] = route.via
    else:
        message["scope"] = 253
    if route.link is not None:
        message["oif"] = route.link
        if route.via is not None and _family(route.via) == socket.AF_INET:
            message["flags"] = 4  # onlink: a gateway may lie outside of its subnet
    return message


def _present(ip: IPRoute) -> dict[Route, dict[str, Any]]:
    found = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        for message in ip.get_routes(family=family, table=_MAIN):
            if message["proto"] != PROTOCOL:
                continue
            everywhere = "0.0.0.0" if family == socket.AF_INET else "::"  # noqa: S104 - a default route's destination
            destination = str(ipaddress.ip_network((message.get_attr("RTA_DST") or everywhere, message["dst_len"])))
            via, link = message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_OIF")
            route = Route(destination, str(ipaddress.ip_address(via)) if via else None, link)
            found[route] = _message(Route(destination, route.via, link)) | {"oif": link}
    return found
