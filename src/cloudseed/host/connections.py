"""Established connections that no rule permits any more.

The firewall lets replies pass, so a connection lives on when the rule that let it in is gone.  Neutron ends such
connections, and so do we: after each change of rules every tracked connection of the network is judged as its
first packet would be now, and forgotten by the kernel if it would be refused.  Its next packet is then a new one.
Connections that are still permitted are not touched.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from cloudseed.host.firewall import ICMP_PROTOCOLS, protocol_number
from cloudseed.host.records import NetworkWish, PortWish, RuleWish

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")  # of the reader's namespace
_DHCP_PORTS = frozenset({67, 68, 546, 547})
_judged: dict[str, int] = {}  # a network's or router's id -> by which rules this process judged its connections


@dataclass(frozen=True)
class Connection:
    """A connection's first packet.  For ICMP the ports are type and code."""

    source: _Address
    destination: _Address
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None
    icmp_code: int | None = None


@dataclass(frozen=True)
class Translation:
    """What a router translates: fixed addresses by floating ones, those that ports of an address lead to, and the
    address that all else shows outside."""

    floating: dict[str, str]
    forwarded: dict[str, set[str]]
    snat: str | None


def permitted(connection: Connection, ports: Sequence[PortWish]) -> bool:
    """Whether the rules of the local ports at its two ends let the connection begin."""
    if connection.protocol == socket.IPPROTO_UDP and connection.destination_port in _DHCP_PORTS:
        return True
    for direction, own, remote in (
        ("egress", connection.source, connection.destination),
        ("ingress", connection.destination, connection.source),
    ):
        for port in ports:
            if _has_address(port, own) and not any(
                rule.direction == direction and _matches(rule, connection, remote) for rule in port.rules
            ):
                return False
    return True


def judge(what: str, rules: str, end: Callable[[], int]) -> None:
    """Have `end` look at the connections of a network or router once for these rules, which are in force.

    Also the first time that this process sees it: who put them in force may have been killed before it looked.
    """
    if _judged.get(what) != hash(rules):
        end()
        _judged[what] = hash(rules)


def end_unpermitted(wish: NetworkWish) -> int:
    """Make the current namespace forget the connections that are permitted no more; returns how many."""
    if _COUNT.exists() and int(_COUNT.read_text()) == 0:
        return 0  # as at most starts of a network's first machines; to ask the kernel takes 20 ms
    ports = [p for p in wish.ports if p.local and p.port_security_enabled]
    ended = 0
    for family in (socket.AF_INET, socket.AF_INET6):
        with NFCTSocket(nfgen_family=family) as conntrack:
            for entry in list(conntrack.dump()):
                begin = NFCTAttrTuple.from_netlink(family, entry.get_attr("CTA_TUPLE_ORIG"))
                if permitted(_connection(begin), ports):
                    continue
                try:
                    conntrack.entry("del", tuple_orig=begin)
                    ended += 1
                except NetlinkError:
                    continue  # it ended by itself meanwhile
    return ended


def translated_well(begin: tuple[str, str], answer: tuple[str, str], router: Translation) -> bool:
    """Whether a router would translate the connection still as it did at its beginning.

    `begin` and `answer` are (source, destination) of the first packet and of its answer.  An answer that comes from
    elsewhere than the first packet went to was led there by a floating address; one that goes elsewhere than the
    first packet came from, by the address that the sender shows.
    """
    fixed = router.floating.get(begin[1])
    led_well = answer[0] == fixed if fixed else answer[0] in (begin[1], *router.forwarded.get(begin[1], ()))
    shown = {floating for floating, own in router.floating.items() if own == begin[0]}
    return led_well and (answer[1] in shown or answer[1] in (begin[0], router.snat))


def end_untranslated(router: Translation) -> int:
    """Make the current namespace forget connections that it would not translate as it does; returns how many."""
    if _COUNT.exists() and int(_COUNT.read_text()) == 0:
        return 0
    ended = 0
    with NFCTSocket(nfgen_family=socket.AF_INET) as conntrack:
        for entry in list(conntrack.dump()):
            begin = NFCTAttrTuple.from_netlink(socket.AF_INET, entry.get_attr("CTA_TUPLE_ORIG"))
            answer = NFCTAttrTuple.from_netlink(socket.AF_INET, entry.get_attr("CTA_TUPLE_REPLY"))
            if translated_well((begin.saddr, begin.daddr), (answer.saddr, answer.daddr), router):
                continue
            try:
                conntrack.entry("del", tuple_orig=begin)
                ended += 1
            except NetlinkError:
                continue  # it ended by itself meanwhile
    return ended


def _connection(begin: NFCTAttrTuple) -> Connection:
    icmp = begin.proto in ICMP_PROTOCOLS
    return Connection(
        source=ipaddress.ip_address(begin.saddr),
        destination=ipaddress.ip_address(begin.daddr),
        protocol=begin.proto,
        source_port=None if icmp else begin.sport,
        destination_port=begin.icmp_type if icmp else begin.dport,
        icmp_code=begin.icmp_code if icmp else None,
    )


def _has_address(port: PortWish, address: _Address) -> bool:
    own = [fixed.ip_address for fixed in port.fixed_ips]
    own += [pair.ip_address for pair in port.allowed_address_pairs]
    return any(_contains(cidr, address) for cidr in own)


def _matches(rule: RuleWish, connection: Connection, remote: _Address) -> bool:
    if remote.version != (4 if rule.ethertype == "IPv4" else 6):
        return False
    if rule.remote_cidrs is not None and not any(_contains(c, remote) for c in rule.remote_cidrs):
        return False
    number = protocol_number(rule)
    if number is None:
        return True
    if number != connection.protocol:
        return False
    low, high, value = rule.port_range_min, rule.port_range_max, connection.destination_port
    if number in ICMP_PROTOCOLS:
        return (low is None or low == value) and (high is None or high == connection.icmp_code)
    if value is None:
        return True
    return (low is None or low <= value) and (high is None or value <= high)


def _contains(cidr: str, address: _Address) -> bool:
    network = ipaddress.ip_network(cidr, strict=False)
    return network.version == address.version and address in network
