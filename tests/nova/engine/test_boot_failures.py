"""Boots that fail: on another host instead, or for good with the reason; nothing is left behind either way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cloudseed.kernel import errors
from cloudseed.nova.compute.errors import BuildAborted, HostFailed
from tests.nova.engine.bench import Bench
from tests.nova.engine.neutron_double import NETWORK


async def failed(bench: Bench, server_id: str) -> str:
    """The reason, once the server is in error; nothing may be left of it."""
    row = await bench.wait_for(server_id, vm_state="error", task_state=None)
    await bench.idle()
    assert row.host is None and row.network_info == []
    assert await bench.violations() == []
    return await bench.fault(server_id)


@pytest.mark.parametrize(("step", "error"), [
    ("prepare", HostFailed(host="localhost", doing="make disks", reason="no space left")),
    ("start", HostFailed(host="localhost", doing="start", reason="QEMU is missing"))])
async def test_a_failed_host_is_left_for_another(tmp_path: Path, step: str, error: Exception) -> None:
    async with Bench(tmp_path, fake_hosts=2) as bench:
        for number in range(2):
            bench.driver(number).failures[step] = [error]  # type: ignore[list-item]
        # the first host fails, the second as well: then there is none
        reason = await failed(bench, await bench.create())
        assert "No valid host was found" in reason and "failed before" in reason
        for number in range(2):
            assert bench.driver(number).failures[step] == []
        bench.driver(0).failures[step] = [error]  # type: ignore[list-item]
        asked = {"host": "localhost-1", "node": None, "forced": False}
        assert "RetryFilter" in await failed(bench, await bench.create(requested_destination=asked))
        bench.driver(0).failures[step] = [error]  # type: ignore[list-item]
        bench.driver(1).failures[step] = []
        row = await bench.wait_for(await bench.create(), vm_state="active")
        assert row.host in ("localhost-1", "localhost-2")
        await bench.idle()
        assert await bench.violations() == []


@pytest.mark.parametrize(("where", "error", "text"), [
    ("POST ports", errors.Conflict("Quota exceeded for resources: ['port']."), "Quota exceeded"),
    ("POST ports", errors.Conflict("No more IP addresses available on network x."), "No more IP addresses"),
    ("PUT ports", errors.NotFound("Port gone."), "Port gone"),
    ("GET networks", errors.Forbidden("no."), "no.")])
async def test_what_neutron_refuses_ends_the_boot_with_its_reason(tmp_path: Path, where: str, error: Any,
                                                                  text: str) -> None:
    async with Bench(tmp_path, fake_hosts=2) as bench:
        bench.neutron.failures[where] = [error]
        assert text in await failed(bench, await bench.create())
        assert bench.neutron.ports == {}


async def test_an_unknown_network_and_a_port_in_use(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        missing = "99999999-9999-4999-8999-999999999999"
        assert f"Network {missing} could not be found" in await failed(
            bench, await bench.create(networks=[{"uuid": missing}]))
        port = bench.neutron.create({"network_id": NETWORK, "device_id": ""})
        first = await bench.create(networks=[{"port": port["id"]}])
        await bench.wait_for(first, vm_state="active")
        second = await bench.create(networks=[{"port": port["id"]}])
        await bench.wait_for(second, vm_state="error")
        assert "is still in use" in await bench.fault(second)
        await bench.idle()
        assert bench.neutron.ports[port["id"]]["device_id"] == first
        assert await bench.violations() == []


@pytest.mark.parametrize("where", ["POST ports", "PUT ports", "GET ports", "DELETE ports"])
async def test_a_neutron_that_is_away_for_a_moment_is_asked_again(tmp_path: Path, where: str) -> None:
    async with Bench(tmp_path) as bench:
        bench.neutron.failures[where] = [errors.Unavailable("restarting")]
        server_id = await bench.create()
        await bench.wait_for(server_id, vm_state="active")
        await bench.order("delete", server_id)
        await bench.wait_for(server_id, vm_state="deleted")
        assert bench.neutron.ports == {} and await bench.violations() == []
        assert bench.neutron.calls.count("POST ports") == (2 if where == "POST ports" else 1)


async def test_an_order_that_no_host_can_fulfil_is_not_tried_elsewhere(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_hosts=2) as bench:
        for number in range(2):
            bench.driver(number).failures["prepare"] = [BuildAborted("Flavor's disk is too small.")]
        assert await failed(bench, await bench.create()) == "Flavor's disk is too small."
        assert sum(len(bench.driver(number).failures["prepare"]) for number in range(2)) == 1


async def test_too_big_says_what_was_asked_and_of_how_many_hosts(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_vcpus=2, cpu_allocation_ratio=1.0) as bench:
        reason = await failed(bench, await bench.create(flavor={"vcpus": 3}))
        assert reason.startswith("No valid host was found.") and "VCPU 3" in reason and "1 known hosts" in reason


@pytest.mark.parametrize(("values", "text"), [
    ({"availability_zone": "moon"}, "AvailabilityZoneFilter removed the last 1 of 1"),
    ({"flavor": {"extra_specs": {"hw:cpu_policy": "dedicated"}}}, "hw:cpu_policy=dedicated is not supported"),
    ({"flavor": {"extra_specs": {"capabilities:hypervisor_type": "VMware"}}}, "ComputeCapabilitiesFilter"),
    ({"image_properties": {"hw_machine_type": "virt"}}, "ImagePropertiesFilter"),
    ({"image_properties": {"hw_architecture": "aarch64"}}, "COMPUTE_ARCH_AARCH64"),
    ({"image_properties": {"hw_disk_bus": "usb"}}, "COMPUTE_STORAGE_BUS_USB"),
    ({"requested_destination": {"host": "mars", "node": None, "forced": True}}, "RequestedHostFilter")])
async def test_no_valid_host_names_the_filter(tmp_path: Path, values: dict[str, Any], text: str) -> None:
    async with Bench(tmp_path) as bench:
        assert text in await failed(bench, await bench.create(**values))


async def test_exactly_as_many_as_there_is_room_for(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_hosts=2, fake_vcpus=10, cpu_allocation_ratio=1.0) as bench:
        ids = await asyncio.gather(*(bench.create() for _ in range(200)))
        await bench.idle(60)
        rows = [await bench.server(server_id) for server_id in ids]
        assert [row.vm_state for row in rows].count("active") == 20
        refused = [row.id for row in rows if row.vm_state == "error"]
        assert len(refused) == 180
        reasons = {await bench.fault(server_id) for server_id in refused}
        assert all(reason.startswith("No valid host was found. ") for reason in reasons)
        assert await bench.violations() == []
