"""What a host is told of routers, and what its report changes: over HTTP and the bus, with a host in memory."""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.host.records import ApplyResult
from cloudseed.neutron.explain import explain
from tests.neutron.conftest import Host, N, NeutronCloud, fails, make_network, make_port, ok, until
from tests.neutron.test_routers import external, interface, new_router
from tests.support.cloud import Client


class Broken(Host):
    """Routers fail with `reason`, while there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.reason = ""

    async def apply_networks(self, networks: Any, *, full: bool, routers: Any = ()) -> ApplyResult:
        result = await super().apply_networks(networks, full=full, routers=routers)
        return msgspec.structs.replace(result, routers=[
            msgspec.structs.replace(router, error=self.reason) for router in result.routers])


async def _status(client: Client, kind: str, id: str) -> str:
    return str(ok(await client.get(f"{N}/{kind}/{id}"), 200)["status"])


async def _agent(admin: Client) -> Any:
    agents = ok(await admin.get(f"{N}/agents?agent_type=L3 agent"), 200)
    assert len(agents) == 1
    return agents[0]


async def _whole(admin: Client, member: Client) -> dict[str, Any]:
    """A router between a project's network and the public one, and a floating address."""
    public, network = await external(admin), await make_network(member)
    router = await new_router(member, external_gateway_info={"network_id": public["id"]})
    joined = (await interface(member, router, "add", subnet_id=network["subnet"])).json()
    port = await make_port(member, network["id"])
    fip = ok(await member.post(f"{N}/floatingips", {"floatingip": {
        "floating_network_id": public["id"], "port_id": port["id"]}}))
    return {"public": public, "network": network, "router": router, "inner": joined["port_id"], "port": port,
            "fip": fip}


async def test_a_router_is_wired_and_reported(cloud: NeutronCloud, admin: Client) -> None:
    member = await cloud.new_project("p")
    made = await _whole(admin, member)
    assert cloud.host is not None
    host = cloud.host
    router_id, fip = made["router"]["id"], made["fip"]
    assert fip["status"] == "DOWN"
    await until(lambda: _is(member, "floatingips", fip["id"], "ACTIVE"))
    await until(lambda: _is(member, "ports", made["inner"], "ACTIVE"))
    wish = host.routers[router_id]
    assert [leg.addresses for leg in wish.legs] == [["10.1.0.1/24"]]
    assert wish.gateway is not None and wish.next_hops == ["203.0.113.1"] and wish.enable_snat
    assert [(f.floating_ip, f.fixed_ip) for f in wish.floating] == [
        (fip["floating_ip_address"], made["port"]["fixed_ips"][0]["ip_address"])]
    public, private = host.wish(made["public"]["id"]), host.wish(made["network"]["id"])
    assert public.external is not None and public.external.addresses == ["203.0.113.1/24"]
    assert public.legs == [wish.gateway.port_id] and private.legs == [made["inner"]] and private.external is None
    gateway = ok(await admin.get(f"{N}/ports/{wish.gateway.port_id}"), 200)
    assert (gateway["status"], gateway["binding:host_id"], gateway["project_id"]) == ("ACTIVE", "localhost", "")
    agent = await _agent(admin)
    assert (agent["binary"], agent["host"], agent["alive"]) == ("neutron-l3-agent", "localhost", True)

    path = f"{N}/floatingips/{fip['id']}"
    assert ok(await member.put(path, {"floatingip": {"port_id": None}}), 200)["status"] == "DOWN"
    await until(lambda: not host.routers[router_id].floating)
    assert await _status(member, "floatingips", fip["id"]) == "DOWN"
    ok(await member.put(f"{N}/routers/{router_id}", {"router": {"admin_state_up": False}}), 200)
    await until(lambda: not host.routers[router_id].forwards)
    assert await _status(member, "ports", made["inner"]) == "ACTIVE"
    ok(await member.put(f"{N}/routers/{router_id}", {"router": {"admin_state_up": True}}), 200)
    await until(lambda: host.routers[router_id].forwards)
    ok(await member.put(f"{N}/routers/{router_id}", {"router": {"routes": [
        {"destination": "192.0.2.0/24", "nexthop": "10.1.0.77"}]}}), 200)
    await until(lambda: host.routers[router_id].routes)
    ok(await member.put(f"{N}/routers/{router_id}", {"router": {"routes": [], "external_gateway_info": {}}}), 200)
    await until(lambda: host.routers[router_id].gateway is None)
    assert (await interface(member, made["router"], "remove", port_id=made["inner"])).status == 200
    assert (await member.delete(f"{N}/routers/{router_id}")).status == 204
    await until(lambda: not host.routers and not host.networks)


