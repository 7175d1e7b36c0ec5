"""Routers of a host: what each joins, what it translates, and what became of it."""

from __future__ import annotations

from typing import Literal

from cloudseed.host.records.base import Record
from cloudseed.host.records.networks import BandwidthWish, HostRoute


class Advertisement(Record, frozen=True, kw_only=True):
    """What a router announces of one IPv6 subnet (RFC 4861).  `mode` is neutron's `ipv6_ra_mode`."""

    prefix: str  # CIDR
    mode: Literal["slaac", "dhcpv6-stateless", "dhcpv6-stateful"]
    dns_nameservers: list[str] = []


class RouterLeg(Record, frozen=True, kw_only=True):
    """One port of a router: a link between its namespace and a network's.  `addresses` are `ip/prefix`."""

    port_id: str
    network_id: str
    mac_address: str
    addresses: list[str]
    mtu: int = 1500
    advertisements: list[Advertisement] = []


class FloatingWish(Record, frozen=True, kw_only=True):
    """A floating address and the fixed one that it stands for, all ports of it."""

    floatingip_id: str
    floating_ip: str
    fixed_ip: str
    egress: BandwidthWish | None = None  # what passes under the address, seen from the machine
    ingress: BandwidthWish | None = None


class ForwardingWish(Record, frozen=True, kw_only=True):
    """One port, or a range of ports, of a floating address, and where they lead."""

    floatingip_id: str = ""
    floating_ip: str
    protocol: Literal["tcp", "udp", "sctp", "dccp"]
    floating_port: int
    fixed_ip: str
    fixed_port: int
    count: int = 1
    into_one: bool = False  # all of the range lead to `fixed_port`, and not each to one of its own


class RouterWish(Record, frozen=True, kw_only=True):
    """All that one router needs on this host: a namespace with its legs, routes and translation.

    `gateway`: the leg into the external network, with the next hops behind it; `onlink`: further subnets of that
    network, reached without a hop.  Without `forwards` it has its links and addresses, and passes no packet on.
    """

    router_id: str
    forwards: bool = True
    legs: list[RouterLeg] = []
    gateway: RouterLeg | None = None
    next_hops: list[str] = []
    onlink: list[str] = []
    enable_snat: bool = True
    routes: list[HostRoute] = []
    floating: list[FloatingWish] = []
    forwardings: list[ForwardingWish] = []


class RouterStatus(Record, frozen=True, kw_only=True):
    """What became of one router; `error` is empty or what failed; `changed` false when it was as wished."""

    router_id: str
    changed: bool
    error: str = ""
