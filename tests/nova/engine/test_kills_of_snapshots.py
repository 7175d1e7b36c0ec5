"""Killed at every point of a snapshot or a backup: one image, or none, and never a copy left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseed.nova.compute.errors import BuildAborted
from tests.nova.engine.bench import Bench
from tests.nova.engine.test_kills import TYPES, Story
from tests.support.operations import forward_points, killed_at, undo_points


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


@pytest.mark.parametrize("point", forward_points(TYPES["nova.backup"]))
async def test_a_backup_is_finished(story: Story, point: str) -> None:
    """Whatever was deleted is no more than was too much, and nothing is uploaded twice."""
    async with killed_at(point, story.start, story.order("backup", "b", "daily", 1)) as bench:
        await bench.wait_for(story.server_id, vm_state="active", task_state=None)
        assert [(i["name"], i["image_type"], i["status"]) for i in await bench.images()] == [("b", "backup", "active")]
        assert await bench.violations() == []


@pytest.mark.parametrize("point", forward_points(TYPES["nova.snapshot"])[:-6])
async def test_a_snapshot_of_a_server_that_is_deleted_after_the_restart(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.order("snapshot", "s")) as bench:
        await bench.order("delete", story.server_id)
        await bench.wait_for(story.server_id, vm_state="deleted")
        assert await bench.violations() == []


@pytest.mark.parametrize("point", undo_points(TYPES["nova.snapshot"], "copy")
                         + undo_points(TYPES["nova.backup"], "copy"))
async def test_a_failed_snapshot_leaves_no_image(story: Story, point: str) -> None:
    async def snapshot_in_vain(bench: Bench) -> None:
        await story.boot(bench)
        await bench.idle()
        bench.driver().failures["copy_disk"] = [BuildAborted("never")]
        await bench.order("snapshot" if "snapshot" in point else "backup", story.server_id, "s", "daily", 1)

    async with killed_at(point, story.start, snapshot_in_vain) as bench:
        await bench.wait_for(story.server_id, vm_state="active", task_state=None)
        assert await bench.images() == [] and await bench.fault(story.server_id) == "never"
        assert await bench.violations() == []
