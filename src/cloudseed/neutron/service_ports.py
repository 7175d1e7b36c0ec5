"""Ports that neutron makes for itself: DHCP's, routers' and floating addresses'.  Trusted, without groups."""

from __future__ import annotations

import time
import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import ipam, macs, models
from cloudseed.neutron.server import now


async def make(tx: Tx, network_id: str, owner: str, device_id: str, project_id: str,
               fixed_ips: list[dict[str, str]] | None, **more: Any) -> tuple[str, list[ipam.Address]]:
    """Insert a port; returns its id and addresses.  Raises the address errors of `ipam`.

    `more`: columns that differ from an unbound port that is down.
    """
    mac, = await macs.choose(tx, network_id, [None])
    draw = await ipam.Draw.on(tx, network_id)
    addresses = await draw.addresses(tx, fixed_ips, mac, owner)
    port_id, moment = str(uuid.uuid4()), now()
    columns: dict[str, Any] = {
        "status": "DOWN", "host": "", "vif_type": "unbound", "name": "", "description": "", "tags": [],
        "admin_state_up": True, "vnic_type": "normal", "profile": {}, "port_security_enabled": False,
        "allowed_address_pairs": [], "extra_dhcp_opts": [], "dns_name": "", "plug_event": None,
        "status_since": time.time(), "created_at": moment, "updated_at": moment, "revision_number": 1}
    await tx.execute(sa.insert(models.ports).values(
        id=port_id, network_id=network_id, mac_address=mac, device_owner=owner, device_id=device_id,
        project_id=project_id, **columns | more))
    await ipam.assign(tx, network_id, port_id, addresses)
    return port_id, addresses