async def _is(client: Client, kind: str, id: str, status: str) -> bool:
    return await _status(client, kind, id) == status


async def test_a_router_that_cannot_be_wired_says_so(tmp_path: Any) -> None:
    cloud, host = NeutronCloud(tmp_path), Broken()
    cloud.host = host
    async with cloud:
        admin = await cloud.login("admin")
        host.reason = "203.0.113.0/24 is in use on this host"
        made = await _whole(admin, admin)
        await until(lambda: _is(admin, "routers", made["router"]["id"], "ERROR"))
        assert await _status(admin, "floatingips", made["fip"]["id"]) == "DOWN"
        neutron = next(s.handle for s in cloud.runtime.services if s.name == "neutron")
        for kind, name in (("router", "r"), ("floatingip", made["fip"]["floating_ip_address"])):
            story = await explain(neutron, kind, name)
            assert story is not None and story["error"] == host.reason and story["host"] == "localhost"
        host.reason = ""
        await until(lambda: _is(admin, "floatingips", made["fip"]["id"], "ACTIVE"), 15)
        assert await _status(admin, "routers", made["router"]["id"]) == "ACTIVE"


async def test_operators_move_routers_between_agents(cloud: NeutronCloud, admin: Client) -> None:
    assert cloud.host is not None
    host, agent = cloud.host, await _agent(admin)
    made = await _whole(admin, admin)
    router_id, l3 = made["router"]["id"], f"{N}/agents/{agent['id']}/l3-routers"
    await until(lambda: _is(admin, "floatingips", made["fip"]["id"], "ACTIVE"))
    assert [r["id"] for r in ok(await admin.get(l3), 200)] == [router_id]
    assert [a["id"] for a in ok(await admin.get(f"{N}/routers/{router_id}/l3-agents"), 200)] == [agent["id"]]
    assert (await admin.post(l3, {"router_id": router_id})).status == 201
    assert (await admin.delete(f"{l3}/{router_id}")).status == 204
    fails(await admin.delete(f"{l3}/{router_id}"), 409, "RouterNotHostedByL3Agent")
    await until(lambda: not host.routers)
    assert await _status(admin, "floatingips", made["fip"]["id"]) == "DOWN"
    assert ok(await admin.get(f"{N}/routers/{router_id}/l3-agents"), 200) == []
    assert (await admin.post(l3, {"router_id": router_id})).status == 201
    await until(lambda: _is(admin, "floatingips", made["fip"]["id"], "ACTIVE"))
    dhcp = ok(await admin.get(f"{N}/agents?agent_type=DHCP agent"), 200)[0]
    fails(await admin.post(f"{N}/agents/{dhcp['id']}/l3-routers", {"router_id": router_id}), 409, "InvalidL3Agent")
    fails(await admin.post(l3, {"router_id": agent["id"]}), 404, "RouterNotFound")
    fails(await admin.post(l3, {}), 400, "HTTPBadRequest")
    member = await cloud.new_project("p")
    assert (await member.get(f"{N}/routers/{router_id}/l3-agents")).status == 403
    assert (await member.get(l3)).status == 403


async def test_a_host_that_wires_nothing_pretends(tmp_path: Any) -> None:
    cloud = NeutronCloud(tmp_path, driver="fake")
    async with cloud:
        admin = await cloud.login("admin")
        made = await _whole(admin, admin)
        await until(lambda: _is(admin, "floatingips", made["fip"]["id"], "ACTIVE"))
        await until(lambda: _is(admin, "ports", made["inner"], "ACTIVE"))
