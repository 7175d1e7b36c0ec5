"""Stop, start, reboot; machines that end by themselves; hosts that reboot."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.operations import Run
from cloudseed.nova.compute import boot_work, power_work, worker
from cloudseed.nova.compute.drivers import fake
from cloudseed.nova.compute.errors import HostFailed
from cloudseed.nova.compute.spec import ServerSpec
from cloudseed.nova.conductor import power
from cloudseed.nova.models import server_action_events
from tests.nova.engine.bench import Bench


async def active(bench: Bench) -> str:
    server_id = await bench.create()
    await bench.wait_for(server_id, vm_state="active", task_state=None)
    await bench.idle()
    return server_id


async def running_since(bench: Bench, server_id: str) -> float | None:
    machine = await bench.driver().machine(server_id)
    assert machine is not None
    return machine.started_at


async def test_stop_and_start(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        await bench.order("stop", server_id)
        row = await bench.wait_for(server_id, vm_state="stopped", task_state=None)
        assert row.power_state == 4 and await running_since(bench, server_id) is None
        await bench.idle()
        await bench.order("start", server_id)
        row = await bench.wait_for(server_id, vm_state="active", task_state=None)
        assert row.power_state == 1 and await running_since(bench, server_id) is not None
        async with bench.nova.db.read() as tx:
            events = await tx.all(sa.select(server_action_events.c.event, server_action_events.c.result)
                                  .order_by(server_action_events.c.id))
        assert [tuple(event) for event in events] == [
            ("compute__do_build_and_run_instance", "Success"), ("compute_stop_instance", "Success"),
            ("compute_start_instance", "Success")]
        await bench.idle()
        assert await bench.violations() == []


async def test_a_guest_that_ignores_the_power_button_is_unplugged(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "SOFT_TIMEOUT_S", 0.1)
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        bench.driver().ignores_power_button = True
        await bench.order("stop", server_id)
        await bench.wait_for(server_id, vm_state="stopped")
        assert await running_since(bench, server_id) is None


async def test_a_guest_that_was_still_booting_hears_the_button_later(tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power_work, "PRESS_AGAIN_S", 0.05)
    async with Bench(tmp_path) as bench:
        server_id, driver = await active(bench), bench.driver()
        presses, stop = [], driver.stop

        async def press(server_id: str, *, hard: bool) -> None:
            presses.append(hard)
            driver.ignores_power_button = len(presses) < 3
            await stop(server_id, hard=hard)

        monkeypatch.setattr(driver, "stop", press)
        await bench.order("stop", server_id)
        await bench.wait_for(server_id, vm_state="stopped")
        assert presses == [False, False, False]


async def test_an_old_word_of_a_machines_end_is_not_believed(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)

        async def tell() -> None:
            await bench.nova.api_bus.call(Context(), "conductor", "machine_off", host=bench.config.host,
                                          server_id=server_id, reason="found off")

        await tell()
        assert (await bench.server(server_id)).vm_state == "active"
        await bench.driver().stop(server_id, hard=True)
        await tell()
        assert (await bench.server(server_id)).vm_state == "stopped"


@pytest.mark.parametrize("hard", [True, False])
async def test_reboot_restarts_the_machine_once(tmp_path: Path, hard: bool) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        before = await running_since(bench, server_id)
        await bench.order("reboot", server_id, hard)
        await bench.wait_for(server_id, task_state=None)
        await bench.idle()
        after = await running_since(bench, server_id)
        assert before is not None and after is not None and after > before
        assert await bench.violations() == []


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_reboot_on_a_host_whose_clock_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                       hours: int) -> None:
    monkeypatch.setattr(fake, "time", SimpleNamespace(time=lambda: time.time() + hours * 3600))
    async with Bench(tmp_path) as bench:
        server_id, driver = await active(bench), bench.driver()
        await bench.idle()
        starts, start = [], driver.start

        async def count(spec: ServerSpec, vifs: list[Any]) -> None:
            starts.append(spec.id)
            await start(spec, vifs)

        async def ask_twice(run: Run) -> None:
            await restart.do(run)
            await asyncio.sleep(0.1)  # the host has forgotten by now that it was asked
            await restart.do(run)

        monkeypatch.setattr(driver, "start", count)
        monkeypatch.setattr(worker, "IDLE_S", 0.01)
        reboot, = (kind for kind in bench.nova.conductor.types if kind.kind == "nova.reboot")
        look, restart, finish = reboot.steps
        bench.nova.engine.register(reboot._replace(steps=(look, restart._replace(do=ask_twice), finish)))
        await bench.order("reboot", server_id, True)
        await bench.wait_for(server_id, task_state=None)
        await bench.idle()
        assert starts == [server_id]


async def test_a_hard_reboot_starts_a_stopped_server(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        await bench.order("stop", server_id)
        await bench.wait_for(server_id, vm_state="stopped")
        await bench.idle()
        await bench.order("reboot", server_id, True)
        await bench.wait_for(server_id, vm_state="active", task_state=None)
        assert await running_since(bench, server_id) is not None


async def test_a_host_that_cannot_leaves_the_state_and_a_fault(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        bench.driver().failures["stop"] = [HostFailed(host="localhost", doing="stop", reason="broken")] * 2
        await bench.order("stop", server_id)
        await bench.idle()
        row = await bench.server(server_id)
        assert (row.vm_state, row.task_state) == ("active", None)
        assert "broken" in await bench.fault(server_id)


@pytest.mark.parametrize(("reason", "power_state"), [("guest-shutdown", 4), ("crashed", 6)])
async def test_a_machine_that_ends_by_itself_is_shown_as_stopped(tmp_path: Path, reason: str,
                                                                 power_state: int) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        bench.driver().end(server_id, reason)
        row = await bench.wait_for(server_id, vm_state="stopped")
        assert row.power_state == power_state
        assert await bench.violations() == []


async def test_after_a_reboot_of_the_host_active_servers_run_again_and_stopped_ones_do_not(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        runs, stopped = await active(bench), await active(bench)
        await bench.order("stop", stopped)
        await bench.wait_for(stopped, vm_state="stopped")
        await bench.idle()
        ports = dict(bench.neutron.ports)
        compute = bench.nova.computes[0]
        await compute._reconcile_loop.run_soon()
        bench.driver().end_all("fake-2")
        await compute._reconcile_loop.run_soon()
        assert await running_since(bench, runs) is not None and await running_since(bench, stopped) is None
        assert bench.neutron.ports == ports
        assert await bench.violations() == []


async def test_found_off_without_a_reboot_it_was_stopped_from_inside(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        compute = bench.nova.computes[0]
        await compute._reconcile_loop.run_soon()
        bench.driver().end_all("fake-1")
        await compute._reconcile_loop.run_soon()
        await bench.wait_for(server_id, vm_state="stopped")
        assert await bench.violations() == []


async def test_a_machine_that_nobody_knows_is_left_alone(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        async with bench.nova.db.write() as tx:
            await tx.execute(sa.text("DELETE FROM servers"))
        await bench.nova.computes[0]._reconcile_loop.run_soon()
        assert await running_since(bench, server_id) is not None


async def test_the_console_and_its_lines(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        text = await bench.nova.api_bus.call(bench.runtime.context(), "compute.localhost", "console_output",
                                             server_id=server_id, length=1)
        assert text == "LAST LINE"


async def test_a_changed_port_is_seen(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        (port,) = bench.neutron.ports.values()
        port["fixed_ips"][0]["ip_address"] = "10.9.9.9"
        await bench.nova.api_bus.cast(bench.runtime.context(), "compute.localhost", "external_event", events=[
            {"name": "network-changed", "server_uuid": server_id, "tag": port["id"], "status": "completed"}])
        for _ in range(500):
            (vif,) = (await bench.server(server_id)).network_info
            if vif["network"]["subnets"][0]["ips"][0]["address"] == "10.9.9.9":
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError(vif)


def test_the_soft_wait_fits_into_one_call() -> None:
    from cloudseed.nova.conductor.on_host import CALL_TIMEOUT_S
    assert power.SOFT_TIMEOUT_S < CALL_TIMEOUT_S / 1.5
    assert boot_work.PLUG_DEADLINE_S > CALL_TIMEOUT_S  # asked again while it waits: see the step's patience
