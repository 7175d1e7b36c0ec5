"""Networks across hosts: one VXLAN link for each network that other hosts have too, and where each remote port is.

    guest on A ── tap ── bridge ── vxlan ══ underlay ══ vxlan ── bridge ── tap ── guest on B
                            │        └ this MAC is at that host's underlay address
                            └ this MAC is behind the vxlan link; this address has that MAC

Nothing is learned and nothing is flooded: neutron says where every port is.  Unicast to an unknown MAC and
broadcasts stay on the host; who asks for the MAC of a remote port's address (ARP, neighbour discovery) is answered by
the bridge itself.  Only multicast crosses unasked, and only between the guests' hosts and the host of the network's
router: what guests send goes there, and the router's advertisements come from there (`firewall.py` sees to that).
DHCP never crosses: each host has its own.

Entries change one by one: what stays as it was is not touched, and a port that moves has its entry replaced in
place, so no packet to another port is lost and none to this one goes nowhere.

The link is made in the host's own namespace, where its packets leave, and moved into the network's, where its frames
are.  From the underlay the host takes tunnel packets of those hosts only that its networks' ports are on.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from cloudseed.host import binaries, links, netns, processes
from cloudseed.host.errors import HostError
from cloudseed.host.firewall import TUNNEL, comment_of, digest, link_local
from cloudseed.host.paths import check_ip, check_mac, namespace_name
from cloudseed.host.records import NetworkWish
from cloudseed.host.surroundings import Surroundings

PORT = 4789  # IANA's for VXLAN
_MULTICAST = "00:00:00:00:00:00"  # the driver's entry for frames to nobody in particular
_SELF, _MASTER, _STICKY = 0x02, 0x04, 0x40  # NTF_*
_PERMANENT, _STATIC = 0x80, 0x40  # NUD_PERMANENT, NUD_NOARP
# attribute of a bridge's port -> what it shall be
_PORT_FLAGS = {
    "IFLA_BRPORT_LEARNING": 0,
    "IFLA_BRPORT_UNICAST_FLOOD": 0,
    "IFLA_BRPORT_BCAST_FLOOD": 0,
    "IFLA_BRPORT_MCAST_FLOOD": 1,
    "IFLA_BRPORT_NEIGH_SUPPRESS": 1,
}


@dataclass
class Entries:
    """What the kernel knows, or shall know, of one network's remote ports.

    `hosts`: the underlay addresses of each MAC (one, but for multicast); `bridged`: MACs behind the link;
    `neighbours`: the MAC of each address.
    """

    hosts: dict[str, set[str]] = field(default_factory=dict)
    bridged: set[str] = field(default_factory=set)
    neighbours: dict[str, str] = field(default_factory=dict)


def within(wish: NetworkWish, around: Surroundings) -> NetworkWish:
    """The wish as this host can have it: without an underlay, or where a provider's segment joins the hosts already,
    no tunnel."""
    if around.underlay and not (wish.external is not None and around.provider_interface):
        return wish
    if wish.segmentation_id is None and not wish.remotes:
        return wish
    return msgspec.structs.replace(wish, segmentation_id=None, remotes=[])


def check(wish: NetworkWish) -> None:
    """Raises HostError `invalid` for ids and addresses that make no sense."""
    number = wish.segmentation_id
    if number is not None and not 1 <= number < 1 << 24:
        raise HostError("invalid", f"the segmentation id of network {wish.network_id} must be 1 to 16777215")
    for remote in wish.remotes:
        check_mac(remote.mac_address, f"the MAC address of a remote port of network {wish.network_id}")
        _underlay(remote.underlay)
        for address in remote.ip_addresses:
            check_ip(address, f"an address of a remote port of network {wish.network_id}")


def wanted(wish: NetworkWish, own: str) -> Entries:
    """The entries for a network's remote ports; `own` is this host's underlay address."""
    found = Entries()
    routers = {remote.underlay for remote in wish.remotes if remote.router}
    everybody = {remote.underlay for remote in wish.remotes} - {own}
    many = everybody if wish.legs else routers - {own}
    if many:
        found.hosts[_MULTICAST] = many
    for remote in wish.remotes:
        if remote.underlay == own:
            continue
        mac = remote.mac_address
        found.hosts[mac] = {remote.underlay}
        found.bridged.add(mac)
        for address in (*remote.ip_addresses, link_local(mac)):
            if ":" not in address or links.has_ipv6():
                found.neighbours[str(ipaddress.ip_address(address))] = mac
    return found


def apply(cloud: str, wish: NetworkWish, around: Surroundings) -> bool:
    """Join the network to other hosts, after its bridge and rules are there; true when something changed.

    A link that is wished no more went with the others of the namespace.
    """
    if wish.segmentation_id is None:
        return False
    namespace = namespace_name(cloud, wish.network_id)
    changed = False
    if not netns.run(namespace, lambda: _is_right(wish, around.underlay)):
        _make(namespace, wish, around.underlay)
        changed = True
    return netns.run(namespace, lambda: _join(wish, around.underlay)) or changed


def admit(cloud: str, wishes: Sequence[NetworkWish], around: Surroundings) -> None:
    """Let the host take tunnel packets from the hosts of these networks' remote ports, and from nobody else.

    Where no network has a tunnel there are no rules, and nobody who would listen.
    """
    if not around.underlay:
        return
    joined = [wish for wish in wishes if wish.segmentation_id is not None]
    if not joined:
        remove_rules(cloud)
        return
    peers = {_underlay(remote.underlay) for wish in joined for remote in wish.remotes} - {around.underlay}
    rules = ruleset(cloud, around.underlay, peers)
    if _loaded(cloud) != comment_of(rules):
        processes.run_tool([binaries.find("nft"), "-f", "-"], "loading the underlay's rules", input_text=rules)


def ruleset(cloud: str, own: str, peers: Collection[str]) -> str:
    """The host's own table for the underlay, as one nft transaction."""
    table = _table(cloud)
    others = f" ip saddr != {{ {', '.join(sorted(peers))} }}" if peers else ""
    body = "\n".join([
        f"table inet {table} {{", "  @COMMENT@", "  chain input {",
        # before connections are looked up: what is refused shall cost nothing
        "    type filter hook input priority -300; policy accept;",
        f"    ip daddr {own} udp dport {PORT}{others} drop", "  }", "}", "",
    ])  # fmt: skip
    body = body.replace("@COMMENT@", f'comment "{digest(body)}"')
    return f"add table inet {table}\ndelete table inet {table}\n{body}"


