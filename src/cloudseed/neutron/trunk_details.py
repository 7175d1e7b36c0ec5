"""What ports show of trunks: a parent its `trunk_details`, the sub-ports with their MAC addresses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import listing, models

SubPort = dict[str, Any]  # {port_id, segmentation_type, segmentation_id}
_trunks, _parts, _ports = models.trunks, models.trunk_subports, models.ports
SUBPORTS = sa.select(_parts).where(listing.among(_parts.c.trunk_id)).order_by(_parts.c.segmentation_id)
_PARENTS = sa.select(_trunks.c.id, _trunks.c.port_id).where(listing.among(_trunks.c.port_id))
_MAC = sa.select(_ports.c.id, _ports.c.mac_address).where(listing.among(_ports.c.id))


def view(part: Any) -> SubPort:
    """A row of trunk_subports as the API shows it."""
    return {"port_id": part.port_id, "segmentation_type": part.segmentation_type,
            "segmentation_id": part.segmentation_id}


async def describe(tx: Tx, ports: Iterable[dict[str, Any]]) -> None:
    """Give the records of parents their `trunk_details`: one statement when there are none."""
    by_id = {port["id"]: port for port in ports}
    parents = {row.id: row.port_id for row in await listing.cached(tx, _PARENTS, list(by_id))}
    if not parents:
        return
    parts = await listing.cached(tx, SUBPORTS, list(parents))
    macs = {row.id: row.mac_address for row in await listing.cached(tx, _MAC, [part.port_id for part in parts])}
    for trunk_id, port_id in parents.items():
        by_id[port_id]["trunk_details"] = {"trunk_id": trunk_id, "sub_ports": [
            {**view(part), "mac_address": macs[part.port_id]} for part in parts if part.trunk_id == trunk_id]}
