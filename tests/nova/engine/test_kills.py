"""Killed at every point of every operation, and started again: each ends in a final state and nothing leaks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudseed.kernel.errors import Conflict
from cloudseed.kernel.operations import OperationType, faults
from cloudseed.nova.compute.errors import BuildAborted
from cloudseed.nova.conductor import Conductor
from tests.nova.engine.bench import Bench
from tests.nova.engine.neutron_double import NETWORK, Neutron
from tests.support.operations import forward_points, killed_at, undo_points

NOBODY: Any = SimpleNamespace(conductor_session=None)
TYPES: dict[str, OperationType] = {kind.kind: kind for kind in Conductor(NOBODY).types}
BOOT, DELETE = TYPES["nova.boot"], TYPES["nova.delete"]


class Story:
    """One server on a cloud that is killed and started again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.neutron = Neutron()
        self.given = self.neutron.create({"network_id": NETWORK})["id"]
        self.server_id = ""

    def start(self) -> Bench:
        return Bench(self.path, self.neutron)

    async def boot(self, bench: Bench) -> None:
        self.server_id = await bench.create(networks=[{"uuid": NETWORK}, {"port": self.given}])

    async def boot_in_vain(self, bench: Bench) -> None:
        bench.driver().failures["start"] = [BuildAborted("never")]
        await self.boot(bench)

    def order(self, what: str, *arguments: Any, after: tuple[str, ...] = ()) -> Any:
        async def act(bench: Bench) -> None:
            await self.boot(bench)
            await bench.idle()
            for before in after:
                await bench.order(before, self.server_id)
                await bench.idle()
            await bench.order(what, self.server_id, *arguments)

        return act


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


@pytest.mark.parametrize("point", forward_points(BOOT))
async def test_a_boot_is_finished(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.boot) as bench:
        row = await bench.wait_for(story.server_id, vm_state="active", task_state=None)
        assert len(row.network_info) == 2 and len(story.neutron.ports) == 2
        assert await bench.violations() == []


@pytest.mark.parametrize("point", undo_points(BOOT, "start"))
async def test_a_failed_boot_is_undone(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.boot_in_vain) as bench:
        await bench.wait_for(story.server_id, vm_state="error", task_state=None)
        assert await bench.fault(story.server_id) == "never"
        assert list(story.neutron.ports) == [story.given]
        assert await bench.violations() == []


@pytest.mark.parametrize("point", forward_points(BOOT))
async def test_a_boot_that_is_deleted_after_the_restart(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.boot) as bench:
        await bench.order("delete", story.server_id)
        await bench.wait_for(story.server_id, vm_state="deleted")
        assert list(story.neutron.ports) == [story.given]
        assert await bench.violations() == [] and await bench.driver().machines() == []


@pytest.mark.parametrize("point", forward_points(DELETE))
async def test_a_delete_is_finished(story: Story, point: str) -> None:
    async with killed_at(point, story.start, story.order("delete")) as bench:
        await bench.wait_for(story.server_id, vm_state="deleted", task_state=None)
        assert list(story.neutron.ports) == [story.given]
        assert await bench.violations() == [] and await bench.driver().machines() == []


POWER: list[tuple[str, tuple[Any, ...], tuple[str, ...], str]] = [
    ("stop", (), (), "stopped"), ("start", (), ("stop",), "active"), ("reboot", (True,), (), "active"),
    ("reboot", (False,), (), "active"), ("pause", (), (), "paused"), ("unpause", (), ("pause",), "active"),
    ("suspend", (), (), "suspended"), ("resume", (), ("suspend",), "active"),
    ("reboot", (True,), ("suspend",), "active"), ("reboot", (True,), ("pause",), "active")]


@pytest.mark.parametrize(("kind", "arguments", "after", "state", "point"), [
    (*each, point) for each in POWER for point in forward_points(TYPES[f"nova.{each[0]}"])])
