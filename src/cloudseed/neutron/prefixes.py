"""Arithmetic on the prefixes of subnet pools.  Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from cloudseed.neutron.addresses import Network


def compact(prefixes: Iterable[str]) -> list[str]:
    """The same addresses in as few prefixes as there can be."""
    networks = [ipaddress.ip_network(prefix) for prefix in prefixes]
    return [str(network) for network in ipaddress.collapse_addresses(networks)]  # type: ignore[type-var]


def covers(prefixes: Iterable[str], network: Network) -> bool:
    """Whether one of the prefixes holds the network."""
    held = [ipaddress.ip_network(prefix) for prefix in prefixes]
    return any(p.version == network.version and network.subnet_of(p) for p in held)  # type: ignore[arg-type]


def overlap(one: Iterable[str], other: Iterable[str]) -> bool:
    left = [ipaddress.ip_network(prefix) for prefix in one]
    right = [ipaddress.ip_network(prefix) for prefix in other]
    return any(a.version == b.version and a.overlaps(b) for a in left for b in right)


def first_free(prefixes: Iterable[str], length: int, used: Iterable[str]) -> str | None:
    """The first free network of `length` in these prefixes; None when there is none.

    Steps over used networks instead of counting through them, so an IPv6 pool costs no more than its subnets.
    """
    taken = sorted(((int(n.network_address), int(n.broadcast_address))
                    for n in map(ipaddress.ip_network, used)), key=lambda span: span[0])
    for prefix in sorted(map(ipaddress.ip_network, prefixes), key=lambda n: int(n.network_address)):
        if length < prefix.prefixlen:
            continue
        size = 1 << (prefix.max_prefixlen - length)
        start, end = int(prefix.network_address), int(prefix.broadcast_address)
        for low, high in taken:
            if low <= start + size - 1 and high >= start:
                start = -(-(high + 1) // size) * size
        if start + size - 1 <= end:
            return str(type(prefix)((start, length)))
    return None


def subtract(prefixes: Iterable[str], gone: Iterable[str]) -> list[str]:
    """The prefixes without those that go."""
    left: list[Any] = [ipaddress.ip_network(prefix) for prefix in prefixes]
    for removed in map(ipaddress.ip_network, gone):
        rest: list[Any] = []
        for network in left:
            if network.version != removed.version or not network.overlaps(removed):
                rest.append(network)
            elif removed.subnet_of(network):
                rest.extend(network.address_exclude(removed))
        left = rest
    return [str(network) for network in ipaddress.collapse_addresses(left)]
