"""Ports of a floating address that lead to ports of machines."""

from __future__ import annotations

from typing import Any

from tests.neutron.conftest import N, NeutronCloud, fails, make_port, ok, until
from tests.neutron.test_router_wiring import _is, _whole
from tests.neutron.test_routers import interface
from tests.support.cloud import Client


async def test_ports_of_an_address_lead_to_machines(cloud: NeutronCloud, admin: Client) -> None:
    assert cloud.host is not None
    host, member = cloud.host, await cloud.new_project("p")
    made = await _whole(admin, member)
    router_id = made["router"]["id"]
    first, second = [await make_port(member, made["network"]["id"]) for _ in range(2)]
    fip = ok(await member.post(f"{N}/floatingips", {"floatingip": {"floating_network_id": made["public"]["id"]}}))
    path = f"{N}/floatingips/{fip['id']}/port_forwardings"

    def wish(port: Any, external: int, internal: int, **more: Any) -> dict[str, Any]:
        return {"port_forwarding": {"external_port": external, "internal_port": internal, "protocol": "tcp",
                                    "internal_port_id": port["id"],
                                    "internal_ip_address": port["fixed_ips"][0]["ip_address"], **more}}

    one = ok(await member.post(path, wish(first, 2022, 22, description="shell")))
    assert (one["external_port"], one["internal_port"], one["protocol"]) == (2022, 22, "tcp")
    two = ok(await member.post(path, wish(second, 8080, 80)))
    fails(await member.post(path, wish(second, 2022, 23)), 400, "BadRequest")
    fails(await member.post(path, wish(second, 8081, 80)), 400, "BadRequest")
    assert (await member.post(path, wish(second, 70000, 80))).status == 400
    assert (await member.post(path, wish(second, 1, 80, protocol="icmp"))).status == 400
    fails(await member.post(path, wish(second, 9, 9, internal_ip_address="10.1.0.99")), 400, "BadRequest")
    fails(await member.post(path, wish(made["port"], 9, 9)), 409, "PortHasBindingFloatingIP")
    bound = f"{N}/floatingips/{made['fip']['id']}/port_forwardings"
    fails(await member.post(bound, wish(first, 1, 1)), 409, "FloatingIPPortAlreadyAssociated")
    fails(await member.put(f"{N}/floatingips/{fip['id']}", {"floatingip": {"port_id": first["id"]}}), 409,
          "FipInUseByPortForwarding")
    await until(lambda: _is(member, "floatingips", fip["id"], "ACTIVE"))
    shown = ok(await member.get(f"{N}/floatingips/{fip['id']}"), 200)
    assert shown["router_id"] == router_id and [f["external_port"] for f in shown["port_forwardings"]] == [2022, 8080]
    await until(lambda: {(f.floating_ip, f.floating_port, f.fixed_port) for f in host.routers[router_id].forwardings}
                == {(fip["floating_ip_address"], 2022, 22), (fip["floating_ip_address"], 8080, 80)})
    ok(await member.put(f"{path}/{two['id']}", {"port_forwarding": {"external_port": 8443, "internal_port": 443}}), 200)
    assert [f["id"] for f in ok(await member.get(f"{path}?external_port=8443"), 200)] == [two["id"]]
    await until(lambda: {f.floating_port for f in host.routers[router_id].forwardings} == {2022, 8443})
    fails(await interface(member, made["router"], "remove", subnet_id=made["network"]["subnet"]), 409,
          "RouterInterfaceInUseByFloatingIP")

    stranger = await cloud.new_project("q")
    assert (await stranger.get(path)).status == 404 and (await stranger.delete(f"{path}/{one['id']}")).status == 404
    fails(await member.get(f"{path}/{fip['id']}"), 404, "PortForwardingNotFound")

    assert (await member.delete(f"{N}/ports/{second['id']}")).status == 204
    assert [f["id"] for f in ok(await member.get(path), 200)] == [one["id"]]
    assert (await member.delete(f"{path}/{one['id']}")).status == 204
    assert ok(await member.get(f"{N}/floatingips/{fip['id']}"), 200)["router_id"] is None
    await until(lambda: not host.routers[router_id].forwardings)
    third = ok(await member.post(path, wish(first, 1, 1)))
    assert (await member.delete(f"{N}/ports/{first['id']}")).status == 204
    fails(await member.get(f"{path}/{third['id']}"), 404, "PortForwardingNotFound")
    shown = ok(await member.get(f"{N}/floatingips/{fip['id']}"), 200)
    assert (shown["router_id"], shown["status"]) == (None, "DOWN")
    assert (await member.delete(f"{N}/floatingips/{fip['id']}")).status == 204


