"""Every step twice, every undo twice: a message that comes again, or late, does no harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cloudseed.kernel.operations import OperationType, Run, Step
from cloudseed.nova.compute.errors import BuildAborted
from cloudseed.nova.models import operation_tables
from tests.nova.engine.bench import Bench


def twice(type: OperationType) -> OperationType:
    """The same operation, each do and undo done twice."""
    def doubled(action: Any) -> Any:
        if action is None:
            return None

        async def act(run: Run) -> None:
            await action(run)
            await action(run)

        return act

    return type._replace(steps=tuple(Step(s.name, doubled(s.do), doubled(s.undo), s.patience_s, s.resumable)
                                     for s in type.steps), failed=doubled_failed(type))


def doubled_failed(type: OperationType) -> Any:
    async def failed(run: Run, error: Any) -> None:
        assert type.failed is not None
        await type.failed(run, error)
        await type.failed(run, error)

    return failed


async def test_every_step_twice(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.nova.engine.register(*(twice(kind) for kind in bench.nova.conductor.types))
        server_id = await bench.create()
        await bench.wait_for(server_id, vm_state="active", task_state=None)
        assert len(bench.neutron.ports) == 1 and await bench.violations() == []
        for what, arguments, state in (("reboot", (False,), "active"), ("stop", (), "stopped"),
                                       ("start", (), "active"), ("reboot", (True,), "active")):
            await bench.order(what, server_id, *arguments)
            await bench.idle()
            await bench.wait_for(server_id, vm_state=state, task_state=None)
            assert await bench.violations() == []
        await bench.order("delete", server_id)
        await bench.wait_for(server_id, vm_state="deleted")
        assert bench.neutron.ports == {} and await bench.violations() == []


@pytest.mark.parametrize("step", ["prepare", "start"])
async def test_every_undo_twice(tmp_path: Path, step: str) -> None:
    async with Bench(tmp_path) as bench:
        bench.nova.engine.register(*(twice(kind) for kind in bench.nova.conductor.types))
        bench.driver().failures[step] = [BuildAborted("never")]
        server_id = await bench.create()
        await bench.wait_for(server_id, vm_state="error")
        assert bench.neutron.ports == {} and await bench.violations() == []


async def test_a_late_message_of_an_undone_boot_builds_nothing(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.driver().failures["start"] = [BuildAborted("never")]
        server_id = await bench.create()
        await bench.wait_for(server_id, vm_state="error")
        await bench.idle()
        (operation,) = await bench.nova.engine.story(server_id)
        from cloudseed.nova.compute.errors import Superseded
        from cloudseed.nova.compute.spec import encode_spec, spec_from_row
        spec = encode_spec(spec_from_row(await bench.server(server_id)))
        for method, more in (("allocate_networks", {"again": False}), ("prepare_disks", {}), ("start_new", {})):
            with pytest.raises(Superseded):
                await bench.nova.conductor_bus.call(
                    bench.runtime.context(), "compute.localhost", method, server_id=server_id,
                    operation_id=operation["id"], spec=spec, **more)
        assert await bench.violations() == []


async def test_a_database_that_lost_that_it_was_running(tmp_path: Path) -> None:
    """A crash loses what nobody had waited for.  The operation's own order is not taken for one that waits its turn:
    the server is free when it is done."""
    async with Bench(tmp_path) as bench:
        server_id = await bench.create()
        await bench.wait_for(server_id, vm_state="active", task_state=None)
        await bench.idle()
        (stop,) = [kind for kind in bench.nova.conductor.types if kind.kind == "nova.stop"]
        *steps, last = stop.steps

        async def lose_and_do(run: Run) -> None:
            async with bench.nova.db.write() as tx:
                await tx.execute(sa.update(operation_tables.operations).values(status="pending").where(
                    operation_tables.operations.c.id == run.id))
            await last.do(run)

        bench.nova.engine.register(stop._replace(steps=(*steps, last._replace(do=lose_and_do))))
        await bench.order("stop", server_id)
        await bench.idle()
        await bench.wait_for(server_id, vm_state="stopped", task_state=None)
        assert await bench.violations() == []
