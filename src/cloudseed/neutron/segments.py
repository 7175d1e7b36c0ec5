"""Which segment carries a network: a VXLAN id of its own, or a flat or VLAN provider network that is named.

A segment belongs to one network; the table's key says so, whatever races.
"""

from __future__ import annotations

import secrets
import uuid
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import models
from cloudseed.neutron.errors import FlatNetworkInUse, InvalidInput, NoNetworkAvailable, TunnelIdInUse
from cloudseed.neutron.server import now

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


class Taken(NamedTuple):
    """A segment of a network; `number`: its segmentation id, None when it has none."""

    id: str
    number: int | None


async def take(tx: Tx, network_id: str, values: dict[str, Any], *, name: str | None = None,
               description: str | None = None) -> Taken:
    """Reserve a segment for a network (whose row exists), behind those that it has."""
    kind, physical = values["provider:network_type"], values["provider:physical_network"]
    number = await _reserve(tx, network_id, kind, physical or "", values["provider:segmentation_id"])
    segment_id, moment, its = str(uuid.uuid4()), now(), models.network_segments
    last = await tx.scalar(sa.select(sa.func.max(its.c.position)).where(its.c.network_id == network_id))
    await tx.execute(sa.insert(its).values(
        id=segment_id, network_id=network_id, position=0 if last is None else last + 1, name=name,
        description=description, network_type=kind, physical_network=physical, segmentation_id=number,
        created_at=moment, updated_at=moment, revision_number=1))
    return Taken(segment_id, number)


async def release(tx: Tx, segment: Any) -> None:
    """Let go of a row of `network_segments`."""
    table, its = models.segments.c, models.network_segments.c
    await tx.execute(sa.delete(models.segments).where(
        table.network_type == segment.network_type, table.physical_network == (segment.physical_network or ""),
        table.segmentation_id == (segment.segmentation_id or 0), table.network_id == segment.network_id))
    await tx.execute(sa.delete(models.network_segments).where(its.id == segment.id))


async def _reserve(tx: Tx, network_id: str, kind: str, physical: str, number: int | None) -> int | None:
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
