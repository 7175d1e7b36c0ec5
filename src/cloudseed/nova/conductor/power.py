"""Stop, start and reboot: the host does it, then the record says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudseed.kernel.operations import OperationType, Run, Step
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.host_operation import PATIENCE_S, host_operation
from cloudseed.nova.conductor.on_host import Hosts
from cloudseed.nova.conductor.records import Server, load_server
from cloudseed.nova.server_states import PowerState, VmState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

SOFT_TIMEOUT_S = 60.0  # how long a guest may take to shut down; less than one call to the host may take
RUNNING = {"vm_state": VmState.ACTIVE.value, "power_state": PowerState.RUNNING.value}
OFF = {"vm_state": VmState.STOPPED.value, "power_state": PowerState.SHUTDOWN.value}


class Power:
    """The operations stop, start and reboot."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self.types = [
            host_operation(nova, "nova.stop", "compute_stop_instance", "power-off", self._power_off, OFF),
            host_operation(nova, "nova.start", "compute_start_instance", "power-on", self._power_on, RUNNING),
            self._reboot()]

    def _reboot(self) -> OperationType:
        type = host_operation(self._nova, "nova.reboot", "compute_reboot_instance", "restart", self._restart, RUNNING)
        return type._replace(steps=(Step("look", self._look, patience_s=PATIENCE_S), *type.steps))

    async def _look(self, run: Run) -> None:
        """Remember which start the machine runs since: asked twice to restart it, its host knows by that.  Times would
        not do: a host's clock is its own."""
        row = await load_server(self._nova, run.resource_id)
        run.data["start"] = await self._hosts.require(run, row, "which_start", doing=f"reboot server {row.id}")

    async def _power_off(self, run: Run, row: Server) -> None:
        await self._hosts.ask(run, row.host, "power_off", soft_timeout_s=SOFT_TIMEOUT_S)

    async def _power_on(self, run: Run, row: Server) -> None:
        await self._hosts.ask(run, row.host, "power_on", spec=encode_spec(spec_from_row(row)))

    async def _restart(self, run: Run, row: Server) -> None:
        await self._hosts.ask(run, row.host, "reboot", spec=encode_spec(spec_from_row(row)), hard=run.data["hard"],
                              start=run.data["start"], soft_timeout_s=SOFT_TIMEOUT_S)
