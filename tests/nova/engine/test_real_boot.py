"""A real server: QEMU, a tap, DHCP, the image from glance; through the whole cloud, over the API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.cli.roles import builders, whole
from cloudseed.guest_images import build_tiny
from cloudseed.host.paths import StatePaths
from cloudseed.kernel.runtime import Environment, Runtime
from tests.host.conftest import Host
from tests.support.cloud import Client, Cloud

pytestmark = pytest.mark.real
VERSION = {"OpenStack-API-Version": "compute 2.90"}


class RealCloud(Cloud):
    """All services over a real host process."""

    def __init__(self, host: Host) -> None:
        super().__init__(host.paths.root, driver="qemu", name=host.cloud, cpu_allocation_ratio=16.0)
        self.host = host

    async def __aenter__(self) -> Cloud:
        self.env = Environment(self.config, host=self.host.client)
        self.runtime = Runtime(self.env, builders(whole(self.names)))
        await self.runtime.start(listen=False)
        return self


@pytest.fixture
async def host(cloud: str, state: StatePaths) -> AsyncIterator[Host]:
    running = Host(cloud, state)
    await running.start()
    try:
        yield running
    finally:
        await running.client.purge()
        await running.stop()


async def upload(admin: Client, path: Path) -> str:
    data = path.read_bytes()
    answer = await admin.post("/image/v2/images", {
        "name": "tiny", "disk_format": "qcow2" if data[:4] == b"QFI\xfb" else "raw", "container_format": "bare"})
    image_id: str = answer.json()["id"]
    answer = await admin.put(f"/image/v2/images/{image_id}/file", body=data,
                             headers={"content-type": "application/octet-stream"})
    assert answer.status == 204, answer.body
    return image_id


async def make_network(admin: Client) -> str:
    network_id: str = (await admin.post("/networking/v2.0/networks", {"network": {"name": "private"}})
                       ).json()["network"]["id"]
    answer = await admin.post("/networking/v2.0/subnets", {"subnet": {
        "network_id": network_id, "ip_version": 4, "cidr": "10.0.0.0/24"}})
    assert answer.status == 201, answer.body
    return network_id


async def server(admin: Client, server_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await admin.get(f"/compute/v2.1/servers/{server_id}", headers=VERSION)).json()["server"]
    return found


async def wait(admin: Client, server_id: str, status: str, deadline_s: float = 60) -> dict[str, Any]:
    until = time.monotonic() + deadline_s
    while (found := await server(admin, server_id))["status"] != status or found["OS-EXT-STS:task_state"]:
        assert time.monotonic() < until and (found["status"] != "ERROR" or status == "ERROR"), found
        await asyncio.sleep(0.1)
    return found


async def console(admin: Client, server_id: str) -> str:
    answer = await admin.post(f"/compute/v2.1/servers/{server_id}/action", {"os-getConsoleOutput": {}},
                              headers=VERSION)
    assert answer.status == 200, answer.body
    text: str = answer.json()["output"]
    return text


async def wait_console(
        admin: Client, server_id: str, needle: str, times: int = 1, *, deadline_s: float = 60) -> str:
    async with asyncio.timeout(deadline_s):
        while (text := await console(admin, server_id)).count(needle) < times:
            await asyncio.sleep(0.2)
    return text


async def act(admin: Client, server_id: str, body: dict[str, Any]) -> None:
    answer = await admin.post(f"/compute/v2.1/servers/{server_id}/action", body, headers=VERSION)
    assert answer.status == 202, answer.body


async def test_a_servers_whole_life(host: Host, image_cache: Path) -> None:
    built = await asyncio.to_thread(build_tiny, image_cache)
    async with RealCloud(host) as cloud:
        admin = await cloud.login("admin")
        image_id, network_id = await upload(admin, built), await make_network(admin)
        answer = await admin.post("/compute/v2.1/servers", {"server": {
            "name": "vm", "flavorRef": "c1", "imageRef": image_id, "networks": [{"uuid": network_id}]}},
            headers=VERSION)
        assert answer.status == 202, answer.body
        server_id = answer.json()["server"]["id"]
        found = await wait(admin, server_id, "ACTIVE")
        (address,) = found["addresses"]["private"]
        text = await wait_console(admin, server_id, "login:")
        assert f"{address['addr']}/24 by DHCP" in text

        await act(admin, server_id, {"reboot": {"type": "SOFT"}})
        await wait(admin, server_id, "ACTIVE")
        await wait_console(admin, server_id, "login:", 2)

    # the control plane restarts: the machine ran on and is managed again
    before = await host.client.list_machines()
    async with RealCloud(host) as cloud:
        admin = await cloud.login("admin")
        assert (await server(admin, server_id))["status"] == "ACTIVE"
        after = await host.client.list_machines()
        assert [m.pid for m in after] == [m.pid for m in before] and after[0].running

        await act(admin, server_id, {"os-stop": None})
        await wait(admin, server_id, "SHUTOFF", 90)
        await act(admin, server_id, {"os-start": None})
        await wait(admin, server_id, "ACTIVE")
        # a machine that dies is seen
        (machine,) = await host.client.list_machines()
        await host.client.stop_machine(machine.server_id, hard=True)
        await wait(admin, server_id, "SHUTOFF")
        await act(admin, server_id, {"reboot": {"type": "HARD"}})
        await wait(admin, server_id, "ACTIVE")

        assert (await admin.delete(f"/compute/v2.1/servers/{server_id}")).status == 204
        async with asyncio.timeout(30):
            while (await admin.get(f"/compute/v2.1/servers/{server_id}")).status != 404:
                await asyncio.sleep(0.1)
        assert await host.client.list_machines() == []
        left = (await admin.get(f"/networking/v2.0/ports?device_id={server_id}")).json()["ports"]
        assert left == []
