"""From a bound port to a wired one: what the host is asked, what status a port gets, what nova hears."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from tests.neutron.conftest import N, NeutronCloud, fails, make_network, make_port, ok, until
from tests.support.cloud import Client

SERVER = "6dc2e525-a218-4814-9dc5-4cfcf2332268"


async def bound_port(admin: Client, nova: Client, network_id: str, server: str = SERVER, **more: Any) -> Any:
    """A port as nova makes one: created, then bound to this host."""
    port = await make_port(nova, network_id, device_id=server, tenant_id=admin.project_id, **more)
    return ok(await nova.put(f"{N}/ports/{port['id']}", {"port": {
        "device_id": server, "device_owner": "compute:nova", "binding:host_id": "localhost"}}), 200)


async def show(client: Client, port_id: str) -> Any:
    return ok(await client.get(f"{N}/ports/{port_id}"), 200)


async def active(client: Client, port_id: str) -> Any:
    async def look() -> Any:
        port = await show(client, port_id)
        return port if port["status"] == "ACTIVE" else None

    return await until(look)


async def test_a_bound_port_is_wired_and_nova_hears_of_it(cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    network = await make_network(admin, dns_domain="example.org.")
    port = await bound_port(admin, nova, network["id"], dns_name="web")
    assert port["binding:vif_type"] == "bridge" and port["status"] == "DOWN"
    assert port["binding:vif_details"] == {"port_filter": True, "connectivity": "l2"}
    await active(admin, port["id"])
    await until(lambda: len(cloud.nova.events) >= 2)
    assert cloud.nova.events == [
        {"name": "network-changed", "server_uuid": SERVER, "tag": port["id"], "by": "nova"},
        {"name": "network-vif-plugged", "server_uuid": SERVER, "tag": port["id"], "status": "completed",
         "by": "neutron"}]
    assert cloud.host is not None
    wish = cloud.host.wish(network["id"])
    assert (wish.mtu, wish.dns_domain, wish.dhcp_lease_s) == (1450, "example.org", 86400)
    assert [subnet.cidr for subnet in wish.subnets] == ["10.1.0.0/24"]
    assert wish.dhcp_port is not None
    dhcp = await show(admin, wish.dhcp_port.port_id)
    assert dhcp["device_owner"] == "network:dhcp" and dhcp["status"] == "ACTIVE"
    assert dhcp["device_id"] == f"dhcp{uuid.uuid5(uuid.NAMESPACE_DNS, 'localhost')}-{network['id']}"
    assert dhcp["fixed_ips"][0]["ip_address"] == wish.dhcp_port.fixed_ips[0].ip_address
    wished, = wish.ports
    assert (wished.port_id, wished.mac_address, wished.local, wished.hostname) == (
        port["id"], port["mac_address"], True, "web")
    # the default group: everything out, in from its members
    assert sorted((r.direction, r.ethertype, tuple(r.remote_cidrs or ())) for r in wished.rules) == [
        ("egress", "IPv4", ()), ("egress", "IPv6", ()),
        ("ingress", "IPv4", (port["fixed_ips"][0]["ip_address"] + "/32",)), ("ingress", "IPv6", ())]
    assert all((rule.remote_cidrs is None) == (rule.direction == "egress") for rule in wished.rules)


async def test_the_order_of_neutrons_calls_is_the_recordings(cloud: NeutronCloud, admin: Client,
                                                             nova: Client) -> None:
    network = await make_network(admin)
    await bound_port(admin, nova, network["id"])
    await until(lambda: len(cloud.nova.events) >= 2)
    cloud.env.recorder.flush()
    assert cloud.env.flow_store is not None
    store = cloud.env.flow_store
    rows = [(each.method, each.path) for each in sorted(
        (each for flow in store.flows(1000, background=True) for each in store.exchanges(flow.flow_id)
         if each.caller == "neutron-server" and ((each.kind == "http" and not each.path.endswith("/auth/tokens"))
                                                 or each.method == "POST")), key=lambda each: each.started)]
    calls = [f"{method} {path}" for method, path in rows if path != "/identity/" or method == "GET"]
    first = calls.index("POST /compute/v2.1/os-server-external-events")
    assert calls[first:] == ["POST /compute/v2.1/os-server-external-events"] * 2 or calls[first + 1:] == [
        "GET /identity/", "POST /identity/v3/auth/tokens", "POST /compute/v2.1/os-server-external-events"]


async def test_rules_reach_a_running_machine(cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    group = ok(await admin.post(f"{N}/security-groups", {"security_group": {"name": "web"}}))
    port = await bound_port(admin, nova, network["id"], security_groups=[group["id"]])
    await active(admin, port["id"])
    rule = ok(await admin.post(f"{N}/security-group-rules", {"security_group_rule": {
        "security_group_id": group["id"], "direction": "ingress", "protocol": "tcp", "port_range_min": 22,
        "port_range_max": 22, "remote_ip_prefix": "192.0.2.7"}}))

    def rules() -> list[Any]:
        assert cloud.host is not None
        return [r for r in cloud.host.wish(network["id"]).ports[0].rules if r.protocol == "tcp"]

    found, = await until(rules, 2.0)
    assert (found.port_range_min, found.remote_cidrs) == (22, ["192.0.2.7/32"])
    assert (await admin.delete(f"{N}/security-group-rules/{rule['id']}")).status == 204
    await until(lambda: not rules(), 2.0)


async def test_a_port_that_cannot_be_wired_stays_down_with_the_reason_logged(
        cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    port = await bound_port(admin, nova, network["id"])
    await active(admin, port["id"])
    assert cloud.host is not None
    cloud.host.broken.add(port["id"])
    ok(await admin.put(f"{N}/ports/{port['id']}", {"port": {"name": "look again"}}), 200)
    ok(await admin.put(f"{N}/ports/{port['id']}", {"port": {"dns_name": "other"}}), 200)

    async def down() -> bool:
        return (await show(admin, port["id"]))["status"] == "DOWN"

    await until(down)
    await until(lambda: cloud.nova.events[-1]["name"] == "network-vif-unplugged")


async def test_taking_a_port_down_and_deleting_it(cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    port = await bound_port(admin, nova, network["id"])
    await active(admin, port["id"])
    ok(await admin.put(f"{N}/ports/{port['id']}", {"port": {"admin_state_up": False}}), 200)

    async def down() -> bool:
        return (await show(admin, port["id"]))["status"] == "DOWN"

    await until(down)
    assert (await nova.delete(f"{N}/ports/{port['id']}")).status == 204
    await until(lambda: cloud.nova.events[-1]["name"] == "network-vif-deleted")
    host = cloud.host
    assert host is not None
    await until(lambda: network["id"] not in host.networks)


async def test_nova_may_be_away(cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    cloud.nova.status = 503
    network = await make_network(admin)
    port = await bound_port(admin, nova, network["id"])
    await active(admin, port["id"])
    assert cloud.nova.events == []
    cloud.nova.status = 200
    owed = cloud.service("neutron").loops[0]
    await owed.run_soon()
    assert [event["name"] for event in cloud.nova.events] == ["network-vif-plugged"]
    await owed.run_soon()
    assert len(cloud.nova.events) == 1  # taken once, owed no more


async def test_binding_fails_where_no_agent_lives(cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    port = await make_port(nova, network["id"], **{"binding:host_id": "elsewhere"})
    assert port["binding:vif_type"] == "binding_failed" and port["binding:vif_details"] == {}
    agents = ok(await admin.get(f"{N}/agents"), 200)
    assert {(a["binary"], a["host"], a["alive"]) for a in agents} == {
        (name, "localhost", True) for name in ("neutron-l2-agent", "neutron-dhcp-agent", "neutron-l3-agent")}
    l2 = next(a for a in agents if a["binary"] == "neutron-l2-agent")
    ok(await admin.put(f"{N}/agents/{l2['id']}", {"agent": {"admin_state_up": False}}), 200)
    port = await make_port(nova, network["id"], **{"binding:host_id": "localhost"})
    assert port["binding:vif_type"] == "binding_failed"


async def test_the_wish_survives_a_restart_and_a_lost_host(tmp_path: Path) -> None:
    async with NeutronCloud(tmp_path) as cloud:
        admin, nova = await cloud.login("admin"), await cloud.login("nova", project="service")
        network = await make_network(admin)
        assert cloud.host is not None
        cloud.host.gone = True
        port = await bound_port(admin, nova, network["id"])
        assert (await show(admin, port["id"]))["status"] == "DOWN"
    async with NeutronCloud(tmp_path) as cloud:
        admin = await cloud.login("admin")
        await active(admin, port["id"])
        await until(lambda: cloud.nova.events)
        assert cloud.host is not None and cloud.host.wish(network["id"]).ports[0].port_id == port["id"]


async def test_without_a_host_the_fake_driver_has_ports_wired_anywhere(tmp_path: Path) -> None:
    cloud = NeutronCloud(tmp_path, driver="fake")
    cloud.host = None
    async with cloud:
        admin, nova = await cloud.login("admin"), await cloud.login("nova", project="service")
        network = await make_network(admin)
        port = await make_port(nova, network["id"], device_id=SERVER, device_owner="compute:nova",
                               **{"binding:host_id": "fake-17"})
        assert port["binding:vif_type"] == "bridge"
        await active(admin, port["id"])
        await until(lambda: any(e["name"] == "network-vif-plugged" for e in cloud.nova.events))


async def test_dhcp_ports_follow_the_subnets(cloud: NeutronCloud, admin: Client) -> None:
    network = await make_network(admin)

    async def dhcp(count: int) -> Any:
        async def look() -> Any:
            found = ok(await admin.get(f"{N}/ports", params={"network_id": network["id"],
                                                            "device_owner": "network:dhcp"}), 200)
            return [found] if len(found[0]["fixed_ips"] if found else []) == count else None

        return (await until(look))[0]

    await dhcp(1)
    second = ok(await admin.post(f"{N}/subnets", {"subnet": {"network_id": network["id"], "ip_version": 4,
                                                            "cidr": "10.2.0.0/24"}}))
    first, = await dhcp(2)
    ok(await admin.put(f"{N}/subnets/{second['id']}", {"subnet": {"enable_dhcp": False}}), 200)
    again, = await dhcp(1)
    assert again["id"] == first["id"]
    for subnet_id in (network["subnet"], second["id"]):
        assert (await admin.delete(f"{N}/subnets/{subnet_id}")).status == 204
    assert await dhcp(0) == []
    fails(await admin.get(f"{N}/ports/{first['id']}"), 404, "PortNotFound")
    assert (await admin.delete(f"{N}/networks/{network['id']}")).status == 204


async def test_the_ledger_names_everything(cloud: NeutronCloud, admin: Client, nova: Client) -> None:
    network = await make_network(admin)
    port = await bound_port(admin, nova, network["id"])
    await active(admin, port["id"])
    ledger = (await cloud.runtime.ledger())["neutron"]
    row = next(p for p in ledger["ports"] if p["id"] == port["id"])
    assert (row["status"], row["host"], row["device_id"]) == ("ACTIVE", "localhost", SERVER)
    assert row["addresses"] == [port["fixed_ips"][0]["ip_address"]]
    assert ledger["wishes"] == [
        {"host": "localhost", "ports": [port["id"]], "networks": [network["id"]], "external": [],
         "dhcp": [network["id"]], "tunnels": {}}]
    assert [n["id"] for n in ledger["networks"]] == [network["id"]]
