"""Arithmetic on subnets: pools, gateways, overlaps.  Pure functions; errors are the API's."""

from __future__ import annotations

import ipaddress
import itertools
from typing import Any

from cloudseed.neutron.errors import (
    GatewayConflictWithAllocationPools,
    InvalidAllocationPool,
    InvalidInput,
    OutOfBoundsAllocationPool,
    OverlappingAllocationPools,
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Pool = dict[str, str]
SLAAC = ("slaac", "dhcpv6-stateless")


def default_gateway(network: Network) -> str | None:
    """The first address: of an IPv6 subnet the router anycast address itself, as upstream."""
    if network.version == 6:
        return str(network.network_address)
    return str(network.network_address + 1) if network.prefixlen < 31 else str(network.network_address)


def usable(network: Network) -> tuple[int, int]:
    """First and last number that a port may have."""
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.version == 6:
        return (first + 1, last) if first != last else (first, last)
    return (first + 1, last - 1) if network.prefixlen < 31 else (first, last)


def default_pools(network: Network, gateway: str | None) -> list[Pool]:
    """All usable addresses but the gateway."""
    first, last = usable(network)
    parts = [(first, last)]
    if gateway is not None and (number := int(ipaddress.ip_address(gateway))) >= first and number <= last:
        parts = [(first, number - 1), (number + 1, last)]
    make = type(network.network_address)
    return [{"start": str(make(start)), "end": str(make(end))} for start, end in parts if start <= end]


def numbers(pool: Pool) -> tuple[int, int]:
    return int(ipaddress.ip_address(pool["start"])), int(ipaddress.ip_address(pool["end"]))


def check_pools(pools: list[Pool], network: Network, gateway: str | None) -> None:
    """Pools lie within the subnet, do not overlap, and leave the gateway out."""
    first, last = usable(network)
    ranges = []
    for pool in pools:
        start, end = ipaddress.ip_address(pool["start"]), ipaddress.ip_address(pool["end"])
        if start.version != network.version or end.version != network.version or int(end) < int(start):
            raise InvalidAllocationPool(pool=pool)
        if int(start) < first or int(end) > last:
            raise OutOfBoundsAllocationPool(pool=_text(pool), cidr=network)
        ranges.append((int(start), int(end), pool))
    ranges.sort(key=lambda item: item[0])
    for before, after in itertools.pairwise(ranges):
        if after[0] <= before[1]:
            raise OverlappingAllocationPools(first=_text(before[2]), second=_text(after[2]), cidr=network)
    check_gateway_outside(pools, gateway)


def check_gateway_outside(pools: list[Pool], gateway: str | None) -> None:
    if gateway is not None:
        number, version = int(ipaddress.ip_address(gateway)), ipaddress.ip_address(gateway).version
        for pool in pools:
            start, end = numbers(pool)
            if ipaddress.ip_address(pool["start"]).version == version and start <= number <= end:
                raise GatewayConflictWithAllocationPools(ip=gateway, pool=_text(pool))


def _text(pool: Pool) -> str:
    return f"{pool['start']}-{pool['end']}"


def size(pools: list[Pool]) -> int:
    return sum(end - start + 1 for start, end in map(numbers, pools))


def check_subnet(values: dict[str, Any]) -> Network:
    """A new subnet's address attributes fit one another.  Raises InvalidInput with upstream's words."""
    network = ipaddress.ip_network(values["cidr"])
    version = values["ip_version"]
    if network.version != version:
        raise InvalidInput(reason=f"cidr '{values['cidr']}' does not match the ip_version '{version}'")
    for name in ("ipv6_ra_mode", "ipv6_address_mode"):
        if values[name] is not None and version == 4:
            raise InvalidInput(reason=f"{name} is not valid when ip_version is 4")
        if values[name] is not None and not values["enable_dhcp"]:
            raise InvalidInput(reason="ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to "
                                      "False")
    _check_modes(values, network)
    if values["enable_dhcp"]:
        if network.prefixlen > (30 if version == 4 else 126):
            raise InvalidInput(reason="Subnet has a prefix length that is incompatible with DHCP service enabled")
        if network.is_multicast:
            raise InvalidInput(reason="Multicast IP subnet is not supported if enable_dhcp is True")
        if network.is_loopback:
            raise InvalidInput(reason="Loopback IP subnet is not supported if enable_dhcp is True")
        if int(network.network_address) == 0:
            raise InvalidInput(reason=f"First IP '{network.network_address}' of network is not supported if "
                                      "enable_dhcp is True.")
    check_gateway(values.get("gateway_ip"), network)
    return network


def _check_modes(values: dict[str, Any], network: Network) -> None:
    ra, mode = values["ipv6_ra_mode"], values["ipv6_address_mode"]
    if ra and mode and ra != mode:
        raise InvalidInput(reason=f"ipv6_ra_mode set to '{ra}' with ipv6_address_mode set to '{mode}' is not valid. "
                                  "If both attributes are set, they must be the same value")
    if mode in SLAAC and network.prefixlen != 64:
        raise InvalidInput(reason=f"Invalid CIDR {network} for IPv6 address mode. OpenStack uses the EUI-64 address "
                                  "format, which requires the prefix to be /64")


def check_gateway(gateway: Any, network: Network) -> None:
    if not isinstance(gateway, str):
        return
    address = ipaddress.ip_address(gateway)
    if address.version != network.version:
        raise InvalidInput(reason=f"gateway_ip '{gateway}' does not match the ip_version '{network.version}'")
    if network.version == 4 and network.prefixlen < 31 and address in (network.network_address,
                                                                       network.broadcast_address):
        raise InvalidInput(reason="Gateway is not valid on subnet")


def check_routes(values: dict[str, Any]) -> None:
    """Name servers and routes are of the subnet's version."""
    version = values["ip_version"]
    for server in values["dns_nameservers"]:
        if ipaddress.ip_address(server).version != version:
            raise InvalidInput(reason=f"dns_nameserver '{server}' does not match the ip_version '{version}'")
    for route in values["host_routes"]:
        for text in (route["destination"], route["nexthop"]):
            if ipaddress.ip_network(text, strict=False).version != version:
                raise InvalidInput(reason=f"'{text}' does not match the ip_version '{version}'")


def eui64(prefix: str, mac: str) -> str:
    """The address that a guest with `mac` makes for itself from a router's advertisement (RFC 4291, appendix A)."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] ^= 2
    interface = int.from_bytes(bytes([*octets[:3], 0xFF, 0xFE, *octets[3:]]), "big")
    return str(ipaddress.ip_network(prefix).network_address + interface)
