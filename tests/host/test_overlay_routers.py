"""Routers that move between hosts: inner networks by tunnels, external ones by the provider's segment."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cloudseed.host import inventory, netns, routers
from cloudseed.host.paths import router_link_name
from cloudseed.host.records import (
    Advertisement,
    ExternalWish,
    FloatingWish,
    NetworkWish,
    RemoteEnd,
    RouterLeg,
    RouterWish,
    RuleWish,
)
from tests.host.conftest import ANY_EGRESS, network, new_id, port
from tests.host.fleet import Fleet, Machine, end_of, end_of_leg, on
from tests.host.frames import IP, TapGuest, ethernet, ipv4, mac_bytes, udp

pytestmark = pytest.mark.real
ANY = (ANY_EGRESS, RuleWish(direction="ingress"), RuleWish(direction="egress", ethertype="IPv6"),
       RuleWish(direction="ingress", ethertype="IPv6"))
INSIDE, OUTSIDE, FLOATING = "fa:16:3e:aa:00:01", "fa:16:3e:aa:00:03", "172.24.4.20"
QUIET_S = 0.3


@pytest.fixture
def fleet(cloud: str, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(cloud, tmp_path, 3, provider=True)
    try:
        yield made
    finally:
        made.close()


class Routed:
    """A guest on the third host, whose router is on one of the first two."""

    def __init__(self, fleet: Fleet, announces: bool = False) -> None:
        self.fleet = fleet
        self.a, self.b, self.c = fleet.machines
        self.at = self.a  # who has the router
        self.port = port(12, *ANY)
        self.wish = network(self.port)
        announced = [Advertisement(prefix="fd00:5::/64", mode="slaac")] if announces else []
        self.leg = RouterLeg(port_id=new_id(), network_id=self.wish.network_id, mac_address=INSIDE, mtu=1450,
                             addresses=["10.0.0.1/24", *(["fd00:5::1/64"] if announces else [])],
                             advertisements=announced)
        public = new_id()
        self.gateway = RouterLeg(port_id=new_id(), network_id=public, mac_address=OUTSIDE, addresses=["172.24.4.9/24"])
        self.public = NetworkWish(network_id=public, external=ExternalWish(addresses=["172.24.4.1/24"]),
                                  legs=[self.gateway.port_id])
        self.router = RouterWish(
            router_id=new_id(), legs=[self.leg], gateway=self.gateway, next_hops=["172.24.4.1"],
            floating=[FloatingWish(floatingip_id=new_id(), floating_ip=FLOATING, fixed_ip="10.0.0.12")])

    def route_on(self, machine: Machine) -> None:
        """The host has the router, and the guest's host sends to it there."""
        self.at = machine
        self.wire(machine)
        self.send_to(machine)

    def wire(self, machine: Machine) -> None:
        inner = on(self.wish, [], [end_of(self.port, self.c)], legs=[self.leg.port_id], dhcp_port=None)
        machine.apply(inner, self.public, routers=[self.router])

    def send_to(self, machine: Machine) -> None:
        self.c.apply(on(self.wish, [self.port], [end_of_leg(self.leg, machine)]))

    def guest(self) -> TapGuest:
        return TapGuest(self.c.cloud, self.wish.network_id, self.port)

    def outside(self) -> socket.socket:
        """Who listens at the gateway's address on the segment."""
        def make() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("172.24.4.1", 0))
            sock.settimeout(2)
            return sock

        return netns.run(self.fleet.switch, make)

    def ready(self, sock: socket.socket, guest: TapGuest) -> None:
        """The kernel tells new bridges of their links' carriers in its own time, and asks anew for a neighbour after
        a second: so wait until the way is open, from the outside to the guest and back."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            sock.sendto(b"ready?", (FLOATING, 9))
            if guest.hears(b"ready?", 0.5):
                return
            self.wire(self.at)  # as agents do every few seconds
        pytest.fail("the guest is not reached by its floating address")

    def last_word(self) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((router_link_name(self.gateway.port_id, True), 0))
            sock.send(ethernet(OUTSIDE, "ff:ff:ff:ff:ff:ff", 0x88B5, b"a word"))

    def says(self, guest: TapGuest, sock: socket.socket, data: bytes) -> None:
        packet = ipv4(guest.ip, "172.24.4.1", 17, udp(4000, sock.getsockname()[1], data))
        guest.send(ethernet(guest.mac, INSIDE, IP, packet))


def test_a_guest_reaches_the_outside_by_another_hosts_router(fleet: Fleet) -> None:
    scene = Routed(fleet)
    scene.route_on(scene.a)
    with scene.guest() as guest, scene.outside() as sock:
        scene.ready(sock, guest)
        scene.says(guest, sock, b"hello")
        data, sender = sock.recvfrom(100)
        assert (data, sender[0]) == (b"hello", FLOATING)
        sock.sendto(b"answer", sender)
        assert guest.hears(b"answer")
        sock.sendto(b"unasked", (FLOATING, 7))
        assert guest.hears(b"unasked")
    report = scene.a.inside(lambda: inventory.read(scene.a.cloud, scene.a.paths))
    assert not report.host_rules  # it is nobody's gateway
    assert f"{scene.a.cloud}-prov" in report.host_links
    assert "172.24.4.1" not in scene.a.shell("ip addr")
    scene.a.apply()
    report = scene.a.inside(lambda: inventory.read(scene.a.cloud, scene.a.paths))
    assert not report.host_links
    assert "master" not in scene.a.shell("ip -o link show prov0")


def test_a_router_that_moves_takes_its_addresses_along(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routers, "REFRESH_S", 0.0)
    scene = Routed(fleet)
    scene.route_on(scene.a)
    with scene.guest() as guest, scene.outside() as sock:
        scene.ready(sock, guest)
        sock.sendto(b"by the first", (FLOATING, 7))
        assert guest.hears(b"by the first")
        scene.route_on(scene.b)  # the first host is cut off from the controller and routes on
        until, before = time.monotonic() + 10, -1
        while (sent := scene.a.sent()) != before:  # until who is outside has heard where the address is now
            assert time.monotonic() < until
            before = sent
            scene.ready(sock, guest)
        sock.sendto(b"by the second", (FLOATING, 7))
        assert guest.hears(b"by the second")
        assert scene.a.sent() == before
        scene.says(guest, sock, b"out")
        assert sock.recvfrom(100)[0] == b"out"
        its, = netns.names(f"{scene.a.cloud}-rtr-")
        netns.run(its, scene.last_word)  # such as its kernel's question for a neighbour: switches send to it now
        scene.a.apply()  # it is back, and has lost the router
        assert not netns.names(f"{scene.a.cloud}-rtr-")
        sock.sendto(b"to nobody", (FLOATING, 7))
        assert not guest.hears(b"to nobody")
        scene.wire(scene.b)
        sock.sendto(b"still by the second", (FLOATING, 7))
        assert guest.hears(b"still by the second")


def test_a_host_that_returns_drops_a_lost_router_before_it_wires_anything(fleet: Fleet) -> None:
    scene = Routed(fleet)
    scene.route_on(scene.a)
    bad = msgspec.structs.replace(network(port(10)), mtu=1)  # which cannot be wired
    with pytest.raises(AssertionError, match="MTU"):
        scene.a.apply(bad)
    assert not netns.names(f"{scene.a.cloud}-rtr-")


def test_advertisements_reach_guests_of_other_hosts_and_none_says_that_a_moved_router_is_gone(fleet: Fleet) -> None:
    scene = Routed(fleet, announces=True)

    def is_advertisement(frame: bytes) -> bool:
        return frame[12:14] == b"\x86\xdd" and frame[54] == 134 and frame[6:12] == mac_bytes(INSIDE)

    scene.send_to(scene.a)
    with scene.guest() as guest:
        scene.wire(scene.a)
        frame = guest.receive(is_advertisement, 5.0)
        assert frame is not None
        assert int.from_bytes(frame[60:62], "big") > 0  # its lifetime
        scene.route_on(scene.b)
        while guest.receive(is_advertisement, 1.0):
            pass
        scene.a.apply()
        last = guest.receive(is_advertisement, 1.0)
        assert last is None or int.from_bytes(last[60:62], "big") > 0


def test_multicast_of_guests_goes_to_the_routers_host_alone(fleet: Fleet) -> None:
    scene = Routed(fleet)
    beside = port(13, *ANY)
    scene.wire(scene.a)
    scene.b.apply(on(scene.wish, [beside], [end_of(scene.port, scene.c), end_of_leg(scene.leg, scene.a)]))
    ends: list[RemoteEnd] = [end_of(beside, scene.b), end_of_leg(scene.leg, scene.a)]
    scene.c.apply(on(scene.wish, [scene.port], ends))
    with scene.guest() as guest, TapGuest(scene.b.cloud, scene.wish.network_id, beside) as other:
        before = scene.c.sent()
        packet = ipv4(guest.ip, "224.0.0.9", 17, udp(520, 520, b"to routers"))
        guest.send(ethernet(guest.mac, "01:00:5e:00:00:09", IP, packet))
        assert not other.hears(b"to routers", QUIET_S)
        assert scene.c.sent() == before + 1
