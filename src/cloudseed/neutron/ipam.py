"""Addresses of ports: drawn at random from the pools of a network's subnets, or as asked for.

A row of `ip_allocations` is an address in use; its key (subnet, address) keeps two ports from ever sharing one.
Drawing looks at a handful of random candidates, so its cost does not grow with the subnet.  DHCP's own ports take the
first free ones: a person who picks addresses for his machines seldom starts there.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import addresses, models
from cloudseed.neutron.errors import (
    InvalidInput,
    InvalidIpForNetwork,
    InvalidIpForSubnet,
    IpAddressAlreadyAllocated,
    IpAddressGenerationFailure,
    IpAddressGenerationFailureForSubnet,
    SubnetInUse,
    SubnetNotFound,
)

table = models.ip_allocations
_CANDIDATES = 12
# built once: on the way of every port
_SUBNETS = sa.select(models.subnets).where(models.subnets.c.network_id == sa.bindparam("network_id"))
_USED = sa.select(table.c.ip_address).where(table.c.subnet_id == sa.bindparam("subnet_id"),
                                            table.c.ip_address.in_(sa.bindparam("texts", expanding=True)))
_INSERT = sa.insert(table)
_SERVICE_OWNERS = ("network:dhcp", "network:router_interface", "network:router_gateway", "network:floatingip")


class Address(NamedTuple):
    """An address of one port."""

    subnet_id: str
    ip_address: str


class Draw:
    """Addresses for the ports of one request on one network, in one transaction."""

    def __init__(self, network_id: str, subnets: Sequence[Any]) -> None:
        self._network_id = network_id
        self._subnets = sorted(subnets, key=lambda subnet: (subnet.created_at, subnet.id))
        self._taken: set[tuple[str, str]] = set()
        self._in_order = False

    @classmethod
    async def on(cls, tx: Tx, network_id: str) -> Draw:
        """The network's subnets, read once."""
        return cls(network_id, (await tx.execute(_SUBNETS, {"network_id": network_id})).all())

    async def addresses(self, tx: Tx, fixed_ips: list[dict[str, str]] | None, mac: str, owner: str,
                        held: Sequence[Address] = ()) -> list[Address]:
        """Addresses for a port: as `fixed_ips` asks, or one of each version when it is None.

        `held`: what the port has already; addresses named again are kept.  Raises InvalidIpForNetwork,
        IpAddressAlreadyAllocated, IpAddressGenerationFailure, SubnetNotFound.
        """
        self._in_order = owner == "network:dhcp"
        if fixed_ips is None:
            return await self._automatic(tx, mac, owner)
        found: list[Address] = []
        for wish in fixed_ips:
            if "ip_address" in wish:
                found.append(await self._named(tx, wish, held, found))
            else:
                found.append(await self._from_subnet(tx, wish, mac, held, found))
        return found

    async def _named(self, tx: Tx, wish: dict[str, str], held: Sequence[Address], found: list[Address]) -> Address:
        text = wish["ip_address"]
        ip = ipaddress.ip_address(text)
        wanted = wish.get("subnet_id")
        if wanted is not None:
            self._subnet(wanted)
        for subnet in self._subnets:
            if wanted not in (None, subnet.id):
                continue
            network = ipaddress.ip_network(subnet.cidr)
            if ip.version == network.version and ip in network:
                first, last = addresses.usable(network)
                if not first <= int(ip) <= last and text != subnet.gateway_ip:
                    break
                address = Address(subnet.id, text)
                if address in found:
                    raise InvalidInput(reason=f"Duplicate IP address {text} in fixed_ips")
                if address not in held:
                    await self._claim(tx, address)
                return address
        if wanted is not None:
            raise InvalidIpForSubnet(ip=text)
        raise InvalidIpForNetwork(ip=text)

    async def _claim(self, tx: Tx, address: Address) -> None:
        if address in self._taken or await self._used(tx, address.subnet_id, [address.ip_address]):
            raise IpAddressAlreadyAllocated(ip=address.ip_address, subnet=address.subnet_id)
        self._taken.add(address)

    async def _from_subnet(self, tx: Tx, wish: dict[str, str], mac: str, held: Sequence[Address],
                           found: list[Address]) -> Address:
        if "subnet_id" not in wish:
            raise InvalidInput(reason="IP allocation requires subnet_id or ip_address")
        subnet = self._subnet(wish["subnet_id"])
        kept = next((a for a in held if a.subnet_id == subnet.id and a not in found), None)
        if kept is not None:
            return kept
        if subnet.ipv6_address_mode in addresses.SLAAC:
            return Address(subnet.id, addresses.eui64(subnet.cidr, mac))
        address = await self._free(tx, subnet)
        if address is None:
            raise IpAddressGenerationFailureForSubnet(subnet=subnet.id)
        return address

    async def _automatic(self, tx: Tx, mac: str, owner: str) -> list[Address]:
        """One IPv4 and one IPv6 address where the network has such subnets, and all SLAAC ones."""
        suitable = [s for s in self._subnets if not s.service_types or owner in s.service_types]
        if self._subnets and not suitable:
            raise IpAddressGenerationFailure(network=self._network_id)
        found: list[Address] = []
        for version in (4, 6):
            pooled = [s for s in suitable if s.ip_version == version and s.ipv6_address_mode not in addresses.SLAAC]
            if pooled:
                for subnet in pooled:
                    if (address := await self._free(tx, subnet)) is not None:
                        found.append(address)
                        break
                else:
                    raise IpAddressGenerationFailure(network=self._network_id)
        if owner not in _SERVICE_OWNERS:
            found += [Address(s.id, addresses.eui64(s.cidr, mac)) for s in suitable
                      if s.ipv6_address_mode in addresses.SLAAC]
        return found

    def _subnet(self, subnet_id: str) -> Any:
        for subnet in self._subnets:
            if subnet.id == subnet_id:
                return subnet
        raise SubnetNotFound(id=subnet_id)

    async def _free(self, tx: Tx, subnet: Any) -> Address | None:
        """A free address of the subnet's pools; None when there is none."""
        pools = [addresses.numbers(pool) for pool in subnet.allocation_pools]
        total = sum(end - start + 1 for start, end in pools)
        if total == 0:
            return None
        make = ipaddress.IPv4Address if subnet.ip_version == 4 else ipaddress.IPv6Address
        count = min(_CANDIDATES, total)
        drawn = [str(make(_nth(pools, number))) for number in (
            range(count) if self._in_order else (secrets.randbelow(total) for _ in range(count)))]
        used = await self._used(tx, subnet.id, drawn)
        for text in drawn:
            if text not in used and (subnet.id, text) not in self._taken:
                self._taken.add((subnet.id, text))
                return Address(subnet.id, text)
        # nearly full: look at all that is used (there are not many free ones, so there are many used)
        used = set(await tx.scalars(sa.select(table.c.ip_address).where(table.c.subnet_id == subnet.id)))
        for start, end in pools:
            for number in range(start, end + 1):
                text = str(make(number))
                if text not in used and (subnet.id, text) not in self._taken:
                    self._taken.add((subnet.id, text))
                    return Address(subnet.id, text)
        return None

    async def _used(self, tx: Tx, subnet_id: str, texts: list[str]) -> set[str]:
        found = await tx.execute(_USED, {"subnet_id": subnet_id, "texts": texts})
        return set(found.scalars())