async def test_ranges_of_ports(cloud: NeutronCloud, admin: Client) -> None:
    assert cloud.host is not None
    host, member = cloud.host, await cloud.new_project("p")
    made = await _whole(admin, member)
    port = await make_port(member, made["network"]["id"])
    fip = ok(await member.post(f"{N}/floatingips", {"floatingip": {"floating_network_id": made["public"]["id"]}}))
    path = f"{N}/floatingips/{fip['id']}/port_forwardings"

    def wish(**more: Any) -> dict[str, Any]:
        return {"port_forwarding": {"protocol": "tcp", "internal_port_id": port["id"],
                                    "internal_ip_address": port["fixed_ips"][0]["ip_address"], **more}}

    each = ok(await member.post(path, wish(external_port_range="8000:8010", internal_port_range="80:90")))
    assert (each["external_port_range"], each["internal_port_range"]) == ("8000:8010", "80:90")
    assert each["external_port"] is None and each["internal_port"] is None
    one = ok(await member.post(path, wish(external_port_range="9000:9003", internal_port_range="22")))
    assert (one["internal_port"], one["internal_port_range"]) == (22, "22:22")
    single = ok(await member.post(path, wish(external_port=1, internal_port="443")))
    assert (single["external_port"], single["external_port_range"]) == (1, "1:1")
    for wrong in ({"external_port_range": "8010:8020", "internal_port_range": "100:110"},  # outside taken
                  {"external_port": 8005, "internal_port": 7},
                  {"external_port_range": "100:110", "internal_port_range": "90:100"},  # inside taken
                  {"external_port_range": "100:110", "internal_port_range": "200:205"},  # neither N nor 1
                  {"external_port_range": "110:100", "internal_port_range": "200:210"},
                  {"external_port_range": "1:2:3", "internal_port": 5}, {"external_port_range": "0:3",
                                                                         "internal_port": 5},
                  {"external_port": 5}, {"external_port_range": ["5"], "internal_port": 6},
                  {"external_port_range": "65530:65540", "internal_port": 5}):
        assert (await member.post(path, wish(**wrong))).status == 400, wrong
    shown = ok(await member.get(f"{N}/floatingips/{fip['id']}"), 200)["port_forwardings"]
    assert [each["external_port"] for each in shown] == [1, None, None]
    router_id = made["router"]["id"]
    await until(lambda: {(f.floating_port, f.fixed_port, f.count, f.into_one)
                         for f in host.routers[router_id].forwardings}
                == {(8000, 80, 11, False), (9000, 22, 4, True), (1, 443, 1, True)})
    changed = ok(await member.put(f"{path}/{each['id']}", {"port_forwarding": {"internal_port": 81}}), 200)
    assert (changed["external_port_range"], changed["internal_port"]) == ("8000:8010", 81)
    assert (await member.put(f"{path}/{each['id']}", {"port_forwarding": {"internal_port": 22}})).status == 400
    await until(lambda: (8000, 81, 11, True) in {(f.floating_port, f.fixed_port, f.count, f.into_one)
                                                 for f in host.routers[router_id].forwardings})
