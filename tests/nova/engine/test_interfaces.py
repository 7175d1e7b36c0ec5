"""Interfaces and addresses of servers that stand, on the fake hypervisor."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Conflict, Timeout
from cloudseed.nova.compute.errors import HostFailed
from tests.nova.engine.bench import Bench
from tests.nova.engine.neutron_double import NETWORK


async def active(bench: Bench, **values: object) -> str:
    server_id = await bench.create(**values)  # type: ignore[arg-type]
    await bench.wait_for(server_id, vm_state="active", task_state=None)
    await bench.idle()
    return server_id


async def ports_of(bench: Bench, server_id: str) -> list[str]:
    return [vif["id"] for vif in (await bench.server(server_id)).network_info]


async def test_a_port_of_a_network_is_made_plugged_and_deleted_again(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        first = await ports_of(bench, server_id)
        await bench.order("attach_interface", server_id, {"order": {"uuid": NETWORK}, "tag": "left"})
        assert await bench.violations() == []
        both = await ports_of(bench, server_id)
        assert both[:1] == first and len(both) == 2 and bench.driver().ports(server_id) == both
        assert (await bench.server(server_id)).network_info[1]["tag"] == "left"
        await bench.order("detach_interface", server_id, {"port_id": both[1]})
        assert await bench.violations() == []
        assert await ports_of(bench, server_id) == first == bench.driver().ports(server_id)
        assert list(bench.neutron.ports) == first


async def test_a_port_that_is_deleted_in_neutron_leaves_the_guest(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench, networks=[{"uuid": NETWORK}, {"uuid": NETWORK}])
        kept, gone = await ports_of(bench, server_id)
        await tell_of(bench, server_id, kept)  # wrongly: neutron still has it
        await bench.order("stop", server_id)  # comes behind it in the server's queue
        await bench.idle()
        await bench.order("start", server_id)
        await bench.wait_for(server_id, vm_state="active", task_state=None)
        assert bench.driver().ports(server_id) == [kept, gone]
        del bench.neutron.ports[gone]
        await tell_of(bench, server_id, gone)
        async with asyncio.timeout(5):
            while bench.driver().ports(server_id) != [kept]:
                await asyncio.sleep(0.01)
        assert await ports_of(bench, server_id) == [kept]
        assert await bench.violations() == []


async def tell_of(bench: Bench, server_id: str, port_id: str) -> None:
    await bench.nova.api_bus.cast(Context(), f"compute.{bench.config.host}", "external_event", events=[
        {"name": "network-vif-deleted", "server_uuid": server_id, "tag": port_id}])


async def test_a_guest_that_never_lets_go_keeps_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudseed.nova.conductor.interfaces.UNPLUG_PATIENCE_S", 0.3)
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        (port,) = await ports_of(bench, server_id)
        bench.driver().failures["detach_interface"] = [Timeout("it holds on")] * 20
        await bench.order("detach_interface", server_id, {"port_id": port})
        assert await bench.violations() == []
        assert bench.driver().ports(server_id) == [port] == await ports_of(bench, server_id)
        assert await bench.event_details(server_id, "compute_detach_interface")


async def test_a_given_port_outlives_its_detachment_and_the_server(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        mine = bench.neutron.create({"network_id": NETWORK, "tenant_id": "elsewhere"})["id"]
        server_id = await active(bench, networks="none")
        order = {"order": {"port": mine, "uuid": NETWORK}}
        for _ in range(2):
            await bench.order("attach_interface", server_id, order)
            assert await bench.violations() == []
            assert await ports_of(bench, server_id) == [mine] == bench.driver().ports(server_id)
            assert (await bench.server(server_id)).network_info[0]["preserve_on_delete"] is True
            await bench.order("detach_interface", server_id, {"port_id": mine})
            assert await bench.violations() == []
            assert bench.neutron.ports[mine]["device_id"] == ""
        await bench.order("attach_interface", server_id, order)
        await bench.order("attach_interface", server_id, order)  # refused, and the first is not undone with it
        await bench.idle()
        assert await ports_of(bench, server_id) == [mine]
        await bench.order("delete", server_id)
        await bench.idle()
        assert bench.neutron.ports[mine]["device_id"] == ""


async def test_a_server_that_is_off_has_the_card_at_its_next_start(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        await bench.order("stop", server_id)
        await bench.order("attach_interface", server_id, {"order": {"uuid": NETWORK}})
        assert await bench.violations() == []
        ports = await ports_of(bench, server_id)
        assert len(ports) == 2 and len(bench.driver().ports(server_id)) == 1
        await bench.order("start", server_id)
        await bench.idle()
        assert bench.driver().ports(server_id) == ports
        await bench.order("stop", server_id)
        await bench.order("detach_interface", server_id, {"port_id": ports[0]})
        await bench.order("start", server_id)
        assert await bench.violations() == []
        assert bench.driver().ports(server_id) == ports[1:]


async def test_what_a_failed_attachment_took_is_given_back(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        given = bench.neutron.create({"network_id": NETWORK})["id"]
        server_id = await active(bench)
        before = sorted(bench.neutron.ports)
        for order in ({"uuid": NETWORK}, {"uuid": NETWORK, "port": given}):
            bench.driver().failures["attach_interface"] = [HostFailed(host="h", doing="plug", reason="no slot")]
            await bench.order("attach_interface", server_id, {"order": order})
            assert await bench.violations() == []
            assert sorted(bench.neutron.ports) == before and len(await ports_of(bench, server_id)) == 1
        bench.neutron.failures["POST ports"] = [Conflict("No more IP addresses available.")]
        await bench.order("attach_interface", server_id, {"order": {"uuid": NETWORK}})
        assert await bench.violations() == []
        assert sorted(bench.neutron.ports) == before


async def test_a_guest_that_lets_go_late_is_asked_again(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        (port,) = await ports_of(bench, server_id)
        bench.driver().failures["detach_interface"] = [Timeout("not yet"), Timeout("not yet")]
        await bench.order("detach_interface", server_id, {"port_id": port})
        assert await bench.violations() == []
        assert await ports_of(bench, server_id) == [] == bench.driver().ports(server_id)


async def test_a_server_is_deleted_while_a_port_is_plugged(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        given = bench.neutron.create({"network_id": NETWORK})["id"]
        server_id = await active(bench)
        bench.neutron.hold["PUT ports"] = asyncio.Event()
        await bench.order("attach_interface", server_id, {"order": {"uuid": NETWORK, "port": given}})
        while not (await bench.server(server_id)).requested_networks[-1].get("port"):
            await asyncio.sleep(0.01)
        await bench.order("delete", server_id)
        bench.neutron.hold.pop("PUT ports").set()
        await bench.wait_for(server_id, vm_state="deleted")
        assert await bench.violations() == []
        assert list(bench.neutron.ports) == [given] and bench.neutron.ports[given]["device_id"] == ""


async def test_addresses_come_and_go(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        server_id = await active(bench)
        (port,) = await ports_of(bench, server_id)

        async def addresses() -> list[str]:
            (vif,) = (await bench.server(server_id)).network_info
            shown = [ip["address"] for subnet in vif["network"]["subnets"] for ip in subnet["ips"]]
            assert shown == [ip["ip_address"] for ip in bench.neutron.ports[port]["fixed_ips"]]
            return shown

        first = await addresses()
        await bench.order("add_fixed_ip", server_id, {"network_id": NETWORK})
        await bench.idle()
        second = await addresses()
        assert len(second) == 2 and second[0] == first[0]
        await bench.order("remove_fixed_ip", server_id, {"address": first[0]})
        await bench.idle()
        assert await addresses() == second[1:]
        await bench.order("remove_fixed_ip", server_id, {"address": "9.9.9.9"})
        await bench.order("add_fixed_ip", server_id, {"network_id": "unknown"})
        assert await bench.violations() == []
        assert await addresses() == second[1:]
