"""Subnet pools: prefixes from which subnets are cut."""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron.server import Neutron


async def choose(neutron: Neutron, ctx: Context, tx: Tx, values: dict[str, Any]) -> str | None:
    return None


async def take(tx: Tx, values: dict[str, Any]) -> None:
    return None
