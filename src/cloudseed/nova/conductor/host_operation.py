"""An operation that is one order to a server's host, then a record of how it ended.

When a host cannot, the server keeps its state and shows the fault; should its machine be off by then, the host's
reconciler tells.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.db import utcnow
from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.operations import Cancelled, OperationType, Run, Step
from cloudseed.nova.compute.errors import NotHere
from cloudseed.nova.conductor.on_host import HostGone
from cloudseed.nova.conductor.records import Server, add_fault, begin_event, change, end_event, read_server

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

PATIENCE_S = 240.0


def host_operation(nova: Nova, kind: str, event: str, step: str, act: Callable[[Run, Server], Awaitable[None]],
                   outcome: dict[str, Any], *, patience_s: float = PATIENCE_S) -> OperationType:
    """The operation `kind`: `act` asks the host (twice is harmless), then the server's record takes `outcome`.

    `event` is upstream's name of it in os-instance-actions, `step` names it in stories and errors.
    """

    async def do(run: Run) -> None:
        async with nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await begin_event(tx, run, event, row.host)
        if row.host is None:
            raise NotHere(f"Instance {row.id} is on no host.")
        try:
            await act(run, row)
        except HostGone as exc:
            raise exc.failure(f"{step} server {row.id}") from exc

    async def finish(run: Run) -> None:
        async with nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            # a server whose boot failed midway was never launched; its first start is its launch
            launched = {"launched_at": utcnow()} if row.launched_at is None else {}
            await change(tx, row, task_state=None, **outcome, **launched)
            await end_event(tx, run, event)

    async def failed(run: Run, error: CloudseedError) -> None:
        async with nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await change(tx, row, task_state=None)
            if not isinstance(error, Cancelled):
                await add_fault(tx, row.id, error)
            await end_event(tx, run, event, error)

    return OperationType(kind, (Step(step, do, patience_s=patience_s), Step("finish", finish)), failed=failed)
