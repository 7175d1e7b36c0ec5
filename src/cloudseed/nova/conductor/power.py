"""Stop, start and reboot: the host does it, then the record says so.

When a host cannot, the server keeps its state and shows the fault; should its machine be off by then, the host's
reconciler tells.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.db import utcnow
from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.operations import OperationType, Run, Step
from cloudseed.kernel.operations.engine import Cancelled
from cloudseed.nova.compute.errors import HostFailed, NotHere
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.on_host import HostGone, Hosts
from cloudseed.nova.conductor.records import Server, add_fault, begin_event, change, end_event, read_server
from cloudseed.nova.server_states import PowerState, VmState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

SOFT_TIMEOUT_S = 60.0  # how long a guest may take to shut down; less than one call to the host may take
PATIENCE_S = 240.0


class Power:
    """The steps of stop, start and reboot."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self.stop = self._type("nova.stop", "compute_stop_instance", "power-off", self._power_off, {
            "vm_state": VmState.STOPPED.value, "power_state": PowerState.SHUTDOWN.value})
        self.start = self._type("nova.start", "compute_start_instance", "power-on", self._power_on, {
            "vm_state": VmState.ACTIVE.value, "power_state": PowerState.RUNNING.value})
        self.reboot = self._type("nova.reboot", "compute_reboot_instance", "restart", self._restart, {
            "vm_state": VmState.ACTIVE.value, "power_state": PowerState.RUNNING.value})

    def _type(self, kind: str, event: str, step: str, act: Callable[[Run, Server], Awaitable[None]],
              outcome: dict[str, Any]) -> OperationType:
        async def do(run: Run) -> None:
            async with self._nova.db.write() as tx:
                row = await read_server(tx, run.resource_id)
                await begin_event(tx, run, event, row.host)
            if row.host is None:
                raise NotHere(f"Instance {row.id} is on no host.")
            try:
                await act(run, row)
            except HostGone as exc:
                raise HostFailed(host=exc.host, doing=f"{step} server {row.id}", reason=exc.error.message) from exc

        async def finish(run: Run) -> None:
            async with self._nova.db.write() as tx:
                row = await read_server(tx, run.resource_id)
                # a server whose boot failed midway was never launched; its first start is its launch
                launched = {"launched_at": utcnow()} if row.launched_at is None else {}
                await change(tx, row, task_state=None, **outcome, **launched)
                await end_event(tx, run, event)

        async def failed(run: Run, error: CloudseedError) -> None:
            async with self._nova.db.write() as tx:
                row = await read_server(tx, run.resource_id)
                await change(tx, row, task_state=None)
                if not isinstance(error, Cancelled):
                    await add_fault(tx, row.id, error)
                await end_event(tx, run, event, error)

        return OperationType(kind, (Step(step, do, patience_s=PATIENCE_S), Step("finish", finish)), failed=failed)

    async def _power_off(self, run: Run, row: Server) -> None:
        assert row.host is not None
        await self._hosts.ask(run, row.host, "power_off", soft_timeout_s=SOFT_TIMEOUT_S)

    async def _power_on(self, run: Run, row: Server) -> None:
        await self._hosts.ask(run, row.host, "power_on", spec=encode_spec(spec_from_row(row)))

    async def _restart(self, run: Run, row: Server) -> None:
        await self._hosts.ask(run, row.host, "reboot", spec=encode_spec(spec_from_row(row)), hard=run.data["hard"],
                              ordered_at=run.data["ordered_at"], soft_timeout_s=SOFT_TIMEOUT_S)
