"""Shelve and unshelve, also killed at every point: a server put away holds nothing of a host, and comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudseed.kernel.context import Context
from cloudseed.nova.compute.errors import BuildAborted
from cloudseed.nova.conductor.image_of_server import new_image
from cloudseed.nova.server_states import TaskState
from tests.nova.engine.bench import _TASKS, Bench
from tests.nova.engine.test_kills import TYPES, Story
from tests.support.operations import forward_points, killed_at, undo_points

_TASKS |= {"shelve": TaskState.SHELVING, "unshelve": TaskState.UNSHELVING}
IMAGE = "aaaaaaaa-0000-4000-8000-000000000001"


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


async def shelve(bench: Bench, server_id: str) -> None:
    row = await bench.server(server_id)
    data: dict[str, Any] = {"ran": row.vm_state == "active", "image": {
        "id": IMAGE, "body": new_image(row, Context(), "vm-shelved", "snapshot", {})}}
    await bench.order("shelve", server_id, data)


async def shelved(story: Story, bench: Bench) -> None:
    await story.boot(bench)
    await bench.idle()
    await shelve(bench, story.server_id)


async def check_shelved(story: Story, bench: Bench) -> None:
    row = await bench.wait_for(story.server_id, vm_state="shelved_offloaded", task_state=None)
    assert await bench.violations() == []
    assert row.host is None and await bench.driver().machines() == [] and await bench.allocations() == set()
    assert [(i["name"], i["status"]) for i in await bench.images()] == [("vm-shelved", "active")]
    ports = [port for port in story.neutron.ports.values() if port["device_id"] == row.id]
    assert len(ports) == 2 == len(row.network_info) and not any(port["binding:host_id"] for port in ports)


async def check_back(story: Story, bench: Bench) -> None:
    row = await bench.wait_for(story.server_id, vm_state="active", task_state=None)
    assert await bench.violations() == [] and await bench.images() == []
    assert all(port["binding:host_id"] for port in story.neutron.ports.values()) and len(row.network_info) == 2
    assert not any(name.startswith("shelved_") for name in row.system_metadata)


async def test_shelve_and_unshelve(story: Story) -> None:
    async with story.start() as bench:
        await shelved(story, bench)
        await check_shelved(story, bench)
        await bench.order("unshelve", story.server_id)
        await check_back(story, bench)


async def test_a_stopped_server_that_cannot_be_shelved_stays(story: Story) -> None:
    async with story.start() as bench:
        await story.boot(bench)
        await bench.idle()
        bench.driver().failures["copy_disk"] = [BuildAborted("never")]
        await shelve(bench, story.server_id)
        await bench.wait_for(story.server_id, vm_state="active", task_state=None)
        assert await bench.violations() == [] and await bench.images() == []
        assert await bench.fault(story.server_id) == "never"


async def test_a_shelved_server_is_deleted_with_its_image(story: Story) -> None:
    async with story.start() as bench:
        await shelved(story, bench)
        await check_shelved(story, bench)
        await bench.order("delete", story.server_id)
        await bench.wait_for(story.server_id, vm_state="deleted")
        assert await bench.violations() == [] and await bench.images() == []
        assert list(story.neutron.ports) == [story.given]


@pytest.mark.parametrize("point", [*forward_points(TYPES["nova.shelve"]),
                                   *forward_points(TYPES["nova.shelve_offload"])])
async def test_a_shelve_is_finished(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await shelved(story, bench)

    async with killed_at(point, story.start, order) as bench:
        await check_shelved(story, bench)


@pytest.mark.parametrize("point", undo_points(TYPES["nova.shelve"], "copy"))
async def test_a_failed_shelve_is_undone(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await bench.idle()
        bench.driver().failures["copy_disk"] = [BuildAborted("never")]
        await shelve(bench, story.server_id)

    async with killed_at(point, story.start, order) as bench:
        await bench.wait_for(story.server_id, vm_state="active", task_state=None)
        assert await bench.violations() == [] and await bench.images() == []


@pytest.mark.parametrize("point", forward_points(TYPES["nova.unshelve"]))
async def test_an_unshelve_is_finished(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await shelved(story, bench)
        await bench.idle()
        await bench.order("unshelve", story.server_id)

    async with killed_at(point, story.start, order) as bench:
        await check_back(story, bench)


@pytest.mark.parametrize("point", undo_points(TYPES["nova.unshelve"], "start"))
async def test_a_failed_unshelve_leaves_the_server_on_the_shelf(story: Story, point: str) -> None:
    async def order(bench: Bench) -> None:
        await shelved(story, bench)
        await bench.idle()
        bench.driver().failures["start"] = [BuildAborted("never")]
        await bench.order("unshelve", story.server_id)

    async with killed_at(point, story.start, order) as bench:
        await check_shelved(story, bench)
        assert await bench.fault(story.server_id) == "never"
