"""Moves of servers between hosts: cold, live and away from a dead host; with their ports, volumes and claims."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from cloudseed.kernel.errors import Conflict
from cloudseed.nova.compute.errors import HostFailed
from cloudseed.nova.models import migrations
from tests.nova.engine.bench import Bench
from tests.nova.engine.moving import Story, statuses
from tests.nova.engine.resizing import LARGE, held, resize, status

BROKEN = HostFailed(host="h", doing="it", reason="broken")


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


@pytest.mark.parametrize("state", ["active", "stopped"])
@pytest.mark.parametrize("decision", ["confirm_resize", "revert_resize"])
async def test_a_cold_migration(story: Story, state: str, decision: str) -> None:
    async with story.start() as bench:
        await story.boot(bench, state)
        await story.move(bench, "migrate")
        there = story.other(bench)
        await story.check(bench, there, "resized", "finished")
        await story.look_again(bench)  # neither host takes what waits for its user for a stranger's
        await story.check(bench, there, "resized", "finished")
        await story.decide(bench, decision)
        confirmed = decision == "confirm_resize"
        await story.check(bench, there if confirmed else story.source, state, "confirmed" if confirmed else "reverted")


async def test_a_resize_goes_where_there_is_room(tmp_path: Path) -> None:
    story = Story(tmp_path, volume=False, fake_memory_mib=700)
    async with story.start() as bench:
        await story.boot(bench)
        story.migration = await resize(bench, story.server_id, {**LARGE, "ram": 600})
        await story.check(bench, story.other(bench), "resized", "finished")
        assert story.driver(bench, story.other(bench)).disks(story.server_id) == (
            {"root": 3, "ephemeral": 1, "swap": 64}, None)
        await story.decide(bench, "revert_resize")
        await story.check(bench, story.source, "active", "reverted")
        assert story.driver(bench, story.source).disks(story.server_id) == ({"root": 1}, None)


@pytest.mark.parametrize("doing", ["stop", "receive_disks", "send_disks", "settle_disks", "start"])
async def test_a_cold_migration_that_fails(story: Story, doing: str) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        story.fail(bench, doing, BROKEN)
        if doing == "start":  # the one on the way back goes well
            story.driver(bench, story.source).failures["start"] = []
        elif doing == "stop":
            story.driver(bench, story.other(bench)).failures["stop"] = []
        await story.move(bench, "migrate")
        await story.check(bench, story.source, "active", "error")
        assert "broken" in await bench.fault(story.server_id)


@pytest.mark.parametrize("state", ["active", "paused"])
async def test_a_live_migration(story: Story, state: str) -> None:
    async with story.start() as bench:
        await story.boot(bench, state)
        await story.move(bench, "live_migrate")
        await story.check(bench, story.other(bench), state, "completed")
        machine = await story.driver(bench, story.other(bench)).machine(story.server_id)
        assert machine is not None and machine.running and machine.paused == (state == "paused")


@pytest.mark.parametrize("doing", ["receive_live", "send_live"])
async def test_a_live_migration_that_fails(story: Story, doing: str) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        story.fail(bench, doing, BROKEN)
        await story.move(bench, "live_migrate")
        await story.check(bench, story.source, "active", "error")
        machine = await story.driver(bench, story.source).machine(story.server_id)
        assert machine is not None and machine.running and not machine.paused


async def test_a_guest_that_is_lost_on_its_new_host_is_not_run_on_its_old_one(story: Story) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        story.fail(bench, "run_here", BROKEN)
        await story.move(bench, "live_migrate")
        await bench.wait_for(story.server_id, vm_state="error", task_state=None)
        assert await status(bench, story.migration) == "error" and await held(bench, story.migration) == {}
        await story.look_again(bench)
        assert await story.driver(bench, story.source).machine(story.server_id) is None
        assert (await bench.server(story.server_id)).host == story.other(bench)


async def test_a_live_migration_is_aborted(story: Story) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        source = story.driver(bench, story.source)
        source.latency_s = 0.0
        never = asyncio.Event()

        async def forever(doing: str) -> None:
            if doing == "send_live":
                await never.wait()

        source._pretend = forever  # type: ignore[method-assign]
        await story.move(bench, "live_migrate")
        async with asyncio.timeout(10):
            while await status(bench, story.migration) != "running":
                await asyncio.sleep(0.01)
        async with bench.nova.db.write() as tx:
            await bench.nova.engine.cancel(tx, story.server_id, kinds=("nova.live_migrate",))
        await story.check(bench, story.source, "active", "cancelled")


async def test_a_live_migration_of_local_disks_that_may_not_be_copied(story: Story) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        await story.move(bench, "live_migrate", block_migration=False)
        await story.check(bench, story.source, "active", "error")
        assert "is not on shared storage" in await bench.fault(story.server_id)


@pytest.mark.parametrize(("state", "start"), [("active", True), ("stopped", False), ("active", False)])
async def test_an_evacuation(story: Story, state: str, start: bool) -> None:
    async with story.start() as bench:
        await story.boot(bench, state)
        old = next(iter(story.cinder.attachments))
        await story.move(bench, "evacuate", start=start)
        await bench.idle()
        assert (await bench.server(story.server_id)).host == story.other(bench)
        assert old not in story.cinder.attachments  # the dead host's way to the volume
        # the dead host still has its machine; when it is back it removes what is no longer its own
        assert await story.driver(bench, story.source).machine(story.server_id) is not None
        await story.force_down(bench, story.source, down=False)
        await story.look_again(bench)
        await story.check(bench, story.other(bench), "active" if start else "stopped", "done")


@contextlib.contextmanager
def nothing_begins(bench: Bench) -> Iterator[None]:
    """What is ordered meanwhile waits, and begins together afterwards."""
    bench.nova.engine.wake = lambda: None  # type: ignore[method-assign]
    yield
    del bench.nova.engine.wake
    bench.nova.engine.wake()


async def test_an_evacuation_from_a_host_that_came_back(story: Story) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        with nothing_begins(bench):
            await story.move(bench, "evacuate")
            await story.force_down(bench, story.source, down=False)
        await bench.idle()
        assert "is still in use" in await bench.fault(story.server_id)
        await story.check(bench, story.source, "active", "error")


async def test_an_evacuation_that_was_ordered_before_a_live_migration_was_over(story: Story) -> None:
    """The guest came away by itself: it stays where it is, and in good health."""
    async with story.start() as bench:
        await story.boot(bench)
        with nothing_begins(bench):
            await story.move(bench, "live_migrate")
            await story.move(bench, "evacuate")
            await story.force_down(bench, story.source, down=False)
        await bench.idle()
        await story.check(bench, story.other(bench), "active", "error")
        assert await statuses(bench, story.server_id) == ["completed", "error"]
        assert (await bench.server(story.server_id)).task_state is None


async def test_an_evacuation_that_was_ordered_before_a_stop_was_over_leaves_the_server_off(story: Story) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        with nothing_begins(bench):
            await bench.order("stop", story.server_id)
            await story.move(bench, "evacuate")
        await bench.idle()
        await story.force_down(bench, story.source, down=False)
        await story.look_again(bench)
        await story.check(bench, story.other(bench), "stopped", "done")


async def test_an_evacuation_of_a_server_that_is_gone_when_its_turn_comes(story: Story) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        with nothing_begins(bench):
            await bench.order("delete", story.server_id)
            await story.move(bench, "evacuate")
            await story.force_down(bench, story.source, down=False)
        await bench.wait_for(story.server_id, vm_state="deleted")
        await bench.idle()
        assert await status(bench, story.migration) == "error"
        row = await bench.server(story.server_id)
        assert row.vm_state == "deleted" and row.deleted_at is not None
        assert await bench.violations() == [] and await held(bench, story.migration) == {}
        assert await held(bench, story.server_id) == {}


@pytest.mark.parametrize("doing", ["prepare", "start"])
async def test_an_evacuation_that_fails_can_be_ordered_again(story: Story, doing: str) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        story.driver(bench, story.other(bench)).failures[doing] = [Conflict("never")]
        await story.move(bench, "evacuate")
        await bench.idle()
        row = await bench.server(story.server_id)
        assert (row.host, row.vm_state) == (story.source, "error") and await bench.fault(story.server_id) == "never"
        assert await held(bench, story.migration) == {} and await held(bench, story.server_id) != {}
        await story.move(bench, "evacuate")
        await bench.idle()
        await story.force_down(bench, story.source, down=False)
        await story.look_again(bench)
        await story.check(bench, story.other(bench), "active", "done")
        assert await statuses(bench, story.server_id) == ["error", "done"]


@pytest.mark.parametrize("kind", ["migrate", "live_migrate", "evacuate"])
async def test_no_other_host(tmp_path: Path, kind: str) -> None:
    story = Story(tmp_path, hosts=1)
    async with story.start() as bench:
        await story.boot(bench)
        await story.move(bench, kind)
        await bench.idle()
        assert "No valid host" in await bench.fault(story.server_id)
        assert await status(bench, story.migration) == "error"
        row = await bench.server(story.server_id)
        assert row.vm_state == ("error" if kind == "evacuate" else "active") and row.host == story.source
        assert await held(bench, story.server_id) != {} and await held(bench, story.migration) == {}


@pytest.mark.parametrize("kind", ["migrate", "live_migrate"])
async def test_a_server_is_deleted_after_its_move(story: Story, kind: str) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        await story.move(bench, kind)
        await bench.idle()
        await bench.order("delete", story.server_id)
        await bench.wait_for(story.server_id, vm_state="deleted")
        assert await bench.violations() == [] and await held(bench, story.migration) == {}
        for compute in bench.nova.computes:
            assert await compute.driver.machines() == []


async def test_a_named_host_that_is_disabled(tmp_path: Path) -> None:
    story = Story(tmp_path, hosts=3)
    async with story.start() as bench:
        await story.boot(bench)
        there = story.other(bench)
        await story.force_down(bench, there)
        await story.move(bench, "live_migrate", host=there)
        await story.check(bench, story.source, "active", "error")
        assert "ComputeFilter" in await bench.fault(story.server_id)
        await story.move(bench, "live_migrate")
        await bench.idle()
        assert (await bench.server(story.server_id)).host not in (story.source, there)


@pytest.mark.parametrize("hosts", [2, 3])
@pytest.mark.parametrize("kind", ["migrate", "live_migrate"])
async def test_a_move_that_was_ordered_before_another_was_over(tmp_path: Path, hosts: int, kind: str) -> None:
    """It goes from where the server is when it begins, not from where it was when it was ordered."""
    story = Story(tmp_path, hosts)
    async with story.start() as bench:
        await story.boot(bench)
        await story.move(bench, "live_migrate")
        await story.move(bench, kind)
        assert await bench.nova.engine.idle(20)
        async with bench.nova.db.read() as tx:
            first, second = await tx.all(sa.select(migrations).order_by(migrations.c.id))
        assert first.dest_host == second.source_host != second.dest_host
        story.source = second.source_host
        state, ended = ("resized", "finished") if kind == "migrate" else ("active", "completed")
        await story.check(bench, second.dest_host, state, ended)
        assert (await bench.server(story.server_id)).task_state is None


async def test_a_move_of_a_server_that_waits_for_its_user_by_now(story: Story) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        await story.move(bench, "migrate")
        first = story.migration
        await story.move(bench, "migrate")
        assert await bench.nova.engine.idle(20)
        assert await statuses(bench, story.server_id) == ["finished", "error"]
        assert "while it is in vm_state resized" in await bench.fault(story.server_id)
        story.migration = first
        await story.check(bench, story.other(bench), "resized", "finished")


async def test_an_undo_ends_when_the_machine_is_on_no_host(story: Story) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        await story.driver(bench, story.source).remove(story.server_id)
        await story.move(bench, "migrate")
        assert await bench.nova.engine.idle(20)
        row = await bench.server(story.server_id)
        assert (row.host, row.vm_state, row.task_state) == (story.source, "error", None)
        assert "no disks" in await bench.fault(story.server_id)
