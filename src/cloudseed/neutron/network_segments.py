"""Segments of networks, for administrators: the one that carries a network, which is made with it, and further ones.

A port is bound to the first segment that its host reaches (upstream's ML2 tries them in order), and every host reaches
the first: so a further segment keeps its place in the provider's network for this network, and carries nothing.  The
first cannot be removed while the network is there.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, errors, listing, models, networks, revisions, segments
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.server import Neutron

table = models.network_segments
SPEC = listing.spec(table, errors.SegmentNotFound, omit=("position",))
_SHOWN = ("id", "network_id", "name", "description", "network_type", "physical_network", "segmentation_id",
          "created_at", "updated_at", "revision_number")


def _record(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _SHOWN}


async def _load(tx: Tx, segment_id: str) -> Any:
    row = await tx.first(sa.select(table).where(table.c.id == segment_id))
    if row is None:
        raise errors.SegmentNotFound(id=segment_id)
    return row


async def list_segments(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    """All, to who may see them; an empty list to anybody else, as of every list."""
    if not neutron.policy.check("get_segment", ctx.identity):
        return []
    async with neutron.db.read() as tx:
        return [_record(row) for row in await listing.page(tx, sa.select(table), SPEC, query, ctx)]


async def get_segment(neutron: Neutron, ctx: Context, segment_id: str) -> dict[str, Any]:
    if not neutron.policy.check("get_segment", ctx.identity):
        raise errors.SegmentNotFound(id=segment_id)
    async with neutron.db.read() as tx:
        return _record(await _load(tx, segment_id))


async def create_segments(neutron: Neutron, ctx: Context, wishes: list[Wish],
                          attributes: Any) -> list[dict[str, Any]]:
    """Keep further segments for networks.  Raises what making a network with such a segment raises."""
    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            access.authorize(neutron, ctx, "create_segment", wish.values)
            network = await networks.load(neutron, ctx, tx, wish.values["network_id"])
            provider = {f"provider:{name}": wish.values[name]
                        for name in ("network_type", "physical_network", "segmentation_id")}
            segments.check(provider)
            taken = await segments.take(tx, network.id, provider, name=wish.values["name"],
                                        description=wish.values["description"])
            made.append(_record(await _load(tx, taken.id)))
    return made


async def update_segment(neutron: Neutron, ctx: Context, segment_id: str, wish: Wish) -> dict[str, Any]:
    """Its name and description; where it is cannot be changed."""
    async with neutron.db.write() as tx:
        access.authorize(neutron, ctx, "update_segment", {}, wish.values)
        row = await _load(tx, segment_id)
        access.check_revision(row, wish.expected_revision)
        if wish.values:
            await revisions.touch(tx, table, segment_id)
            await tx.execute(sa.update(table).where(table.c.id == segment_id).values(**wish.values))
        return _record(await _load(tx, segment_id))


async def delete_segment(neutron: Neutron, ctx: Context, segment_id: str, expected: int | None = None) -> None:
    """Raises SegmentInUse for the one that carries its network."""
    async with neutron.db.write() as tx:
        access.authorize(neutron, ctx, "delete_segment", {})
        row = await _load(tx, segment_id)
        access.check_revision(row, expected)
        if row.position == 0:
            raise errors.SegmentInUse(segment_id=segment_id, reason=f"it carries network {row.network_id}")
        users = await tx.scalars(sa.select(models.subnets.c.id).where(models.subnets.c.segment_id == segment_id))
        if users:
            raise errors.SegmentInUse(segment_id=segment_id, reason="The segment is still associated with subnet(s) "
                                                                    + ", ".join(sorted(users)))
        await segments.release(tx, row)
