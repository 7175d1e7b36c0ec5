"""What rebuild and rescue have in common: steps that ask a server's host, and failures that leave it in error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.operations import Cancelled, Run
from cloudseed.nova.conductor.on_host import Hosts
from cloudseed.nova.conductor.records import Server, add_fault, begin_event, change, end_event, load_server, read_server
from cloudseed.nova.server_states import PowerState, VmState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

DISK_PATIENCE_S, START_PATIENCE_S, IMAGE_PATIENCE_S = 600.0, 600.0, 3600.0
SOFT_TIMEOUT_S = 60.0  # how long a guest may take to shut down; less than one call to the host may take


class Remake:
    """One operation's ways to its host and to its record; `event` is upstream's name of it."""

    def __init__(self, nova: Nova, hosts: Hosts, event: str, doing: str) -> None:
        self.nova = nova
        self._hosts = hosts
        self._event = event
        self._doing = doing

    async def begin(self, run: Run, **values: Any) -> Server:
        """The server, with these values written and the part of the user's action begun."""
        async with self.nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await begin_event(tx, run, self._event, row.host)
            if values:
                await change(tx, row, **values)
        return await load_server(self.nova, run.resource_id)

    async def ask(self, run: Run, row: Server, method: str, **arguments: Any) -> Any:
        return await self._hosts.require(run, row, method, doing=f"{self._doing} server {row.id}", **arguments)

    async def finish(self, run: Run, **values: Any) -> None:
        async with self.nova.db.write() as tx:
            await change(tx, await read_server(tx, run.resource_id), task_state=None, **values)
            await end_event(tx, run, self._event)

    async def failed(self, run: Run, error: CloudseedError, **values: Any) -> None:
        """In error, as upstream has it: the user waits for ACTIVE and shall not see it."""
        async with self.nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            if not isinstance(error, Cancelled):
                await add_fault(tx, row.id, error)
                values["vm_state"] = VmState.ERROR.value
            await change(tx, row, task_state=None, **values)
            await end_event(tx, run, self._event, error)


def running_or_off(runs: bool) -> dict[str, Any]:
    """The states of a server that was started again, or left off as it was."""
    return {"vm_state": (VmState.ACTIVE if runs else VmState.STOPPED).value,
            "power_state": (PowerState.RUNNING if runs else PowerState.SHUTDOWN).value}
