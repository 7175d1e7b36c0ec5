"""The same wish on a real host: a namespace, a tap, DHCP and rules, and nothing left when the port is gone."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.host import inventory
from cloudseed.host.paths import StatePaths
from tests.host.conftest import Host
from tests.neutron.conftest import N, NeutronCloud, make_network, ok, until
from tests.neutron.test_wiring import active, bound_port

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")]


@contextlib.asynccontextmanager
async def real_cloud(path: Path) -> AsyncIterator[tuple[NeutronCloud, Host]]:
    name, paths = f"t{secrets.token_hex(3)}", StatePaths(path / "host" / "state")
    paths.root.parent.mkdir()
    host = Host(name, paths)
    try:
        await host.start()
        cloud = NeutronCloud(path / "cloud")
        cloud.host = host.client  # type: ignore[assignment]
        async with cloud:
            yield cloud, host
    finally:
        await host.stop()
        inventory.purge(name, paths)


async def test_a_port_is_wired_on_a_real_host(tmp_path: Path) -> None:
    async with real_cloud(tmp_path) as (cloud, host):
        admin, nova = await cloud.login("admin"), await cloud.login("nova", project="service")
        network = await make_network(admin)
        port = await bound_port(admin, nova, network["id"])
        await active(admin, port["id"])
        report = await host.client.get_inventory()
        assert list(report.networks.values()) == [network["id"]]
        assert len(report.taps[report.namespaces[0]]) == 1 and list(report.dnsmasq_pids) == [network["id"]]
        await until(lambda: any(event["name"] == "network-vif-plugged" for event in cloud.nova.events))
        group = port["security_groups"][0]
        ok(await admin.post(f"{N}/security-group-rules", {"security_group_rule": {
            "security_group_id": group, "direction": "ingress", "protocol": "tcp", "port_range_min": 4242,
            "port_range_max": 4242}}))

        async def ruled() -> Any:
            return "4242" in await _rules(report.namespaces[0])

        await until(ruled, 2.0)
        assert (await nova.delete(f"{N}/ports/{port['id']}")).status == 204

        async def gone() -> bool:
            return not (await host.client.get_inventory()).namespaces

        await until(gone)


async def _rules(namespace: str) -> str:
    import asyncio

    process = await asyncio.create_subprocess_exec("ip", "netns", "exec", namespace, "nft", "list", "ruleset",
                                                   stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode()