async def test_a_power_action_is_finished(story: Story, kind: str, arguments: tuple[Any, ...],
                                          after: tuple[str, ...], state: str, point: str) -> None:
    async with killed_at(point, story.start, story.order(kind, *arguments, after=after)) as bench:
        await bench.wait_for(story.server_id, vm_state=state, task_state=None)
        assert await bench.violations() == []


CHANGES = {
    "attach_interface": ({"order": {"uuid": NETWORK}}, 3), "detach_interface": ("second", 1),
    "add_fixed_ip": ({"network_id": NETWORK}, 2), "remove_fixed_ip": ("address", 2)}


@pytest.mark.parametrize(("kind", "point"), [
    (kind, point) for kind in CHANGES for point in forward_points(TYPES[f"nova.{kind}"])])
async def test_a_change_of_interfaces_is_finished(story: Story, kind: str, point: str) -> None:
    data, ports = CHANGES[kind]

    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await bench.idle()
        vif = (await bench.server(story.server_id)).network_info[1]
        wanted = {"second": {"port_id": vif["id"]},
                  "address": {"address": vif["network"]["subnets"][0]["ips"][0]["address"]}}
        await bench.order(kind, story.server_id, wanted[data] if isinstance(data, str) else data)

    async with killed_at(point, story.start, order) as bench:
        await bench.idle()
        row = await bench.server(story.server_id)
        assert len(row.network_info) == ports and row.vm_state == "active"
        assert bench.driver().ports(story.server_id) == [vif["id"] for vif in row.network_info]
        assert len(story.neutron.ports) == (3 if kind == "attach_interface" else 2)  # a given port stays
        used = {port["id"]: len(port["fixed_ips"]) for port in story.neutron.ports.values()}
        assert sum(used.values()) == {"add_fixed_ip": 3, "remove_fixed_ip": 1}.get(kind, len(used))
        assert await bench.violations() == []


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("point", undo_points(TYPES["nova.attach_interface"], "plug"))
async def test_a_failed_attachment_is_undone(story: Story, point: str, given: bool) -> None:
    mine = story.neutron.create({"network_id": NETWORK})["id"]

    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await bench.idle()
        bench.driver().failures["attach_interface"] = [BuildAborted("never")]
        await bench.order("attach_interface", story.server_id,
                          {"order": {"uuid": NETWORK, **({"port": mine} if given else {})}})

    async with killed_at(point, story.start, order) as bench:
        await bench.idle()
        assert len((await bench.server(story.server_id)).network_info) == 2 == len(
            bench.driver().ports(story.server_id))
        assert len(story.neutron.ports) == 3 and story.neutron.ports[mine]["device_id"] == ""
        assert await bench.violations() == []


@pytest.mark.parametrize(("kind", "point"), [
    (kind, point) for kind in ("add_fixed_ip", "remove_fixed_ip")
    for point in undo_points(TYPES[f"nova.{kind}"], "change")])
async def test_a_failed_change_of_addresses_is_undone(story: Story, kind: str, point: str) -> None:
    async def order(bench: Bench) -> None:
        await story.boot(bench)
        await bench.idle()
        vif = (await bench.server(story.server_id)).network_info[0]
        story.neutron.failures["PUT ports"] = [Conflict("never")]
        await bench.order(kind, story.server_id, {
            "network_id": NETWORK, "address": vif["network"]["subnets"][0]["ips"][0]["address"]})

    async with killed_at(point, story.start, order) as bench:
        assert await bench.violations() == []
        assert [len(port["fixed_ips"]) for port in story.neutron.ports.values()] == [1, 1]


async def test_the_tests_above_know_every_declared_point(story: Story) -> None:
    async with story.start():
        declared = {name for name in faults.declared() if name.startswith("nova.")}
    known = {point for kind in TYPES.values() for point in forward_points(kind)}
    undone = {point for kind in TYPES.values() for point in undo_points(kind, kind.steps[-1].name)}
    assert declared == known | undone
