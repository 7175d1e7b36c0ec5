"""Deleting: at every moment of a server's life, with its host up and down, once and twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloudseed.kernel.operations import faults
from tests.nova.engine.bench import Bench
from tests.nova.engine.neutron_double import NETWORK

STEPS = ("schedule", "networks", "disks", "start", "finish")


async def test_delete_leaves_nothing(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await bench.create()
        await bench.wait_for(server_id, vm_state="active")
        await bench.order("delete", server_id)
        row = await bench.wait_for(server_id, vm_state="deleted", task_state=None)
        assert row.deleted_at is not None and row.terminated_at is not None
        await bench.idle()
        assert bench.neutron.ports == {} and await bench.driver().machines() == []
        assert await bench.violations() == []


@pytest.mark.parametrize("moment", ["before", "after", "recorded"])
@pytest.mark.parametrize("step", STEPS)
async def test_delete_during_every_step_of_a_boot(tmp_path: Path, step: str, moment: str) -> None:
    async with Bench(tmp_path) as bench:
        bench.driver().latency_s = 0.02
        reached = asyncio.Event()
        faults.arm(lambda name: reached.set() if name == f"nova.boot:{step}:{moment}" else None)
        try:
            server_id = await bench.create()
            await reached.wait()
            await bench.order("delete", server_id)
            await bench.wait_for(server_id, vm_state="deleted")
        finally:
            faults.arm(None)
        await bench.idle()
        assert bench.neutron.ports == {} and await bench.driver().machines() == []
        assert await bench.violations() == []


@pytest.mark.parametrize("call", ["POST ports", "PUT ports", "GET networks"])
async def test_delete_while_neutron_is_at_work(tmp_path: Path, call: str) -> None:
    async with Bench(tmp_path) as bench:
        gate = bench.neutron.hold[call] = asyncio.Event()
        given = bench.neutron.create({"network_id": NETWORK})
        server_id = await bench.create(networks=[{"uuid": NETWORK}, {"port": given["id"]}])
        while call not in bench.neutron.calls:
            await asyncio.sleep(0.01)
        await bench.order("delete", server_id)
        await asyncio.sleep(0.05)
        gate.set()
        await bench.wait_for(server_id, vm_state="deleted")
        await bench.idle()
        assert list(bench.neutron.ports) == [given["id"]] and not bench.neutron.ports[given["id"]]["device_id"]
        assert await bench.violations() == []


async def test_ordered_twice_it_is_one_delete(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await bench.create()
        await bench.wait_for(server_id, vm_state="active")
        await asyncio.gather(bench.order("delete", server_id), bench.order("delete", server_id))
        await bench.wait_for(server_id, vm_state="deleted")
        story = await bench.nova.engine.story(server_id)
        assert [operation["kind"] for operation in story] == ["nova.boot", "nova.delete"]


async def test_with_its_host_gone_the_server_is_deleted_and_the_machine_when_the_host_is_back(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_hosts=2) as bench:
        server_id = await bench.create(requested_destination={"host": "localhost-2", "node": None, "forced": False})
        await bench.wait_for(server_id, vm_state="active")
        compute = bench.nova.computes[1]
        await compute.stop()
        await bench.forget_host("localhost-2")
        await bench.order("delete", server_id)
        await bench.wait_for(server_id, vm_state="deleted")
        assert bench.neutron.ports == {} and server_id not in await bench.allocations()
        assert await compute.driver.machine(server_id) is not None
    async with Bench(tmp_path, bench.neutron, fake_hosts=2) as bench:
        while await bench.driver(1).machine(server_id) is not None:
            await asyncio.sleep(0.01)
        assert await bench.violations() == []


async def test_a_server_that_never_had_a_host(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await bench.create(availability_zone="moon")
        await bench.wait_for(server_id, vm_state="error")
        await bench.order("delete", server_id)
        await bench.wait_for(server_id, vm_state="deleted")
        assert await bench.violations() == []
