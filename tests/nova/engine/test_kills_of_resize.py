"""Resize, confirm and revert, killed at every point: the server ends where it should, and nothing leaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseed.nova.compute.errors import HostFailed
from tests.nova.engine.bench import FLAVOR, Bench
from tests.nova.engine.neutron_double import Neutron
from tests.nova.engine.resizing import LARGE, held, resize, status
from tests.nova.engine.test_kills import TYPES
from tests.support.operations import forward_points, killed_at, undo_points

RESIZE = TYPES["nova.resize"]


class Story:
    """One server on a cloud that is killed and started again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.neutron = Neutron()
        self.server_id = self.migration = ""

    def start(self) -> Bench:
        return Bench(self.path, self.neutron)

    async def boot(self, bench: Bench) -> None:
        self.server_id = await bench.create()
        await bench.idle()

    async def resize(self, bench: Bench) -> None:
        await self.boot(bench)
        self.migration = await resize(bench, self.server_id)

    async def resize_in_vain(self, bench: Bench) -> None:
        await self.boot(bench)
        bench.driver().failures["start"] = [HostFailed(host="h", doing="start", reason="never")]
        self.migration = await resize(bench, self.server_id)

    async def check(self, bench: Bench, state: str, flavor: object, ended: str) -> None:
        assert await bench.violations() == []
        row = await bench.server(self.server_id)
        assert row.vm_state == state and row.flavor == flavor and await status(bench, self.migration) == ended
        disks, kept = bench.driver().disks(self.server_id)
        assert disks["root"] == (3 if flavor == LARGE else 1) and (kept is not None) == (state == "resized")
        assert (await held(bench, self.migration) != {}) == (state == "resized")


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


@pytest.mark.parametrize("point", forward_points(RESIZE))
async def test_a_resize_is_finished(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.resize) as bench:
        await story.check(bench, "resized", LARGE, "finished")


@pytest.mark.parametrize("point", undo_points(RESIZE, "start"))
async def test_a_failed_resize_is_undone(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.resize_in_vain) as bench:
        await story.check(bench, "active", FLAVOR, "error")


@pytest.mark.parametrize(("decision", "point"), [
    (decision, point) for decision in ("confirm_resize", "revert_resize")
    for point in forward_points(TYPES[f"nova.{decision}"])])
async def test_a_decision_is_carried_out(story: Story, decision: str, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.resize(bench)
        await bench.idle()
        await bench.order(decision, story.server_id, {"migration": story.migration})

    async with killed_at(point, story.start, order) as bench:
        confirmed = decision == "confirm_resize"
        await story.check(bench, "active", LARGE if confirmed else FLAVOR, "confirmed" if confirmed else "reverted")


@pytest.mark.parametrize("point", forward_points(RESIZE))
async def test_a_server_that_is_deleted_during_a_resize(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.resize) as bench:
        await bench.order("delete", story.server_id)
        await bench.wait_for(story.server_id, vm_state="deleted")
        assert await bench.violations() == [] and await held(bench, story.migration) == {}
        assert await bench.driver().machines() == []


async def test_a_migration_in_vain(story: Story) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        story.migration = await resize(bench, story.server_id, FLAVOR, "migrate")

    async with killed_at("nova.migrate:claim:before", story.start, order) as bench:
        await story.check(bench, "active", FLAVOR, "error")
