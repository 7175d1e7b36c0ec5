"""Pause, unpause, suspend and resume: the host does it, then the record says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudseed.kernel.operations import Run
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.host_operation import host_operation
from cloudseed.nova.conductor.on_host import Hosts
from cloudseed.nova.conductor.power import RUNNING
from cloudseed.nova.conductor.records import Server
from cloudseed.nova.server_states import PowerState, VmState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

MEMORY_PATIENCE_S = 900.0  # memory is written to a disk, or read from it
PAUSED = {"vm_state": VmState.PAUSED.value, "power_state": PowerState.PAUSED.value}
SUSPENDED = {"vm_state": VmState.SUSPENDED.value, "power_state": PowerState.SHUTDOWN.value}


class Suspend:
    """The operations pause, unpause, suspend and resume."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._hosts = hosts
        self.types = [
            host_operation(nova, "nova.pause", "compute_pause_instance", "pause", self._pause, PAUSED),
            host_operation(nova, "nova.unpause", "compute_unpause_instance", "unpause", self._unpause, RUNNING),
            host_operation(nova, "nova.suspend", "compute_suspend_instance", "suspend", self._suspend, SUSPENDED,
                           patience_s=MEMORY_PATIENCE_S),
            host_operation(nova, "nova.resume", "compute_resume_instance", "resume", self._resume, RUNNING,
                           patience_s=MEMORY_PATIENCE_S)]

    async def _pause(self, run: Run, row: Server) -> None:
        await self._hosts.ask(run, row.host, "pause")

    async def _unpause(self, run: Run, row: Server) -> None:
        await self._hosts.ask(run, row.host, "unpause")

    async def _suspend(self, run: Run, row: Server) -> None:
        await self._hosts.ask(run, row.host, "suspend")

    async def _resume(self, run: Run, row: Server) -> None:
        await self._hosts.ask(run, row.host, "resume", spec=encode_spec(spec_from_row(row)))
