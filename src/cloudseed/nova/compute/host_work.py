"""What a host does to one server for each kind of request; called by the server's one task, one at a time.

The verbs are in `*_work.py`, by subject; their arguments come over the bus with the request.
"""

from __future__ import annotations

from typing import Any

from cloudseed.nova.compute.admission import Kind
from cloudseed.nova.compute.boot_work import BootWork
from cloudseed.nova.compute.interface_work import InterfaceWork
from cloudseed.nova.compute.move_work import MoveWork
from cloudseed.nova.compute.parts import HostParts, Verb
from cloudseed.nova.compute.power_work import PowerWork
from cloudseed.nova.compute.remake_work import RemakeWork
from cloudseed.nova.compute.resize_work import ResizeWork
from cloudseed.nova.compute.shelve_work import ShelveWork
from cloudseed.nova.compute.snapshot_work import SnapshotWork
from cloudseed.nova.compute.suspend_work import SuspendWork
from cloudseed.nova.compute.volume_work import VolumeWork
from cloudseed.nova.compute.worker import Work


class HostWork:
    """All verbs of a host, by the kind of request."""

    def __init__(self, parts: HostParts) -> None:
        self._parts = parts
        power = PowerWork(parts)
        self._verbs: dict[Kind, Verb] = {
            **BootWork(parts).verbs, **power.verbs, **InterfaceWork(parts).verbs,
            **ResizeWork(parts).verbs, **ShelveWork(parts).verbs, **SnapshotWork(parts).verbs,
            **SuspendWork(parts).verbs, **MoveWork(parts).verbs, **VolumeWork(parts).verbs,
            **RemakeWork(parts, power).verbs,
            Kind.SYNC_NETWORK: self._sync_network}

    async def perform(self, work: Work) -> Any:
        """Do what `work` asks."""
        return await self._verbs[work.ask.kind](work)

    async def _sync_network(self, work: Work) -> None:
        await self._parts.publisher.network_info(work.ctx, work.server_id, self._parts.networks)
