"""Routers of this host: a namespace each, links into the networks' namespaces, addresses, routes, translation.

`apply` runs after the networks are wired, since a leg's other end is put onto a network's bridge.  What it
translates is in place before its links are, so no packet leaves under an inner address.  Established connections
whose translation is no longer wished are forgotten by the kernel, as neutron has it: a floating address that goes
takes its connections along.
"""

from __future__ import annotations

import shutil
import socket
import struct
import time
from collections.abc import Collection, Sequence

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from cloudseed.host import advertising, binaries, connections, links, netns, processes, routes, strays, translation
from cloudseed.host.errors import HostError, from_os_error
from cloudseed.host.firewall import comment_of
from cloudseed.host.paths import (
    StatePaths,
    check_cidr,
    check_ip,
    check_mac,
    check_uuid,
    leg_name,
    namespace_name,
    router_link_name,
    router_namespace,
)
from cloudseed.host.records import RouterLeg, RouterStatus, RouterWish

_FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
_SYSCTLS = {
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    # addresses are neutron's, so nobody has to be asked whether they are free, nor who routes
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/all/disable_ipv6": "0",
}
REFRESH_S = 10.0  # as often as agents have everything wired anew
_announced: dict[str, set[str]] = {}  # port id -> the addresses that this process has told the neighbours of
_heard_of: dict[str, float] = {}  # port id -> when anything was last told of it


def apply(
    cloud: str, paths: StatePaths, wishes: Sequence[RouterWish], failed: dict[str, str]
) -> list[RouterStatus]:
    """Make the routers so; `failed` are networks that could not be wired, with the reason."""
    found = []
    for wish in wishes:
        try:
            changed = _apply_one(cloud, paths, wish, failed)
        except HostError as exc:
            found.append(RouterStatus(router_id=wish.router_id, changed=True, error=exc.message))
        else:
            found.append(RouterStatus(router_id=wish.router_id, changed=changed))
    return found


def remove_others(cloud: str, paths: StatePaths, keep: Collection[str]) -> list[str]:
    """Remove every router of ours but these; returns the names of the namespaces that went.

    The links go first: radvd's last word, that there is no router any more, must not reach the guests of a router
    that another host has now.
    """
    kept = {router_namespace(cloud, router_id) for router_id in keep}
    removed = [name for name in netns.names(f"{cloud}-rtr-") if name not in kept]
    for name in removed:
        try:
            netns.run(name, lambda: _remove_links(()))
        except HostError as exc:
            if exc.code != "not_found":
                raise
    if paths.routers.is_dir():
        for directory in sorted(paths.routers.iterdir()):
            if directory.name not in keep:
                advertising.stop(directory)
                shutil.rmtree(directory, ignore_errors=True)
    for pid, _ in strays.in_namespaces(removed):
        strays.end(pid)
    for name in removed:
        netns.remove(name)
    return removed


def legs(namespace: str) -> list[str]:
    """The links of a router of ours."""

    def look() -> list[str]:
        with IPRoute() as ip:
            return sorted(name for name in links.list_links(ip) if name.startswith(("qr-", "qg-")))

    return netns.run(namespace, look)


def _all_legs(wish: RouterWish) -> list[RouterLeg]:
    return [*wish.legs, *([wish.gateway] if wish.gateway else [])]


def _apply_one(cloud: str, paths: StatePaths, wish: RouterWish, failed: dict[str, str]) -> bool:
    _check(wish)
    for leg in _all_legs(wish):
        if leg.network_id in failed:
            raise HostError("failed", f"network {leg.network_id} is not wired: {failed[leg.network_id]}")
    rules = translation.ruleset(cloud, wish)
    name = router_namespace(cloud, wish.router_id)
    directory = paths.router(wish.router_id)
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        directory.chmod(0o755)
        changed = netns.create(name)
        changed |= netns.run(name, lambda: _prepare(cloud, wish, rules))
        for leg in _all_legs(wish):
            changed |= _join(cloud, name, leg, leg is wish.gateway)
        changed |= netns.run(name, lambda: _address(wish))
        return advertising.sync(name, directory, wish) or changed
    except OSError as exc:
        raise from_os_error(exc, f"wiring router {wish.router_id}") from exc
    except NetlinkError as exc:
        raise HostError("failed", f"the kernel refused a part of router {wish.router_id}: {exc}") from exc


def _check(wish: RouterWish) -> None:
    check_uuid(wish.router_id, "router_id")
    names: set[str] = set()
    for leg in _all_legs(wish):
        check_uuid(leg.port_id, "port_id")
        check_uuid(leg.network_id, "network_id")
        check_mac(leg.mac_address, f"the MAC address of port {leg.port_id}")
        for address in leg.addresses:
            check_cidr(address, f"an address of port {leg.port_id}")
        if not 68 <= leg.mtu <= 65521:
            raise HostError("invalid", f"the MTU of port {leg.port_id} must be 68 to 65521, not {leg.mtu}")
        if leg_name(leg.port_id) in names:
            raise HostError("invalid", f"two ports of router {wish.router_id} would share a link's name")
        names.add(leg_name(leg.port_id))
    for hop in wish.next_hops:
        check_ip(hop, "a next hop")


def _prepare(cloud: str, wish: RouterWish, rules: str) -> bool:
    """Settings, what is translated, and links that go; from within the namespace."""
    with IPRoute() as ip:
        ip.link("set", index=1, state="up")
    for key, value in {**_SYSCTLS, **dict.fromkeys(_FORWARDING, "1" if wish.forwards else "0")}.items():
        if not links.write_sysctl(key, value) and "ipv4" in key:
            raise HostError("failed", f"the kernel has no {key}, which routers need")
    changed = _load(cloud, rules)
    connections.judge(wish.router_id, rules, lambda: connections.end_untranslated(translation.summary(wish)))
    wanted = {router_link_name(leg.port_id, leg is wish.gateway) for leg in _all_legs(wish)}
    return _remove_links(wanted) or changed


