"""Routers of a host that fell silent go to another; those of one that was only not heard stay."""

from __future__ import annotations

from typing import Any

import pytest

from cloudseed.kernel.context import Context
from cloudseed.neutron import overlay
from cloudseed.neutron.failover import RouterFailover
from tests.neutron.conftest import N, NeutronCloud, make_network, ok
from tests.neutron.test_overlay import Hosts, bound, cloud, hosts  # noqa: F401 - fixtures
from tests.support.cloud import Client

DOWN_S = 12.0


class Watch:
    """The failover with a clock of the test's own."""

    def __init__(self, neutron: Any) -> None:
        self.moment = 1000.0
        self.db = neutron.db
        self.failover = RouterFailover(neutron, DOWN_S, lambda: self.moment)

    async def look(self, seconds: float) -> None:
        """For so long, every 2 s."""
        for _ in range(int(seconds / 2)):
            self.moment += 2
            await self.failover.sync_routers()

    async def silence(self, *names: str) -> None:
        async with self.db.write() as tx:
            await tx.execute(overlay.sa.update(overlay.models.agents).where(overlay.models.agents.c.host.in_(names))
                             .values(heartbeat_at=1.0))


@pytest.fixture
def watch(cloud: NeutronCloud) -> Watch:  # noqa: F811
    return Watch(cloud.service("neutron").handle)


async def routed(admin: Client) -> tuple[Any, Any]:
    """A network with a router."""
    network = await make_network(admin)
    router = ok(await admin.post(f"{N}/routers", {"router": {"name": "r"}}))
    ok(await admin.put(f"{N}/routers/{router['id']}/add_router_interface", {"subnet_id": network["subnet"]}), 200)
    return network, router


async def place(admin: Client, router: Any) -> str:
    found, = ok(await admin.get(f"{N}/routers/{router['id']}/l3-agents"), 200)
    return str(found["host"])


async def test_a_silent_hosts_routers_go_to_a_living_one(hosts: Hosts, watch: Watch, admin: Client,  # noqa: F811
                                                         nova: Client) -> None:
    network, router = await routed(admin)
    old = await place(admin, router)
    guest = next(name for name in hosts.hosts if name != old)
    await bound(nova, admin, network["id"], guest)
    await hosts.look()
    assert router["id"] in hosts.hosts[old].routers
    await watch.look(4)
    await watch.silence(old)
    await watch.look(4)
    assert await place(admin, router) == old  # it may only not have been heard yet
    await watch.look(2)
    new = await place(admin, router)
    assert new != old
    port, = ok(await admin.get(f"{N}/ports", params={"device_id": router["id"]}), 200)
    assert port["status"] == "DOWN"
    others = [name for name in hosts.hosts if name != old]
    await hosts.look(*others)
    await hosts.look(*others)
    assert router["id"] in hosts.hosts[new].routers
    port, = ok(await admin.get(f"{N}/ports", params={"device_id": router["id"]}), 200)
    assert (port["status"], port["binding:host_id"]) == ("ACTIVE", new)
    legs = [r.underlay for r in hosts.wish(guest, network["id"]).remotes if r.router]
    assert legs == ([] if new == guest else [f"198.18.5.{11 + int(new[-1])}"])
    # it returns: what it lost is not wished any more, and does not come back
    await hosts.look(old)
    assert router["id"] not in hosts.hosts[old].routers
    await hosts.agents[old].report_state(Context())
    await watch.look(10)
    assert await place(admin, router) == new


async def test_when_nobody_was_heard_nothing_moves(hosts: Hosts, watch: Watch, admin: Client) -> None:  # noqa: F811
    _, router = await routed(admin)
    old = await place(admin, router)
    await watch.look(4)
    await watch.silence(*hosts.hosts)
    await watch.look(600)
    assert await place(admin, router) == old
    # the first who is heard again does not get everybody's routers at once
    for name in sorted(hosts.hosts, key=lambda name: name == old):
        async with watch.db.write() as tx:
            await tx.execute(overlay.sa.update(overlay.models.agents).where(overlay.models.agents.c.host == name)
                             .values(heartbeat_at=watch.db.now()))
        await watch.look(2)
    await watch.look(10)
    assert await place(admin, router) == old


async def test_a_server_that_slept_does_not_judge_by_what_it_missed(hosts: Hosts, watch: Watch,  # noqa: F811
                                                                    admin: Client) -> None:
    _, router = await routed(admin)
    old = await place(admin, router)
    await watch.look(4)
    await watch.silence(old)
    await watch.look(2)
    watch.moment += 300
    await watch.failover.sync_routers()
    assert await place(admin, router) == old
    await watch.look(4)
    assert await place(admin, router) != old
