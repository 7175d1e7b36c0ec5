"""Of many hosts, those are told to look again that a change concerns."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cloudseed.kernel.context import Context
from tests.neutron.conftest import N, NeutronCloud, make_network, ok
from tests.neutron.test_overlay import Hosts, bound
from tests.support.cloud import Client

COUNT = 8
Told = Callable[[Callable[[], Awaitable[Any]]], Awaitable[set[str]]]


class Crowd(Hosts):
    """Eight hosts that note who was told."""

    def __init__(self, cloud: NeutronCloud) -> None:
        super().__init__(cloud, COUNT)
        self.told: set[str] = set()
        for name, agent in self.agents.items():
            agent.loop.hint = lambda name=name: self.told.add(name)  # type: ignore[method-assign, misc]
            agent.serve()

    async def told_by(self, work: Awaitable[Any]) -> set[str]:
        self.told.clear()
        await work
        for _ in range(3):
            await asyncio.sleep(0)  # messages are handled in tasks of their own
        return set(self.told)


@pytest.fixture
async def crowd(tmp_path: Path) -> AsyncIterator[Crowd]:
    cloud = NeutronCloud(tmp_path)
    cloud.host = None
    async with cloud:
        made = Crowd(cloud)
        await made.start()
        yield made


@pytest.fixture
def cloud(crowd: Crowd) -> NeutronCloud:
    return crowd.cloud


async def test_a_port_concerns_the_hosts_of_its_network(crowd: Crowd, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    first = await bound(nova, admin, network["id"], "host-0", security_groups=[])
    await bound(nova, admin, network["id"], "host-1", security_groups=[])
    path = f"{N}/ports/{first['id']}"
    assert await crowd.told_by(nova.put(path, {"port": {"name": "new"}})) == {"host-0", "host-1"}
    moved = nova.put(path, {"port": {"binding:host_id": "host-5"}})
    assert await crowd.told_by(moved) == {"host-0", "host-1", "host-5"}
    waits = nova.post(f"{path}/bindings", {"binding": {"host": "host-6"}})
    assert await crowd.told_by(waits) == {"host-1", "host-5", "host-6"}
    assert await crowd.told_by(nova.put(f"{path}/bindings/host-6/activate", {})) == {"host-1", "host-5", "host-6"}
    assert await crowd.told_by(nova.delete(f"{path}/bindings/host-5")) == {"host-1", "host-5", "host-6"}
    assert await crowd.told_by(nova.delete(path)) == {"host-1", "host-6"}


async def test_a_port_concerns_who_has_rules_that_speak_of_its_group(crowd: Crowd, admin: Client, nova: Client) -> None:
    one, other = await make_network(admin), await make_network(admin)
    await bound(nova, admin, other["id"], "host-3")  # in the default group, whose members may reach one another
    made = await bound(nova, admin, one["id"], "host-0")
    assert await crowd.told_by(nova.put(f"{N}/ports/{made['id']}", {"port": {"name": "new"}})) == {"host-0", "host-3"}


async def test_a_routers_host_is_concerned(crowd: Crowd, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    router = ok(await admin.post(f"{N}/routers", {"router": {"name": "r"}}))
    ok(await admin.put(f"{N}/routers/{router['id']}/add_router_interface", {"subnet_id": network["subnet"]}), 200)
    place = ok(await admin.get(f"{N}/routers/{router['id']}/l3-agents"), 200)[0]["host"]
    port = await bound(nova, admin, network["id"], "host-0", security_groups=[])
    told = await crowd.told_by(nova.put(f"{N}/ports/{port['id']}", {"port": {"name": "new"}}))
    assert told == {"host-0", place}


async def test_everybody_is_told_of_what_concerns_most_and_where_one_agent_wires_for_all(
        crowd: Crowd, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    for number in range(5):
        port = await bound(nova, admin, network["id"], f"host-{number}")
    rename = {"port": {"name": str(uuid.uuid4())}}
    assert await crowd.told_by(nova.put(f"{N}/ports/{port['id']}", rename)) == set(crowd.hosts)
    crowd.agents["host-7"]._simulate = True
    crowd.agents["host-7"]._heartbeat = 0.0
    await crowd.agents["host-7"].report_state(Context())
    lonely = await make_network(admin)
    made = await bound(nova, admin, lonely["id"], "host-2", security_groups=[])
    assert await crowd.told_by(nova.put(f"{N}/ports/{made['id']}", rename)) == set(crowd.hosts)
