"""Killed at every point of a rebuild, a rescue and its end: finished, or as before; the server is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.nova.compute.errors import BuildAborted
from cloudseed.nova.models import servers
from tests.nova.engine.bench import Bench
from tests.nova.engine.test_kills import TYPES, Story
from tests.support.operations import forward_points, killed_at, undo_points

OLD, NEW = "11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002"


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def ordering(story: Story, kind: str, *, stopped: bool = False, failing: str = "",
             error: type[BuildAborted] = BuildAborted) -> Callable[[Bench], Awaitable[None]]:
    """The order of `kind` on a server made from OLD, which runs or is off."""
    async def act(bench: Bench) -> None:
        story.server_id = await bench.create(image_id=OLD)
        await bench.idle()
        if stopped:
            await bench.order("stop", story.server_id)
            await bench.idle()
        rescue = {"rescue": {"image_id": NEW}, "start": not stopped}
        if kind == "unrescue":
            await bench.order("rescue", story.server_id, rescue)
            await bench.idle()
        if failing:
            bench.driver().failures[failing] = [error("never")]
        if kind == "rebuild":
            async with bench.nova.db.write() as tx:  # as nova-api does with the order
                await tx.execute(sa.update(servers).values(image_id=NEW))
            await bench.order("rebuild", story.server_id, {"start": not stopped, "old": {"image_id": OLD}})
        else:
            await bench.order(kind, story.server_id, rescue if kind == "rescue" else {})

    return act


@pytest.mark.parametrize(("stopped", "state"), [(False, "active"), (True, "stopped")])
@pytest.mark.parametrize("point", forward_points(TYPES["nova.rebuild"]))
async def test_a_rebuild_is_finished(story: Story, point: str, stopped: bool, state: str) -> None:
    async with killed_at(point, story.start, ordering(story, "rebuild", stopped=stopped)) as bench:
        row = await bench.wait_for(story.server_id, vm_state=state, task_state=None)
        assert row.image_id == NEW and bench.driver().boots_from(story.server_id) == NEW
        assert len(row.network_info) == 1 and await bench.violations() == []


@pytest.mark.parametrize("failing", ["remake", "start"])
async def test_a_rebuild_that_fails_is_told_and_can_be_tried_again(story: Story, failing: str) -> None:
    async with story.start() as bench:
        await ordering(story, "rebuild", failing=failing)(bench)
        row = await bench.wait_for(story.server_id, vm_state="error", task_state=None)
        assert await bench.fault(story.server_id) == "never" and row.image_id == NEW
        await bench.order("rebuild", story.server_id, {"start": True, "old": {"image_id": NEW}})
        await bench.wait_for(story.server_id, vm_state="active", task_state=None)
        assert await bench.violations() == []


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("point", forward_points(TYPES["nova.rescue"]))
async def test_a_rescue_is_finished(story: Story, point: str, stopped: bool) -> None:
    async with killed_at(point, story.start, ordering(story, "rescue", stopped=stopped)) as bench:
        row = await bench.wait_for(story.server_id, vm_state="rescued", task_state=None)
        assert bench.driver().boots_from(story.server_id) == NEW and row.image_id == OLD
        assert await bench.violations() == []


@pytest.mark.parametrize("point", forward_points(TYPES["nova.unrescue"]))
async def test_a_rescue_is_ended(story: Story, point: str) -> None:
    async with killed_at(point, story.start, ordering(story, "unrescue")) as bench:
        row = await bench.wait_for(story.server_id, vm_state="active", task_state=None)
        assert bench.driver().boots_from(story.server_id) == OLD and "rescue" not in row.system_metadata
        assert await bench.violations() == []


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("point", undo_points(TYPES["nova.rescue"], "start"))
async def test_a_rescue_in_vain_leaves_the_machine_as_it_was(story: Story, point: str, stopped: bool) -> None:
    order = ordering(story, "rescue", stopped=stopped, failing="start")
    async with killed_at(point, story.start, order) as bench:
        row = await bench.wait_for(story.server_id, vm_state="error", task_state=None)
        assert "rescue" not in row.system_metadata and await bench.fault(story.server_id) == "never"
        assert bench.driver().boots_from(story.server_id) == OLD
        (machine,) = await bench.driver().machines()
        assert machine.running != stopped


async def test_a_rescued_server_is_started_as_such_after_a_reboot_of_its_host(story: Story) -> None:
    async with story.start() as bench:
        await ordering(story, "rescue")(bench)
        await bench.wait_for(story.server_id, vm_state="rescued", task_state=None)
        bench.driver().end_all("fake-2")
        await bench.nova.api_bus.cast(Context(), f"compute.{bench.nova.computes[0].host}", "look_again")
        for _ in range(500):
            (machine,) = await bench.driver().machines()
            if machine.running:
                break
            await asyncio.sleep(0.02)
        assert machine.running and bench.driver().boots_from(story.server_id) == NEW
