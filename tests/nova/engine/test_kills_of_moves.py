"""Moves between hosts, killed at every point: the server ends on one host, whole, and nothing is left on the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloudseed.kernel.operations import Killed, faults
from cloudseed.nova.compute.errors import HostFailed
from tests.nova.engine.bench import Bench
from tests.nova.engine.moving import Story
from tests.nova.engine.resizing import held
from tests.nova.engine.test_kills import TYPES
from tests.support.operations import forward_points, killed_at, undo_points

MIGRATE, LIVE, EVACUATE = TYPES["nova.migrate"], TYPES["nova.live_migrate"], TYPES["nova.evacuate"]
NEVER = HostFailed(host="h", doing="it", reason="never")


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def one_guest(story: Story, bench: Bench) -> int:
    """On how many hosts the guest runs at this moment."""
    records = [compute.driver._records.get(story.server_id) for compute in bench.nova.computes]  # type: ignore[attr-defined]
    return sum(r is not None and r.started_at is not None and not r.paused for r in records)


@pytest.mark.parametrize("point", forward_points(MIGRATE))
async def test_a_cold_migration_is_finished(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await story.move(bench, "migrate")

    async with killed_at(point, story.start, order) as bench:
        await story.check(bench, story.other(bench), "resized", "finished")


@pytest.mark.parametrize("point", undo_points(MIGRATE, "start"))
async def test_a_failed_cold_migration_is_undone(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        story.driver(bench, story.other(bench)).failures["start"] = [NEVER]
        await story.move(bench, "migrate")

    async with killed_at(point, story.start, order) as bench:
        await story.check(bench, story.source, "active", "error")


@pytest.mark.parametrize(("decision", "point"), [
    (decision, point) for decision in ("confirm_resize", "revert_resize")
    for point in forward_points(TYPES[f"nova.{decision}"])])
async def test_a_decision_on_a_migration_is_carried_out(story: Story, decision: str, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await story.move(bench, "migrate")
        await bench.idle()
        await story.decide(bench, decision)

    async with killed_at(point, story.start, order) as bench:
        confirmed = decision == "confirm_resize"
        await story.check(bench, story.other(bench) if confirmed else story.source, "active",
                          "confirmed" if confirmed else "reverted")


@pytest.mark.parametrize("point", forward_points(LIVE))
async def test_a_live_migration_is_finished(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await story.move(bench, "live_migrate")

    async with killed_at(point, story.start, order) as bench:
        assert one_guest(story, bench) <= 1
        await story.check(bench, story.other(bench), "active", "completed")
        assert one_guest(story, bench) == 1


@pytest.mark.parametrize("point", undo_points(LIVE, "send"))
async def test_a_failed_live_migration_is_undone(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        story.fail(bench, "send_live", NEVER)
        await story.move(bench, "live_migrate")

    async with killed_at(point, story.start, order) as bench:
        assert one_guest(story, bench) <= 1
        await story.check(bench, story.source, "active", "error")
        assert one_guest(story, bench) == 1


@pytest.mark.parametrize("point", forward_points(EVACUATE))
async def test_an_evacuation_is_finished(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await story.move(bench, "evacuate")

    async with killed_at(point, story.start, order) as bench:
        await bench.idle()
        await story.force_down(bench, story.source, down=False)
        await story.look_again(bench)
        await story.check(bench, story.other(bench), "active", "done")


@pytest.mark.parametrize("point", undo_points(EVACUATE, "start"))
async def test_a_failed_evacuation_is_undone(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        story.driver(bench, story.other(bench)).failures["start"] = [NEVER]
        await story.move(bench, "evacuate")

    async with killed_at(point, story.start, order) as bench:
        await bench.idle()
        row = await bench.server(story.server_id)
        assert (row.host, row.vm_state) == (story.source, "error")
        assert await held(bench, story.server_id) != {} and await held(bench, story.migration) == {}
        assert await story.driver(bench, story.other(bench)).machine(story.server_id) is None


@pytest.mark.parametrize("point", [*forward_points(MIGRATE), *forward_points(LIVE), *forward_points(EVACUATE)])
async def test_a_server_that_is_deleted_during_its_move(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await story.move(bench, point.partition(":")[0].removeprefix("nova."))

    async with killed_at(point, story.start, order) as bench:
        await bench.order("delete", story.server_id)
        await bench.wait_for(story.server_id, vm_state="deleted")
        await story.force_down(bench, story.source, down=False)
        await story.look_again(bench)
        assert await bench.violations() == [] and await held(bench, story.migration) == {}
        for compute in bench.nova.computes:
            assert await compute.driver.machines() == []


async def test_a_last_step_that_runs_again_leaves_a_later_order_its_state(story: Story) -> None:
    """Killed when the server was free already and the operation was still open: the user's next order came before."""
    starts, reached = 0, asyncio.Event()

    def hold(point: str) -> None:
        if point == "nova.migrate:claim:before":
            reached.set()
            raise Killed(point)

    def start() -> Bench:
        nonlocal starts
        starts += 1
        if starts == 2:
            faults.arm(hold)
        return story.start()

    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await story.move(bench, "live_migrate")
        await bench.wait_for(story.server_id, host=story.other(bench), task_state=None)
        await story.move(bench, "migrate")

    try:
        async with killed_at("nova.live_migrate:finish:after", start, order) as bench:
            async with asyncio.timeout(20):
                await reached.wait()
            assert (await bench.server(story.server_id)).task_state == "resize_prep"
    finally:
        faults.arm(None)
    async with story.start() as bench:
        there, story.source = story.source, story.other(bench)
        await story.check(bench, there, "resized", "finished")
