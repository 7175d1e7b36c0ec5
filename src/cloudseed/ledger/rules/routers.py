"""This host has the routers that neutron wishes for it, and no others, and they work.

Names are computed as the host process does (`host/paths.py`), which the ledger must not import.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloudseed.ledger.rules.wiring import SEE_AGENT
from cloudseed.ledger.violations import Item, Picture, Violation, held, host_rule


def _suffix(router_id: str) -> str:
    return f"-rtr-{router_id.replace('-', '')[:12]}"


def _links(router: Item) -> set[str]:
    return {f"{'qg' if leg == router['gateway'] else 'qr'}-{leg[:11]}" for leg in router["legs"]}


def _here(picture: Picture) -> tuple[Item, list[Item], list[Item]] | None:
    """This host, its routers, and its wishes; None where nothing is wired."""
    host, routers = picture.get("host"), held(picture, "neutron", "routers")
    if not isinstance(host, dict) or not host.get("wires_networks") or "routers" not in host or routers is None:
        return None
    mine = [router for router in routers
            if router["host"] == host["name"] and router["legs"]]
    return host, mine, [wish for wish in held(picture, "neutron", "wishes") or [] if wish["host"] == host["name"]]


@host_rule
def routers_are_wired(picture: Picture) -> Iterator[Violation]:
    """Every router of this host has its namespace with its links; none of its routers failed."""
    found = _here(picture)
    if found is None:
        return
    host, routers, _ = found
    for router in routers:
        if router["error"]:
            yield Violation("router-failed", router["id"], f"the host cannot wire it: {router['error']}",
                            "mend what it says; neutron's agent tries again every 10 s")
            continue
        name = next((n for n in host["routers"] if n.endswith(_suffix(router["id"]))), None)
        if name is None:
            yield Violation("router-missing", router["id"], "router is this host's but has no namespace", SEE_AGENT)
            continue
        down = {port["id"] for port in held(picture, "neutron", "ports") or [] if not port["admin_state_up"]}
        wanted = {link for link in _links(router) if not any(link[3:] == leg[:11] for leg in down)}
        for link in sorted(wanted - set(host["router_links"].get(name, []))):
            yield Violation("router-link-missing", link, f"a port of router {router['id']} has no link in {name}",
                            SEE_AGENT)
        for fip in router["floatingips"]:
            if fip["status"] != "ACTIVE" and router["admin_state_up"]:
                yield Violation("floating-ip-down", fip["id"], f"router {router['id']} is wired, its address is "
                                f"{fip['status']}", SEE_AGENT)


@host_rule
def router_wiring_has_an_owner(picture: Picture) -> Iterator[Violation]:
    """No namespace or link of a router, no announcements, no end of an external network that no router explains."""
    found = _here(picture)
    if found is None:
        return
    host, routers, wishes = found
    wanted = {_suffix(router["id"]): router for router in routers}
    for name in host["routers"]:
        router = next((r for suffix, r in wanted.items() if name.endswith(suffix)), None)
        if router is None:
            yield Violation("router-leaked", name, "no router of this host explains it",
                            f"{SEE_AGENT}; by hand: ip netns delete {name}")
            continue
        for link in sorted(set(host["router_links"].get(name, [])) - _links(router)):
            yield Violation("router-link-leaked", link, f"no port of router {router['id']} explains it in {name}",
                            f"{SEE_AGENT}; by hand: ip netns exec {name} ip link delete {link}")
    ids = {router["id"] for router in routers}
    for router_id, pid in sorted(host["radvd_pids"].items()):
        if router_id not in ids:
            yield Violation("radvd-leaked", router_id, f"radvd {pid} announces a router that is not this host's",
                            f"{SEE_AGENT}; by hand: kill {pid}")
    ends = {network.replace("-", "")[:5] for wish in wishes for network in wish["external"]}
    for link in host["host_links"]:
        if link.rpartition("-x")[2] not in ends and not (link.endswith("-prov") and ends):
            yield Violation("host-link-leaked", link, "no external network that is used here explains it",
                            f"{SEE_AGENT}; by hand: ip link delete {link}")
    if host["host_rules"] and not ends:
        yield Violation("host-rules-leaked", host["name"], "the host has a table of ours without external networks",
                        f"{SEE_AGENT}; by hand: nft delete table inet <the cloud's name>")