def has_rules(cloud: str) -> bool:
    """Whether the host has a table of ours for the underlay."""
    return _loaded(cloud) is not None


def remove_rules(cloud: str) -> None:
    """Leave no rule of ours about the underlay."""
    if has_rules(cloud):
        command = [binaries.find("nft"), "delete", "table", "inet", _table(cloud)]
        processes.run_tool(command, "removing the underlay's rules")


def tunnel(namespace: str) -> int | None:
    """The segmentation id of the tunnel in a namespace of ours; None without one."""

    def look() -> int | None:
        with IPRoute() as ip:
            data = _link_data(ip)
            return None if data is None else int(data.get_attr("IFLA_VXLAN_ID"))

    return netns.run(namespace, look)


# ---- the link

def _make(namespace: str, wish: NetworkWish, own: str) -> None:
    """From the host's own namespace: the link's packets leave from where it was made."""
    with IPRoute() as ip, netns.descriptor(namespace) as there:
        try:
            ip.link(
                "add",
                ifname=TUNNEL,
                kind="vxlan",
                vxlan_id=wish.segmentation_id,
                vxlan_local=own,
                vxlan_port=PORT,
                vxlan_learning=0,
                mtu=wish.mtu,
                net_ns_fd=there,
            )
        except NetlinkError as exc:
            if exc.code != 17:
                raise
            message = (
                f"this host has a VXLAN link with the id {wish.segmentation_id} of network {wish.network_id} already, "
                "which is not ours: remove it, or give the network another segment"
            )
            raise HostError("conflict", message) from exc


def _is_right(wish: NetworkWish, own: str) -> bool:
    """Whether the link is there as wished; another one of its name goes."""
    with IPRoute() as ip:
        data = _link_data(ip)
        if data is not None and (data.get_attr("IFLA_VXLAN_ID"), data.get_attr("IFLA_VXLAN_LOCAL")) == (
            wish.segmentation_id,
            own,
        ):
            return True
        present = links.list_links(ip).get(TUNNEL)
        if present is not None:
            links.remove_link(ip, present)
        return False


def _link_data(ip: IPRoute) -> Any | None:
    if TUNNEL not in links.list_links(ip):
        return None
    (link,) = ip.get_links(ifname=TUNNEL)
    about = link.get_attr("IFLA_LINKINFO")
    return about.get_attr("IFLA_INFO_DATA") if about.get_attr("IFLA_INFO_KIND") == "vxlan" else None


