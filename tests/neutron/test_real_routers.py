"""A router, its floating address and the API that ordered them, on a real host; the guest is a tap."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.host.records import FixedIp, PortWish
from tests.host.frames import ARP, IP, TapGuest, arp, ethernet, ipv4, udp
from tests.neutron.conftest import N, make_network, ok, until
from tests.neutron.test_real_wiring import real_cloud
from tests.neutron.test_router_wiring import _is
from tests.neutron.test_routers import interface, new_router
from tests.neutron.test_wiring import active, bound_port

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")]


@pytest.fixture
def outside() -> Iterator[str]:
    """A range of the test's own, of which no packet leaves this machine, whatever happens."""
    cidr = f"198.18.{secrets.randbelow(256)}.0/24"
    subprocess.run(["ip", "route", "add", "blackhole", cidr, "metric", "4000"], check=True)
    try:
        yield cidr
    finally:
        subprocess.run(["ip", "route", "del", "blackhole", cidr, "metric", "4000"], check=True)


def _arp(guest: TapGuest, router_mac: str, router_ip: str) -> None:
    guest.send(ethernet(guest.mac, router_mac, ARP, arp(1, (guest.mac, guest.ip), ("00:00:00:00:00:00", router_ip))))
    assert guest.receive(lambda f: f[12:14] == b"\x08\x06" and f[20:22] == b"\0\x02", 3.0), "no ARP answer"


async def test_the_host_reaches_a_guest_by_its_floating_address(tmp_path: Path, outside: str) -> None:
    async with real_cloud(tmp_path) as (cloud, host):
        admin, nova = await cloud.login("admin"), await cloud.login("nova", project="service")
        public = await make_network(admin, outside, **{
            "router:external": True, "provider:network_type": "flat", "provider:physical_network": "public"})
        private = await make_network(admin)
        port = await bound_port(admin, nova, private["id"])
        await active(admin, port["id"])
        ok(await admin.post(f"{N}/security-group-rules", {"security_group_rule": {
            "security_group_id": port["security_groups"][0], "direction": "ingress", "protocol": "udp"}}))
        router = await new_router(admin, external_gateway_info={"network_id": public["id"]})
        inner = (await interface(admin, router, "add", subnet_id=private["subnet"])).json()["port_id"]
        fip = ok(await admin.post(f"{N}/floatingips", {"floatingip": {
            "floating_network_id": public["id"], "port_id": port["id"]}}))
        await until(lambda: _is(admin, "floatingips", fip["id"], "ACTIVE"))
        leg = ok(await admin.get(f"{N}/ports/{inner}"), 200)
        assert leg["status"] == "ACTIVE"
        report = await host.client.get_inventory()
        assert len(report.host_links) == 1 and list(report.routers.values()) == [router["id"]]
        address, gateway = port["fixed_ips"][0]["ip_address"], outside.replace(".0/24", ".1")
        wish = PortWish(port_id=port["id"], mac_address=port["mac_address"],
                        fixed_ips=[FixedIp(subnet_id=private["subnet"], ip_address=address)])
        await asyncio.to_thread(_talk, host.cloud, private["id"], wish, leg["mac_address"], fip, gateway)
        assert (await admin.delete(f"{N}/floatingips/{fip['id']}")).status == 204
        assert (await interface(admin, router, "remove", subnet_id=private["subnet"])).status == 200
        assert (await admin.delete(f"{N}/routers/{router['id']}")).status == 204

        async def gone() -> Any:
            report = await host.client.get_inventory()
            return not report.routers and not report.host_links and not report.host_rules

        await until(gone)


def _talk(cloud: str, network_id: str, port: PortWish, router_mac: str, fip: Any, gateway: str) -> None:
    with TapGuest(cloud, network_id, port) as guest, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        _arp(guest, router_mac, "10.1.0.1")
        sock.settimeout(3)
        sock.sendto(b"knock-knock", (fip["floating_ip_address"], 7))
        assert guest.hears(b"knock-knock")
        packet = ipv4(guest.ip, gateway, 17, udp(7, sock.getsockname()[1], b"who-is-there"))
        guest.send(ethernet(guest.mac, router_mac, IP, packet))
        assert sock.recvfrom(100) == (b"who-is-there", (fip["floating_ip_address"], 7))
