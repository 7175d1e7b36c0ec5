"""Which segment carries a network: a VXLAN id of its own, or a flat or VLAN provider network that is named.

A segment belongs to one network; the table's key says so, whatever races.
"""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import models
from cloudseed.neutron.errors import FlatNetworkInUse, InvalidInput, NoNetworkAvailable, TunnelIdInUse

TYPES = ("vxlan", "flat", "vlan", "local")
MAX_VNI = 65_535  # VXLAN has 24 bits; ids drawn for tenants stay readable
VXLAN_OVERHEAD = 50  # bytes: outer Ethernet, IPv4, UDP and VXLAN headers
PHYSICAL_MTU = 1500


def largest_mtu(network_type: str) -> int:
    return PHYSICAL_MTU - VXLAN_OVERHEAD if network_type == "vxlan" else PHYSICAL_MTU


def check(values: dict[str, Any]) -> None:
    """The provider attributes of a wish fit one another; fills in the type.  Raises InvalidInput."""
    kind = values["provider:network_type"]
    physical, number = values["provider:physical_network"], values["provider:segmentation_id"]
    if kind is None:
        if physical is not None or number is not None:
            raise InvalidInput(reason="network_type required")
        kind = values["provider:network_type"] = "vxlan"
    if kind not in TYPES:
        raise InvalidInput(reason=f"network_type value '{kind}' not supported")
    if kind in ("flat", "vlan") and not physical:
        if kind == "vlan" and number is None:
            raise NoNetworkAvailable()
        raise InvalidInput(reason=f"physical_network required for {kind} provider network")
    if kind in ("vxlan", "local") and physical:
        raise InvalidInput(reason=f"provider:physical_network specified for {kind.upper()} network")
    if kind in ("flat", "local") and number is not None:
        raise InvalidInput(reason=f"provider:segmentation_id specified for {kind} network")
    top = 2**24 - 1 if kind == "vxlan" else 4094
    if number is not None and not 1 <= number <= top:
        raise InvalidInput(reason=f"segmentation_id out of range (1 through {top})")


async def take(tx: Tx, network_id: str, values: dict[str, Any]) -> int | None:
    """Reserve the segment of a new network (its row exists); its segmentation id, None when it has none."""
    kind, physical = values["provider:network_type"], values["provider:physical_network"] or ""
    number = values["provider:segmentation_id"]
    if kind == "local":
        return None
    if kind in ("vxlan", "vlan") and number is None:
        number = await _draw(tx, kind, physical)
    elif await _taken(tx, kind, physical, [number or 0]):
        if kind == "flat":
            raise FlatNetworkInUse(physical_network=physical)
        raise TunnelIdInUse(segmentation_id=number)
    await tx.execute(sa.insert(models.segments).values(
        network_type=kind, physical_network=physical, segmentation_id=number or 0, network_id=network_id))
    return int(number) if number is not None else None


async def _taken(tx: Tx, kind: str, physical: str, numbers: list[int]) -> set[int]:
    table = models.segments.c
    return set(await tx.scalars(sa.select(table.segmentation_id).where(
        table.network_type == kind, table.physical_network == physical, table.segmentation_id.in_(numbers))))


async def _draw(tx: Tx, kind: str, physical: str) -> int:
    """A free id: a few at random, and only when all those are taken a look at the whole range."""
    top = MAX_VNI if kind == "vxlan" else 4094
    drawn = [secrets.randbelow(top) + 1 for _ in range(8)]
    free = set(drawn) - await _taken(tx, kind, physical, drawn)
    if not free:
        table = models.segments.c
        free = set(range(1, top + 1)) - set(await tx.scalars(sa.select(table.segmentation_id).where(
            table.network_type == kind, table.physical_network == physical)))
    if not free:
        raise NoNetworkAvailable()
    return next(number for number in (*drawn, *free) if number in free)
