"""Resize on one host: claims, disks and flavor on trial, confirmed or taken back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloudseed.kernel.context import Context
from cloudseed.nova.compute.errors import HostFailed
from tests.nova.engine.bench import FLAVOR, Bench
from tests.nova.engine.resizing import LARGE, held, resize, status

SMALL_CLAIM = {"VCPU": 1, "MEMORY_MB": 256, "DISK_GB": 1}
LARGE_CLAIM = {"VCPU": 2, "MEMORY_MB": 512, "DISK_GB": 5}
LARGE_DISKS = {"root": 3, "ephemeral": 1, "swap": 64}


async def server(bench: Bench, state: str = "active") -> str:
    server_id = await bench.create()
    await bench.wait_for(server_id, vm_state="active", task_state=None)
    await bench.idle()
    if state == "stopped":
        await bench.order("stop", server_id)
        await bench.idle()
    return server_id


@pytest.mark.parametrize("state", ["active", "stopped"])
async def test_a_resize_is_confirmed(tmp_path: Path, state: str) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await server(bench, state)
        migration = await resize(bench, server_id)
        assert await bench.violations() == []
        row = await bench.server(server_id)
        assert row.vm_state == "resized" and row.flavor == LARGE and (row.vcpus, row.memory_mb, row.disk_gb) == (
            2, 512, 4)
        assert await status(bench, migration) == "finished"
        assert await held(bench, server_id) == LARGE_CLAIM and await held(bench, migration) == SMALL_CLAIM
        assert bench.driver().disks(server_id) == (LARGE_DISKS, {"root": 1})
        await bench.order("confirm_resize", server_id, {"migration": migration})
        assert await bench.violations() == []
        assert (await bench.server(server_id)).vm_state == state and await status(bench, migration) == "confirmed"
        assert await held(bench, server_id) == LARGE_CLAIM and await held(bench, migration) == {}
        assert bench.driver().disks(server_id) == (LARGE_DISKS, None)


@pytest.mark.parametrize("state", ["active", "stopped"])
async def test_a_resize_is_reverted(tmp_path: Path, state: str) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await server(bench, state)
        migration = await resize(bench, server_id)
        await bench.idle()
        await bench.order("revert_resize", server_id, {"migration": migration})
        assert await bench.violations() == []
        row = await bench.server(server_id)
        assert row.vm_state == state and row.flavor == FLAVOR and row.memory_mb == 256
        assert await status(bench, migration) == "reverted"
        assert await held(bench, server_id) == SMALL_CLAIM and await held(bench, migration) == {}
        assert bench.driver().disks(server_id) == ({"root": 1}, None)


async def test_no_room_for_the_new_size(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_memory_mib=700) as bench:
        server_id = await server(bench)
        started = (await bench.driver().machine(server_id)).started_at  # type: ignore[union-attr]
        migration = await resize(bench, server_id)
        assert await bench.violations() == []
        row = await bench.server(server_id)
        assert row.vm_state == "active" and row.flavor == FLAVOR and await status(bench, migration) == "error"
        assert "No valid host was found" in await bench.fault(server_id)
        assert await held(bench, server_id) == SMALL_CLAIM and await held(bench, migration) == {}
        assert (await bench.driver().machine(server_id)).started_at == started  # type: ignore[union-attr]


@pytest.mark.parametrize("doing", ["stop", "resize_disks", "start"])
async def test_a_host_that_cannot(tmp_path: Path, doing: str) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await server(bench)
        bench.driver().failures[doing] = [HostFailed(host="h", doing=doing, reason="broken")]
        migration = await resize(bench, server_id)
        assert await bench.violations() == []
        row = await bench.server(server_id)
        assert row.vm_state == "active" and row.flavor == FLAVOR and "broken" in await bench.fault(server_id)
        assert bench.driver().disks(server_id) == ({"root": 1}, None)
        assert await status(bench, migration) == "error" and await held(bench, server_id) == SMALL_CLAIM


@pytest.mark.parametrize("decision", ["confirm_resize", "revert_resize"])
async def test_a_decision_that_failed_can_be_made_again(tmp_path: Path, decision: str) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await server(bench)
        migration = await resize(bench, server_id)
        await bench.idle()
        doing = "drop_kept_disks" if decision == "confirm_resize" else "restore_disks"
        bench.driver().failures[doing] = [HostFailed(host="h", doing=doing, reason="broken")]
        await bench.order(decision, server_id, {"migration": migration})
        await bench.idle()
        assert (await bench.server(server_id)).vm_state == "resized" and "broken" in await bench.fault(server_id)
        await bench.order(decision, server_id, {"migration": migration})
        assert await bench.violations() == []
        assert (await bench.server(server_id)).vm_state == "active"


async def test_a_resized_server_is_deleted(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await server(bench)
        migration = await resize(bench, server_id)
        await bench.idle()
        await bench.order("delete", server_id)
        assert await bench.violations() == []
        assert await held(bench, migration) == {} and await status(bench, migration) == "confirmed"


async def test_a_resized_server_runs_again_after_its_host_rebooted(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await server(bench)
        await resize(bench, server_id)
        await bench.idle()
        bench.driver().end_all("fake-2")
        await bench.nova.api_bus.cast(Context(),
                                      f"compute.{bench.config.host}", "look_again")
        while bench.driver()._records[server_id].started_at is None:
            await asyncio.sleep(0.02)


async def test_no_other_host_takes_a_server(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await server(bench)
        migration = await resize(bench, server_id, FLAVOR, "migrate")
        assert await bench.violations() == []
        assert (await bench.server(server_id)).vm_state == "active" and await status(bench, migration) == "error"
        assert "No valid host" in await bench.fault(server_id)
