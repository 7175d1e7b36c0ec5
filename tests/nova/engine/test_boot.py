"""Booting, on the fake driver: the way through, and every way in which it can fail."""

from __future__ import annotations

from pathlib import Path

from tests.nova.engine.bench import Bench
from tests.nova.engine.neutron_double import NETWORK


async def test_a_server_becomes_active_with_a_claim_a_port_and_a_machine(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await bench.create()
        row = await bench.wait_for(server_id, vm_state="active", task_state=None)
        assert row.power_state == 1 and row.host == "localhost" and row.launched_at is not None
        (vif,) = row.network_info
        assert vif["network"]["label"] == "private" and vif["network"]["subnets"][0]["ips"][0]["version"] == 4
        port = bench.neutron.ports[vif["id"]]
        assert port["binding:host_id"] == "localhost" and port["device_owner"] == "compute:nova"
        assert port["tenant_id"] == "p1"
        await bench.idle()
        assert await bench.violations() == []


async def test_no_network_means_no_port(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        row = await bench.wait_for(await bench.create(networks="none"), vm_state="active")
        assert row.network_info == [] and bench.neutron.ports == {}


async def test_a_given_port_is_bound_and_given_back(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        port = bench.neutron.create({"network_id": NETWORK})
        server_id = await bench.create(networks=[{"port": port["id"]}, {"uuid": NETWORK}])
        row = await bench.wait_for(server_id, vm_state="active")
        assert row.network_info[0]["id"] == port["id"]
        assert [vif["preserve_on_delete"] for vif in row.network_info] == [True, False]
        await bench.order("delete", server_id)
        await bench.wait_for(server_id, vm_state="deleted")
        assert list(bench.neutron.ports) == [port["id"]]
        assert bench.neutron.ports[port["id"]]["device_id"] == ""
