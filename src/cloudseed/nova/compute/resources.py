"""A host's resources in placement: its provider, what it has of each class, and its traits; kept true.

The provider's uuid is the node's, which is kept in the host's state, so that a restart finds its own.
"""

from __future__ import annotations

import logging
from typing import Any

from cloudseed.kernel.config import Config
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Conflict, NotFound
from cloudseed.kernel.http.client import ServiceSession
from cloudseed.nova.compute.drivers.base import DriverFacts

log = logging.getLogger(__name__)
MICROVERSION = "placement 1.39"


def inventories(config: Config, facts: DriverFacts) -> dict[str, dict[str, Any]]:
    """What the host offers, by resource class."""
    offered = {
        "VCPU": (facts.vcpus, 0, config.cpu_allocation_ratio),
        "MEMORY_MB": (facts.memory_mib, facts.reserved_memory_mib, config.ram_allocation_ratio),
        "DISK_GB": (facts.disk_gib, 0, config.disk_allocation_ratio)}
    return {name: {"total": total, "reserved": min(reserved, total - 1), "min_unit": 1, "max_unit": total,
                   "step_size": 1, "allocation_ratio": ratio}
            for name, (total, reserved, ratio) in offered.items() if total > 0}


class Resources:
    """The provider of one node."""

    def __init__(self, session: ServiceSession, config: Config, node_id: str, node_name: str) -> None:
        self._session = session
        self._config = config
        self._node_id = node_id
        self._node_name = node_name
        self._reported: tuple[dict[str, Any], frozenset[str]] | None = None

    async def report(self, ctx: Context, facts: DriverFacts) -> None:
        """Make placement's picture true; costs nothing while nothing changed."""
        wanted = inventories(self._config, facts), frozenset(facts.traits)
        if wanted == self._reported:
            return
        try:
            await self._put(ctx, *wanted)
        except Conflict:
            await self._put(ctx, *wanted)  # somebody wrote in between: once more with the new generation
        self._reported = wanted

    async def lost(self, ctx: Context) -> bool:
        """Whether placement no longer has what was reported (its data was lost); the next report then brings it."""
        answer = await self._session.request(ctx, "placement", "GET", self._path(), microversion=MICROVERSION,
                                             expect=(404,))
        if answer.status == 404:
            self._reported = None
        return answer.status == 404

    def _path(self, more: str = "") -> str:
        return f"/resource_providers/{self._node_id}{more}"

    async def _put(self, ctx: Context, stock: dict[str, Any], traits: frozenset[str]) -> None:
        send = self._session.request
        try:
            answer = await send(ctx, "placement", "GET", self._path("/inventories"), microversion=MICROVERSION)
        except NotFound:
            await send(ctx, "placement", "POST", "/resource_providers", microversion=MICROVERSION,
                       json={"uuid": self._node_id, "name": self._node_name})
            answer = await send(ctx, "placement", "GET", self._path("/inventories"), microversion=MICROVERSION)
        present = answer.json()
        if not _same(present["inventories"], stock):
            await send(ctx, "placement", "PUT", self._path("/inventories"), microversion=MICROVERSION,
                       json={"resource_provider_generation": present["resource_provider_generation"],
                             "inventories": stock})
        known = (await send(ctx, "placement", "GET", self._path("/traits"), microversion=MICROVERSION)).json()
        # traits that are not the driver's to say (an operator's CUSTOM_ ones) stay
        kept = {name for name in known["traits"] if name.startswith("CUSTOM_") or name == "COMPUTE_STATUS_DISABLED"}
        if set(known["traits"]) != traits | kept:
            await send(ctx, "placement", "PUT", self._path("/traits"), microversion=MICROVERSION,
                       json={"resource_provider_generation": known["resource_provider_generation"],
                             "traits": sorted(traits | kept)})


def _same(present: dict[str, dict[str, Any]], wanted: dict[str, dict[str, Any]]) -> bool:
    return present.keys() == wanted.keys() and all(
        all(present[name].get(key) == value for key, value in record.items()) for name, record in wanted.items())