def _join(wish: NetworkWish, own: str) -> bool:
    """On the bridge with its flags, with its entries; from within the namespace."""
    with IPRoute() as ip:
        present = links.list_links(ip)
        link, bridge = present[TUNNEL], present[links.BRIDGE]
        # without entries it sends nothing, so it may be up before it has its flags
        changed = links.plug(ip, link, bridge, wish.mtu, True)
        (shown,) = ip.get_links(ifname=TUNNEL)
        flags = shown.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_SLAVE_DATA")
        if any(flags.get_attr(name) != value for name, value in _PORT_FLAGS.items()):
            ip.brport("set", index=link.index, **_PORT_FLAGS)
            changed = True
        return _sync(ip, link.index, bridge.index, wanted(wish, own)) or changed


# ---- entries

def present(ip: IPRoute, link: int, bridge: int) -> Entries:
    """The entries that the kernel has for the link, but for those that it makes for itself."""
    found = Entries()
    for message in ip.fdb("dump"):
        mac = message.get_attr("NDA_LLADDR")
        if message["ifindex"] != link:
            continue
        if message.get_attr("NDA_DST") is not None:
            found.hosts.setdefault(mac, set()).add(message.get_attr("NDA_DST"))
        elif message.get_attr("NDA_MASTER") is not None and message["state"] == _STATIC:
            found.bridged.add(mac)
    for message in ip.get_neighbours(ifindex=bridge):
        if message["ifindex"] == bridge and message["state"] == _PERMANENT:
            address = str(ipaddress.ip_address(message.get_attr("NDA_DST")))
            found.neighbours[address] = message.get_attr("NDA_LLADDR")
    return found


def _sync(ip: IPRoute, link: int, bridge: int, wish: Entries) -> bool:
    """Mend the difference.  What comes is known to the link first, and asked for last; what goes, the other way."""
    have = present(ip, link, bridge)
    for address in have.neighbours.keys() - wish.neighbours.keys():
        _neighbour(ip, "del", bridge, address, have.neighbours[address])
    for mac in have.bridged - wish.bridged:
        ip.fdb("del", ifindex=link, lladdr=mac, flags=_MASTER)
    for mac in have.hosts.keys() - wish.hosts.keys() - {_MULTICAST}:
        ip.fdb("del", ifindex=link, lladdr=mac, dst=min(have.hosts[mac]), flags=_SELF)
    for mac, hosts in wish.hosts.items():
        if mac != _MULTICAST and have.hosts.get(mac) != hosts:
            # in place: the next packet goes to the new host
            ip.fdb("replace", ifindex=link, lladdr=mac, dst=min(hosts), flags=_SELF, state=_PERMANENT)
    have_many, want_many = have.hosts.get(_MULTICAST, set()), wish.hosts.get(_MULTICAST, set())
    for host in want_many - have_many:
        ip.fdb("append", ifindex=link, lladdr=_MULTICAST, dst=host, flags=_SELF, state=_PERMANENT)
    for host in have_many - want_many:
        ip.fdb("del", ifindex=link, lladdr=_MULTICAST, dst=host, flags=_SELF)
    for mac in wish.bridged - have.bridged:
        # sticky: a guest that sends under this MAC, as one without port security may, does not draw it to itself
        ip.fdb("replace", ifindex=link, lladdr=mac, flags=_MASTER | _STICKY, state=_STATIC)
    for address, mac in wish.neighbours.items():
        if have.neighbours.get(address) != mac:
            _neighbour(ip, "replace", bridge, address, mac)
    return have != wish


def _neighbour(ip: IPRoute, command: str, bridge: int, address: str, mac: str) -> None:
    family = 10 if ":" in address else 2
    ip.neigh(command, ifindex=bridge, dst=address, lladdr=mac, family=family, state=_PERMANENT)


# ---- the host's rules

def _table(cloud: str) -> str:
    return f"{cloud}-underlay"


def _loaded(cloud: str) -> str | None:
    shown = processes.run_tool([binaries.find("nft"), "-t", "list", "ruleset", "inet"], "reading the host's rules")
    _, found, ours = shown.partition(f"table inet {_table(cloud)} {{\n")
    return comment_of(ours.partition("\n}")[0]) if found else None


def _underlay(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise HostError("invalid", f"an underlay address must be an IPv4 address, not {text[:64]!r}") from None
