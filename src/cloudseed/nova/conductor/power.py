"""Stop, start and reboot: the host does it, then the record says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudseed.kernel.operations import Run
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.host_operation import host_operation
from cloudseed.nova.conductor.on_host import Hosts
from cloudseed.nova.conductor.records import Server
from cloudseed.nova.server_states import PowerState, VmState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

SOFT_TIMEOUT_S = 60.0  # how long a guest may take to shut down; less than one call to the host may take
RUNNING = {"vm_state": VmState.ACTIVE.value, "power_state": PowerState.RUNNING.value}
OFF = {"vm_state": VmState.STOPPED.value, "power_state": PowerState.SHUTDOWN.value}


class Power:
    """The operations stop, start and reboot."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._hosts = hosts
        self.types = [
            host_operation(nova, "nova.stop", "compute_stop_instance", "power-off", self._power_off, OFF),
            host_operation(nova, "nova.start", "compute_start_instance", "power-on", self._power_on, RUNNING),
            host_operation(nova, "nova.reboot", "compute_reboot_instance", "restart", self._restart, RUNNING)]

    async def _power_off(self, run: Run, row: Server) -> None:
        await self._hosts.ask(run, row.host, "power_off", soft_timeout_s=SOFT_TIMEOUT_S)

    async def _power_on(self, run: Run, row: Server) -> None:
        await self._hosts.ask(run, row.host, "power_on", spec=encode_spec(spec_from_row(row)))

    async def _restart(self, run: Run, row: Server) -> None:
        await self._hosts.ask(run, row.host, "reboot", spec=encode_spec(spec_from_row(row)), hard=run.data["hard"],
                              ordered_at=run.data["ordered_at"], soft_timeout_s=SOFT_TIMEOUT_S)
