"""What each of several hosts is told of the others: addresses of tunnels, remote ports, DHCP of its own."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.kernel.context import Context
from cloudseed.neutron import overlay
from cloudseed.neutron.agent.reconciler import DHCP_PART, L2_PART, L3_PART, Reconciler
from tests.neutron.conftest import Host, N, NeutronCloud, make_network, make_port, ok
from tests.support.cloud import Client

KINDS = {"neutron-l2-agent": "Linux bridge agent", "neutron-dhcp-agent": "DHCP agent", "neutron-l3-agent": "L3 agent"}


class Hosts:
    """Hosts with agents of their own, each looking when it is told to."""

    def __init__(self, cloud: NeutronCloud, count: int = 3) -> None:
        self.cloud = cloud
        self.hosts = {f"host-{number}": Host() for number in range(count)}
        env = cloud.env
        self.agents = {
            name: Reconciler(name, env.bus(L2_PART), env.bus(DHCP_PART), env.bus(L3_PART), host, False,
                             f"198.18.5.{11 + number}")
            for number, (name, host) in enumerate(self.hosts.items())}

    async def start(self) -> None:
        for agent in self.agents.values():
            await agent.report_state(Context())

    async def look(self, *names: str) -> None:
        for name in names or self.hosts:
            await self.agents[name].sync_host()

    def wish(self, host: str, network: str) -> Any:
        return self.hosts[host].wish(network)


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[NeutronCloud]:
    """The server alone."""
    made = NeutronCloud(tmp_path)
    made.host = None
    async with made:
        yield made


@pytest.fixture
async def hosts(cloud: NeutronCloud) -> Hosts:
    made = Hosts(cloud)
    await made.start()
    return made


async def bound(nova: Client, admin: Client, network_id: str, host: str, **more: Any) -> Any:
    port = await make_port(nova, network_id, tenant_id=admin.project_id, device_id=str(uuid.uuid4()), **more)
    return ok(await nova.put(f"{N}/ports/{port['id']}", {"port": {
        "device_owner": "compute:nova", "binding:host_id": host}}), 200)


async def test_a_host_learns_where_remote_ports_are(hosts: Hosts, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    ports = [await bound(nova, admin, network["id"], f"host-{n}") for n in range(2)]
    await hosts.look()
    await hosts.look()
    assert network["id"] not in hosts.hosts["host-2"].networks  # nothing of it is there
    shown = ok(await admin.get(f"{N}/networks/{network['id']}"), 200)
    wish = hosts.wish("host-0", network["id"])
    assert (wish.segmentation_id, wish.mtu) == (shown["provider:segmentation_id"], 1450)
    assert [p.port_id for p in wish.ports if p.local] == [ports[0]["id"]]
    dhcp = ok(await admin.get(f"{N}/ports", params={"network_id": network["id"], "device_owner": "network:dhcp"}), 200)
    assert {p["binding:host_id"] for p in dhcp} == {"host-0", "host-1"}
    remote = next(p for p in dhcp if p["binding:host_id"] == "host-1")
    assert sorted((r.mac_address, r.ip_addresses, r.underlay, r.router) for r in wish.remotes) == sorted([
        (ports[1]["mac_address"], [ports[1]["fixed_ips"][0]["ip_address"]], "198.18.5.12", False),
        (remote["mac_address"], [remote["fixed_ips"][0]["ip_address"]], "198.18.5.12", False)])
    assert wish.dhcp_port.mac_address == next(p for p in dhcp if p is not remote)["mac_address"]
    agents = ok(await admin.get(f"{N}/networks/{network['id']}/dhcp-agents"), 200)
    assert sorted(agent["host"] for agent in agents) == ["host-0", "host-1"]


async def test_agents_say_where_their_tunnels_end(hosts: Hosts, admin: Client) -> None:
    agents = ok(await admin.get(f"{N}/agents", params={"agent_type": "Linux bridge agent"}), 200)
    assert sorted((a["host"], a["configurations"]["tunneling_ip"], a["configurations"]["tunnel_types"])
                  for a in agents) == [(f"host-{n}", f"198.18.5.{11 + n}", ["vxlan"]) for n in range(3)]


async def test_dhcp_goes_with_the_last_guest_of_a_host(hosts: Hosts, admin: Client, nova: Client) -> None:
    network = await make_network(admin)

    async def dhcp_hosts() -> list[str]:
        await hosts.look()
        found = ok(await admin.get(f"{N}/ports", params={
            "network_id": network["id"], "device_owner": "network:dhcp"}), 200)
        return sorted(p["binding:host_id"] for p in found)

    assert await dhcp_hosts() == []
    port = await bound(nova, admin, network["id"], "host-1")
    assert await dhcp_hosts() == ["host-1"]
    ok(await nova.put(f"{N}/ports/{port['id']}", {"port": {"binding:host_id": "host-2"}}), 200)
    assert await dhcp_hosts() == ["host-2"]
    assert (await nova.delete(f"{N}/ports/{port['id']}")).status == 204
    assert await dhcp_hosts() == []
    assert (await admin.delete(f"{N}/networks/{network['id']}")).status == 204


async def test_a_routers_port_is_where_its_router_is(hosts: Hosts, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    await bound(nova, admin, network["id"], "host-0")
    router = ok(await admin.post(f"{N}/routers", {"router": {"name": "r"}}))
    ok(await admin.put(f"{N}/routers/{router['id']}/add_router_interface", {"subnet_id": network["subnet"]}), 200)
    agents = {a["host"]: a["id"] for a in ok(await admin.get(f"{N}/agents", params={"agent_type": "L3 agent"}), 200)}
    place = ok(await admin.get(f"{N}/routers/{router['id']}/l3-agents"), 200)[0]["host"]
    assert (await admin.delete(f"{N}/agents/{agents[place]}/l3-routers/{router['id']}")).status == 204
    assert (await admin.post(f"{N}/agents/{agents['host-2']}/l3-routers", {"router_id": router["id"]})).status == 201
    await hosts.look()
    there = hosts.wish("host-2", network["id"])
    assert len(there.legs) == 1 and there.dhcp_port is None
    legs = [r for r in hosts.wish("host-0", network["id"]).remotes if r.router]
    assert [(leg.underlay, leg.ip_addresses) for leg in legs] == [("198.18.5.13", ["10.1.0.1"])]
    assert {r.underlay for r in there.remotes} == {"198.18.5.11"}


async def test_a_waiting_binding_is_wired_and_not_sent_to(hosts: Hosts, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    port = await bound(nova, admin, network["id"], "host-0")
    await bound(nova, admin, network["id"], "host-2")
    path = f"{N}/ports/{port['id']}/bindings"
    ok(await nova.post(path, {"binding": {"host": "host-1"}}))

    async def ends() -> list[str | None]:
        """To which host each one sends for the port; None: to its own tap."""
        await hosts.look()
        return [next((r.underlay for r in hosts.wish(f"host-{n}", network["id"]).remotes
                      if r.mac_address == port["mac_address"]), None) for n in range(3)]

    def wired() -> list[str]:
        return [name for name, host in hosts.hosts.items()
                if any(p.local and p.port_id == port["id"] for p in host.wish(network["id"]).ports)]

    assert await ends() == [None, "198.18.5.11", "198.18.5.11"]
    assert wired() == ["host-0", "host-1"]
    assert hosts.wish("host-1", network["id"]).dhcp_port is not None
    # nova heard that the port is wired at the new place, once
    await hosts.cloud.service("neutron").loops[0].run_soon()
    told = [e["name"] for e in hosts.cloud.nova.events if e.get("tag") == port["id"] and e["by"] == "neutron"]
    assert told in (["network-vif-plugged"], ["network-vif-plugged"] * 2)  # and, if not told before, at the old one
    await hosts.look()
    await hosts.cloud.service("neutron").loops[0].run_soon()
    assert len([e for e in hosts.cloud.nova.events if e.get("tag") == port["id"] and e["by"] == "neutron"]) == len(told)
    ledger = (await hosts.cloud.runtime.ledger())["neutron"]
    there, = [wish for wish in ledger["wishes"] if wish["host"] == "host-1"]
    assert there["ports"] == [port["id"]] and list(there["tunnels"]) == there["dhcp"] == [network["id"]]
    assert (await nova.put(f"{path}/host-1/activate")).status == 200
    assert await ends() == ["198.18.5.12", None, "198.18.5.12"]
    assert wired() == ["host-0", "host-1"]
    assert (await nova.delete(f"{path}/host-0")).status == 204
    await hosts.look()
    assert network["id"] not in hosts.hosts["host-0"].networks
    assert ok(await admin.get(f"{N}/ports/{port['id']}"), 200)["status"] == "ACTIVE"


async def test_a_silent_agents_ports_stay_where_they_are(hosts: Hosts, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    for number in range(2):
        await bound(nova, admin, network["id"], f"host-{number}")
    async with hosts.cloud.service("neutron").handle.db.write() as tx:
        await tx.execute(overlay.sa.update(overlay.models.agents).where(overlay.models.agents.c.host == "host-1")
                         .values(heartbeat_at=time.time() - 3600))
    await hosts.look("host-0")
    assert {r.underlay for r in hosts.wish("host-0", network["id"]).remotes} == {"198.18.5.12"}