def _load(cloud: str, rules: str) -> bool:
    nft = binaries.find("nft")
    tables = processes.run_tool([nft, "-t", "list", "tables", "ip"], "reading a router's rules")
    if f"table ip {cloud}\n" in tables:
        shown = processes.run_tool([nft, "-t", "list", "table", "ip", cloud], "reading a router's rules")
        if f'comment "{comment_of(rules)}"' in shown:
            return False
    processes.run_tool([nft, "-f", "-"], "loading a router's rules", input_text=rules)
    return True


def _remove_links(keep: Collection[str]) -> bool:
    changed = False
    with IPRoute() as ip:
        for name, link in links.list_links(ip).items():
            if name.startswith(("qr-", "qg-")) and name not in keep:
                links.remove_link(ip, link)
                changed = True
    return changed


def _join(cloud: str, namespace: str, leg: RouterLeg, gateway: bool) -> bool:
    """The link between the router and a network, its far end on the network's bridge."""
    near, far = router_link_name(leg.port_id, gateway), leg_name(leg.port_id)
    network = namespace_name(cloud, leg.network_id)

    def make() -> bool:
        with IPRoute() as ip, netns.descriptor(network) as there:
            if near in links.list_links(ip):
                return False
            ip.link(
                "add",
                ifname=near,
                kind="veth",
                address=leg.mac_address,
                peer={"ifname": far, "net_ns_fd": there},
            )
            return True

    def drop_stale() -> None:
        with IPRoute() as ip:
            present = links.list_links(ip)
            if far in present:
                links.remove_link(ip, present[far])

    def plug() -> bool:
        with IPRoute() as ip:
            present = links.list_links(ip)
            return links.plug(ip, present[far], present[links.BRIDGE], leg.mtu, True)

    have = netns.run(namespace, lambda: near in _link_names())
    if not have:
        netns.run(network, drop_stale)  # its other end is in a namespace that lost its name
    changed = netns.run(namespace, make)
    return netns.run(network, plug) or changed


def _link_names() -> set[str]:
    with IPRoute() as ip:
        return set(links.list_links(ip))


def _address(wish: RouterWish) -> bool:
    """Addresses, routes, and a word to the neighbours; from within the namespace."""
    changed = False
    fresh: list[tuple[str, RouterLeg, set[str]]] = []
    with IPRoute() as ip:
        present = links.list_links(ip)
        for leg in _all_legs(wish):
            link = present[router_link_name(leg.port_id, leg is wish.gateway)]
            wanted = {f"{check_ip(a.partition('/')[0], 'an address')}/{int(a.partition('/')[2])}"
                      for a in leg.addresses}
            if leg is wish.gateway:
                own = {a.partition("/")[0] for a in wanted}
                shown = {*translation.floating(wish), *(translation.address4(f.floating_ip) for f in wish.forwardings)}
                wanted |= {f"{address}/32" for address in shown - own}
            if not link.up or link.mtu != leg.mtu or link.mac != leg.mac_address:
                ip.link("set", index=link.index, mtu=leg.mtu, address=leg.mac_address, state="up")
                changed = True
            new = links.sync_addresses(ip, link.index, wanted)
            changed |= new is not None
            # and once what is there already: who gave it may have been killed before saying so
            told = _announced.get(leg.port_id, set()) - (new or set())
            fresh.append((link.name, leg, wanted - told))
            _announced[leg.port_id] = told & wanted
        changed |= routes.sync(ip, _routes(wish, {n: link.index for n, link in links.list_links(ip).items()}))
    for name, leg, untold in fresh:
        told = {address for address in untold if ":" not in address}
        if leg is wish.gateway and time.monotonic() - _heard_of.get(leg.port_id, -REFRESH_S) >= REFRESH_S:
            # a host that was cut off may have had this router and may just have said a word by the same MAC address:
            # switches would send to it until somebody here speaks, and one address is enough for them
            told |= {address for address in leg.addresses[:1] if ":" not in address}
        for address in told:
            _announce(name, leg.mac_address, address.partition("/")[0])
            _heard_of[leg.port_id] = time.monotonic()
        _announced[leg.port_id] |= untold
    return changed


def _routes(wish: RouterWish, index: dict[str, int]) -> set[routes.Route]:
    wanted = {routes.Route(check_cidr(r.destination, "a route"), check_ip(r.nexthop, "a next hop"), None)
              for r in wish.routes}
    if wish.gateway is not None:
        outside = index[router_link_name(wish.gateway.port_id, True)]
        for hop in wish.next_hops:
            everywhere = "::/0" if ":" in hop else "0.0.0.0/0"
            wanted.add(routes.Route(everywhere, check_ip(hop, "a next hop"), outside))
        wanted |= {routes.Route(check_cidr(cidr, "a subnet"), None, outside) for cidr in wish.onlink}
    return wanted


def _announce(link: str, mac: str, address: str) -> None:
    """Tell the neighbours who has the address now (RFC 5944, 4.6); one who had it before may be in their caches."""
    sender = bytes.fromhex(mac.replace(":", "")) + socket.inet_aton(address)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + sender + bytes(6) + socket.inet_aton(address)
    frame = b"\xff" * 6 + sender[:6] + struct.pack("!H", 0x0806) + body
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((link, 0))
        try:
            sock.send(frame)
        except OSError:
            return  # nobody hears it yet: then nobody has an old answer either