def _nth(pools: list[tuple[int, int]], index: int) -> int:
    for start, end in pools:
        if index <= end - start:
            return start + index
        index -= end - start + 1
    raise AssertionError("index beyond the pools")


async def assign(tx: Tx, network_id: str, port_id: str, wanted: Sequence[Address]) -> None:
    """Write a new port's addresses."""
    if wanted:
        await tx.execute(_INSERT, [
            {"subnet_id": a.subnet_id, "ip_address": a.ip_address, "port_id": port_id, "network_id": network_id,
             "position": position} for position, a in enumerate(wanted)])


async def reassign(tx: Tx, network_id: str, port_id: str, wanted: Sequence[Address]) -> None:
    """Replace a port's addresses."""
    await tx.execute(sa.delete(table).where(table.c.port_id == port_id))
    await assign(tx, network_id, port_id, wanted)


async def release_subnet(tx: Tx, subnet: Any) -> None:
    """Take a subnet's addresses from the ports that may lose them; SubnetInUse when another has one."""
    ports = models.ports
    rows = await tx.all(sa.select(table.c.port_id, ports.c.device_owner)
                        .join(ports, ports.c.id == table.c.port_id).where(table.c.subnet_id == subnet.id))
    slaac = subnet.ipv6_address_mode in addresses.SLAAC
    for row in rows:
        if row.device_owner != "network:dhcp" and not (slaac and not row.device_owner.startswith("network:router")):
            raise SubnetInUse(id=subnet.id, reason="One or more ports have an IP allocation from this subnet")
    await tx.execute(sa.delete(table).where(table.c.subnet_id == subnet.id))
    left = sa.select(table.c.port_id).where(table.c.network_id == subnet.network_id)
    await tx.execute(sa.delete(ports).where(ports.c.network_id == subnet.network_id,
                                            ports.c.device_owner == "network:dhcp", ports.c.id.not_in(left)))
