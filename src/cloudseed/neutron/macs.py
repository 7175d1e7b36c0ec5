"""MAC addresses of ports: upstream's prefix and three random octets, unique on a network."""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import models
from cloudseed.neutron.errors import MacAddressGenerationFailure, MacAddressInUse

PREFIX = "fa:16:3e"
_USED = sa.select(models.ports.c.mac_address).where(
    models.ports.c.network_id == sa.bindparam("network_id"),
    models.ports.c.mac_address.in_(sa.bindparam("macs", expanding=True)))


def draw() -> str:
    octets = secrets.token_bytes(3)
    return f"{PREFIX}:{octets[0]:02x}:{octets[1]:02x}:{octets[2]:02x}"


async def choose(tx: Tx, network_id: str, wanted: list[str | None]) -> list[str]:
    """A free MAC for each port of a request: the wanted one, or one drawn.  Raises MacAddressInUse."""
    drawn = [[mac] if mac is not None else [draw() for _ in range(4)] for mac in wanted]
    found = await tx.execute(_USED, {"network_id": network_id, "macs": [mac for macs in drawn for mac in macs]})
    used = set(found.scalars())
    chosen: list[str] = []
    for mac, candidates in zip(wanted, drawn, strict=True):
        free = next((c for c in candidates if c not in used), None)
        if free is None:
            if mac is not None:
                raise MacAddressInUse(network=network_id, mac=mac)
            raise MacAddressGenerationFailure(network=network_id)
        used.add(free)
        chosen.append(free)
    return chosen
