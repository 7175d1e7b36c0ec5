"""A host's inventory in placement: reported once, kept true, brought back when it is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.nova.engine.bench import Bench

VERSION = "placement 1.39"


async def ask(bench: Bench, method: str, path: str, **options: Any) -> Any:
    compute = bench.nova.computes[0]
    return await bench.nova.conductor_session.request(
        bench.runtime.context(), "placement", method, f"/resource_providers/{compute.node_id}{path}",
        microversion=VERSION, **options)


async def test_inventory_and_traits_are_the_drivers_with_the_configured_ratios(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_vcpus=8, cpu_allocation_ratio=2.5) as bench:
        vcpu = (await ask(bench, "GET", "/inventories")).json()["inventories"]["VCPU"]
        assert (vcpu["total"], vcpu["allocation_ratio"], vcpu["max_unit"]) == (8, 2.5, 8)
        assert "COMPUTE_NODE" in (await ask(bench, "GET", "/traits")).json()["traits"]


async def test_a_changed_host_is_reported_and_an_operators_traits_stay(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_vcpus=8) as bench:
        await bench.nova.conductor_session.request(bench.runtime.context(), "placement", "PUT", "/traits/CUSTOM_GOLD",
                                                   microversion=VERSION)
        present = (await ask(bench, "GET", "/traits")).json()
        await ask(bench, "PUT", "/traits", json={**present, "traits": [*present["traits"], "CUSTOM_GOLD"]})
        node_id = bench.nova.computes[0].node_id
    async with Bench(tmp_path, bench.neutron, fake_vcpus=16) as again:
        assert again.nova.computes[0].node_id == node_id
        assert (await ask(again, "GET", "/inventories")).json()["inventories"]["VCPU"]["total"] == 16
        assert "CUSTOM_GOLD" in (await ask(again, "GET", "/traits")).json()["traits"]


async def _offered(bench: Bench) -> bool:
    """Whether there is something to place on: the provider itself is there one call before its inventories."""
    answer = await ask(bench, "GET", "/inventories", expect=(200, 404))
    return answer.status == 200 and "VCPU" in answer.json()["inventories"]


async def test_a_lost_provider_comes_back(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        await bench.nova.computes[0]._reconcile_loop.run_soon()  # the start's own look is over
        await ask(bench, "DELETE", "")
        assert (await ask(bench, "GET", "", expect=(404,))).status == 404
        await bench.nova.computes[0]._reconcile_loop.run_soon()
        async with asyncio.timeout(10):
            while not await _offered(bench):
                await asyncio.sleep(0.02)
        server_id = await bench.create()
        await bench.wait_for(server_id, vm_state="active")
