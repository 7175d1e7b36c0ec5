"""Routers, as guests behind taps and the host itself see them.  "The host" is a namespace of the test's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from cloudseed.host import external, inventory, netns, networks
from cloudseed.host.connections import Translation, translated_well
from cloudseed.host.errors import HostError
from cloudseed.host.paths import StatePaths, external_link_name, namespace_name, router_namespace
from cloudseed.host.records import (
    Advertisement,
    ApplyResult,
    BandwidthWish,
    ExternalWish,
    FixedIp,
    FloatingWish,
    ForwardingWish,
    HostRoute,
    NetworkWish,
    PortWish,
    RouterLeg,
    RouterWish,
    RuleWish,
)
from cloudseed.host.surroundings import Surroundings
from tests.host.conftest import ANY_EGRESS, network, new_id, port
from tests.host.frames import ARP, IP, TapGuest, arp, checksum, ethernet, ipv4, udp

pytestmark = pytest.mark.real
_T = TypeVar("_T")
ANY = (ANY_EGRESS, RuleWish(direction="ingress"))
INSIDE, INSIDE2, OUTSIDE = "fa:16:3e:aa:00:01", "fa:16:3e:aa:00:02", "fa:16:3e:aa:00:03"


class World:
    """A machine of the test's own: `host` is the namespace that is taken for it; nothing leaves it."""

    def __init__(self, cloud: str, state: StatePaths) -> None:
        self.cloud = cloud
        self.state = state
        self.host = f"{cloud}-world"
        netns.create(self.host)
        netns.run(self.host, lambda: subprocess.run(
            ["ip", "link", "set", "lo", "up"], check=True))
        self.nat = False

    def inside(self, work: Callable[[], _T]) -> _T:
        return netns.run(self.host, work)

    def apply(self, wishes: list[NetworkWish], routers: list[RouterWish]) -> ApplyResult:
        result = self.inside(lambda: networks.apply(self.cloud, self.state, wishes, True, routers,
                                                      Surroundings(nat=self.nat)))
        assert not [n.error for n in result.networks if n.error]
        return result

    def shell(self, command: str, namespace: str | None = None) -> str:
        done = netns.run(namespace or self.host, lambda: subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def send(self, address: str, data: bytes, port: int = 7, *, source_port: int = 0) -> socket.socket:
        """A datagram from the host; returns its socket, to hear answers on."""
        def make() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("", source_port))
            sock.settimeout(3)
            sock.sendto(data, (address, port))
            return sock
        return self.inside(make)

    def listen(self, address: str, port: int) -> socket.socket:
        """Hear what guests send to the host, which takes it only because we open it to them."""
        def make() -> socket.socket:
            subprocess.run(["nft", "insert", "rule", "inet", self.cloud, "from-guests", "udp", "dport", str(port),
                            "accept"], check=True)
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((address, port))
            sock.settimeout(3)
            return sock
        return self.inside(make)

    def close(self) -> None:
        self.inside(lambda: inventory.purge(self.cloud, self.state))
        netns.remove(self.host)


@pytest.fixture
def world(cloud: str, state: StatePaths) -> Iterator[World]:
    made = World(cloud, state)
    try:
        yield made
    finally:
        made.close()


class Scene:
    """A guest's network, a public one, and a router between them; `floating` leads to the guest."""

    def __init__(self, **router: Any) -> None:
        self.guest = port(10, *ANY)
        self.leg = RouterLeg(port_id=new_id(), network_id="", mac_address=INSIDE, addresses=["10.0.0.1/24"])
        self.gateway = RouterLeg(port_id=new_id(), network_id="", mac_address=OUTSIDE, addresses=["172.24.4.9/24"])
        self.private = msgspec.structs.replace(network(self.guest), legs=[self.leg.port_id])
        self.public = NetworkWish(network_id=new_id(), external=ExternalWish(addresses=["172.24.4.1/24"]),
                                  legs=[self.gateway.port_id])
        self.leg = msgspec.structs.replace(self.leg, network_id=self.private.network_id)
        self.gateway = msgspec.structs.replace(self.gateway, network_id=self.public.network_id)
        self.router = RouterWish(router_id=new_id(), legs=[self.leg], gateway=self.gateway,
                                 next_hops=["172.24.4.1"], **router)

    @property
    def networks(self) -> list[NetworkWish]:
        return [self.private, self.public]

    def tap(self, world: World, guest: PortWish | None = None) -> TapGuest:
        return TapGuest(world.cloud, self.private.network_id, guest or self.guest)


def answer(guest: TapGuest, router_mac: str, to: str, data: bytes, to_port: int, from_port: int = 7) -> None:
    guest.send(ethernet(guest.mac, router_mac, IP, ipv4(guest.ip, to, 17, udp(from_port, to_port, data))))


def serve_arp(guest: TapGuest, router_mac: str = INSIDE, router_ip: str = "10.0.0.1") -> None:
    """Tell the router our address before it asks."""
    guest.send(ethernet(guest.mac, router_mac, ARP, arp(1, (guest.mac, guest.ip), ("00:00:00:00:00:00", router_ip))))
    assert guest.receive(lambda f: f[12:14] == b"\x08\x06" and f[20:22] == b"\0\x02", 3.0), "no ARP answer"


def test_a_guest_reaches_the_outside_under_the_gateways_address(world: World) -> None:
    scene = Scene()
    first = world.apply(scene.networks, [scene.router])
    assert [(r.changed, r.error) for r in first.routers] == [(True, "")]
    heard = world.listen("172.24.4.1", 4242)
    with scene.tap(world) as guest:
        serve_arp(guest)
        answer(guest, INSIDE, "172.24.4.1", b"from-inside", 4242)
        data, source = heard.recvfrom(100)
        assert (data, source[0]) == (b"from-inside", "172.24.4.9")
        heard.sendto(b"from-outside", source)
        assert guest.hears(b"from-outside")
    heard.close()
    again = world.apply(scene.networks, [scene.router])
    assert [(r.changed, r.error) for r in again.routers] == [(False, "")]
    assert not any(n.changed for n in again.networks)


def test_a_router_that_was_taken_down_passes_nothing_on(world: World) -> None:
    scene = Scene()
    world.apply(scene.networks, [msgspec.structs.replace(scene.router, forwards=False)])
    heard = world.listen("172.24.4.1", 4242)
    with scene.tap(world) as guest:
        serve_arp(guest)
        answer(guest, INSIDE, "172.24.4.1", b"held up", 4242)
        heard.settimeout(0.5)
        with pytest.raises(TimeoutError):
            heard.recvfrom(100)
        heard.settimeout(3)
        world.apply(scene.networks, [scene.router])
        answer(guest, INSIDE, "172.24.4.1", b"let through", 4242)
        assert heard.recvfrom(100)[0] == b"let through"
    heard.close()


def test_without_snat_a_guest_keeps_its_address(world: World) -> None:
    scene = Scene(enable_snat=False)
    world.apply(scene.networks, [scene.router])
    world.shell("ip route add 10.0.0.0/24 via 172.24.4.9")
    heard = world.listen("172.24.4.1", 4242)
    with scene.tap(world) as guest:
        serve_arp(guest)
        answer(guest, INSIDE, "172.24.4.1", b"plain", 4242)
        assert heard.recvfrom(100)[1][0] == "10.0.0.10"
    heard.close()


def test_a_floating_address_leads_in_and_shows_outside(world: World) -> None:
    scene = Scene(floating=[FloatingWish(floatingip_id=new_id(), floating_ip="172.24.4.50", fixed_ip="10.0.0.10")])
    world.apply(scene.networks, [scene.router])
    with scene.tap(world) as guest:
        serve_arp(guest)
        sock = world.send("172.24.4.50", b"ping-in", 7)
        source = sock.getsockname()[1]
        assert guest.hears(b"ping-in")
        answer(guest, INSIDE, "172.24.4.1", b"pong-out", source)
        assert sock.recvfrom(100) == (b"pong-out", ("172.24.4.50", 7))
        sock.close()
        heard = world.listen("172.24.4.1", 4242)
        answer(guest, INSIDE, "172.24.4.1", b"own", 4242, 9)
        assert heard.recvfrom(100)[1][0] == "172.24.4.50"
        heard.close()


def test_a_floating_address_that_moves_takes_its_connections_along(world: World) -> None:
    scene = Scene()
    other = port(11, *ANY)
    private = msgspec.structs.replace(scene.private, ports=[scene.guest, other])

    def floating(fixed: str | None) -> list[RouterWish]:
        each = FloatingWish(floatingip_id=new_id(), floating_ip="172.24.4.50", fixed_ip=fixed or "")
        return [msgspec.structs.replace(scene.router, floating=[each] if fixed else [])]

    world.apply([private, scene.public], floating("10.0.0.10"))
    with scene.tap(world) as one, scene.tap(world, other) as two:
        serve_arp(one)
        serve_arp(two)
        world.send("172.24.4.50", b"first", 7, source_port=5000).close()
        assert one.hears(b"first")
        world.apply([private, scene.public], floating("10.0.0.11"))
        world.send("172.24.4.50", b"second", 7, source_port=5000).close()
        assert two.hears(b"second")
        assert not one.hears(b"second", 0.2)
        world.apply([private, scene.public], floating(None))
        world.send("172.24.4.50", b"third", 7, source_port=5000).close()
        assert not two.hears(b"third", 0.3)


def test_guests_of_one_router_meet_by_a_floating_address(world: World) -> None:
    """The answer must come back through the router, though both sit on one network."""
    scene = Scene(floating=[FloatingWish(floatingip_id=new_id(), floating_ip="172.24.4.50", fixed_ip="10.0.0.11")])
    other = port(11, *ANY)
    world.apply([msgspec.structs.replace(scene.private, ports=[scene.guest, other]), scene.public], [scene.router])
    with scene.tap(world) as one, scene.tap(world, other) as two:
        serve_arp(one)
        serve_arp(two)
        answer(one, INSIDE, "172.24.4.50", b"knock", 7, 6000)
        frame = two.receive(lambda f: b"knock" in f)
        assert frame is not None
        source, source_port = socket.inet_ntoa(frame[26:30]), int.from_bytes(frame[34:36], "big")
        assert source == "172.24.4.9"
        answer(two, INSIDE, source, b"who-is-it", source_port, 7)
        assert one.hears(b"who-is-it")


def test_ports_of_a_floating_address_lead_to_other_ports(world: World) -> None:
    scene = Scene(forwardings=[ForwardingWish(floating_ip="172.24.4.60", protocol="udp", floating_port=2000,
                                              fixed_ip="10.0.0.10", fixed_port=53)])
    world.apply(scene.networks, [scene.router])
    with scene.tap(world) as guest:
        serve_arp(guest)
        sock = world.send("172.24.4.60", b"forwarded", 2000)
        frame = guest.receive(lambda f: b"forwarded" in f)
        assert frame is not None and int.from_bytes(frame[36:38], "big") == 53
        answer(guest, INSIDE, "172.24.4.1", b"back", sock.getsockname()[1], 53)
        assert sock.recvfrom(100) == (b"back", ("172.24.4.60", 2000))
        sock.close()
        world.send("172.24.4.60", b"elsewhere", 2001).close()
        assert not guest.hears(b"elsewhere", 0.3)


@pytest.mark.parametrize(("into_one", "inner"), [(True, 53), (False, 2000), (False, 3000)])
def test_a_range_of_ports_leads_to_one_or_to_as_many(world: World, into_one: bool, inner: int) -> None:
    scene = Scene(forwardings=[ForwardingWish(floating_ip="172.24.4.60", protocol="udp", floating_port=2000, count=3,
                                              fixed_ip="10.0.0.10", fixed_port=inner, into_one=into_one)])
    world.apply(scene.networks, [scene.router])
    with scene.tap(world) as guest:
        serve_arp(guest)
        for offset in (0, 2):
            said = b"to port %d" % offset
            sock = world.send("172.24.4.60", said, 2000 + offset)
            frame = guest.receive(lambda f, said=said: said in f)
            assert frame is not None
            expected = inner if into_one else inner + offset
            assert int.from_bytes(frame[36:38], "big") == expected
            answer(guest, INSIDE, "172.24.4.1", b"back", sock.getsockname()[1], expected)
            assert sock.recvfrom(100) == (b"back", ("172.24.4.60", 2000 + offset))
            sock.close()
        world.send("172.24.4.60", b"elsewhere", 2003).close()
        assert not guest.hears(b"elsewhere", 0.3)


def test_two_inside_networks_and_a_route(world: World) -> None:
    scene = Scene()
    two = port(20, *ANY, fixed_ips=[])
    second = network(two, cidr_start="10.0.9")
    two = msgspec.structs.replace(two, fixed_ips=[msgspec.structs.replace(
        scene.guest.fixed_ips[0], ip_address="10.0.9.20")])
    leg = RouterLeg(port_id=new_id(), network_id=second.network_id, mac_address=INSIDE2, addresses=["10.0.9.1/24"],
                    mtu=1400)
    second = msgspec.structs.replace(second, ports=[two], legs=[leg.port_id], mtu=1400)
    router = msgspec.structs.replace(scene.router, legs=[scene.leg, leg], routes=[
        HostRoute(destination="192.168.50.0/24", nexthop="10.0.9.77")])
    world.apply([*scene.networks, second], [router])
    with scene.tap(world) as one, TapGuest(world.cloud, second.network_id, two) as other:
        serve_arp(one)
        serve_arp(other, INSIDE2, "10.0.9.1")
        answer(one, INSIDE, "10.0.9.20", b"across", 7)
        frame = other.receive(lambda f: b"across" in f)
        assert frame is not None and socket.inet_ntoa(frame[26:30]) == "10.0.0.10"
        # an extra route leads to a neighbour of the second network
        answer(one, INSIDE, "192.168.50.5", b"routed", 7)
        asked = other.receive(lambda f: f[12:14] == b"\x08\x06" and socket.inet_aton("10.0.9.77") in f)
        assert asked is not None
    links = json.loads(world.shell("ip -j link", router_namespace(world.cloud, router.router_id)))
    assert {link["mtu"] for link in links if link["ifname"].startswith("q")} == {1400, 1500}
    world.apply(scene.networks, [scene.router])
    assert "10.0.9" not in world.shell("ip route; ip addr", router_namespace(world.cloud, router.router_id))


def test_what_is_left_of_a_router(world: World) -> None:
    scene = Scene()
    world.apply(scene.networks, [scene.router])
    report = world.inside(lambda: inventory.read(world.cloud, world.state))
    assert list(report.routers.values()) == [scene.router.router_id]
    assert len(next(iter(report.router_links.values()))) == 2
    assert report.host_links == [external_link_name(world.cloud, scene.public.network_id)] and report.host_rules
    world.apply([scene.private, msgspec.structs.replace(scene.public, legs=[])], [])
    report = world.inside(lambda: inventory.read(world.cloud, world.state))
    assert report.routers == {} and report.strays == []
    assert "leg" not in world.shell("ip link", namespace_name(world.cloud, scene.private.network_id))
    world.apply([], [])
    report = world.inside(lambda: inventory.read(world.cloud, world.state))
    assert (report.host_links, report.host_rules, report.namespaces) == ([], False, [])
    assert world.shell("nft list ruleset") == ""


def test_a_lost_network_or_router_is_wired_anew(world: World) -> None:
    scene = Scene(floating=[FloatingWish(floatingip_id=new_id(), floating_ip="172.24.4.50", fixed_ip="10.0.0.10")])
    for lost in (router_namespace(world.cloud, scene.router.router_id),
                 namespace_name(world.cloud, scene.private.network_id),
                 namespace_name(world.cloud, scene.public.network_id)):
        world.apply(scene.networks, [scene.router])
        for pid, _ in networks.strays.in_namespaces([lost]):
            networks.strays.end(pid)
        netns.remove(lost)
        assert [r.error for r in world.apply(scene.networks, [scene.router]).routers] == [""]
        with scene.tap(world) as guest:
            serve_arp(guest)
            world.send("172.24.4.50", b"in-again", 7).close()
            assert guest.hears(b"in-again")


# ---- the host's own part

def test_guests_pass_the_host_only_with_nat(world: World) -> None:
    """`beyond` is a machine behind the host; it is reached under the host's address, or not at all."""
    beyond = f"{world.cloud}-beyond"
    netns.create(beyond)
    try:
        world.shell(f"ip link add up0 type veth peer name down0 netns {beyond}; ip addr add 198.51.100.1/24 dev up0;"
                    "ip link set up0 up; sysctl -qw net.ipv4.ip_forward=0")
        world.shell("ip link set lo up; ip addr add 198.51.100.2/24 dev down0; ip link set down0 up", beyond)

        def listen() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("198.51.100.2", 9000))
            sock.settimeout(0.5)
            return sock

        heard = netns.run(beyond, listen)
        scene = Scene()
        for nat, before in ((False, "0"), (False, "1"), (True, "0"), (True, "1")):
            world.shell(f"sysctl -qw net.ipv4.ip_forward={before}")
            world.nat = nat
            world.apply(scene.networks, [scene.router])
            with scene.tap(world) as guest:
                serve_arp(guest)
                answer(guest, INSIDE, "198.51.100.2", b"far", 9000)
                if nat:
                    data, source = heard.recvfrom(100)
                    assert (data, source[0]) == (b"far", "198.51.100.1")
                    heard.sendto(b"back", source)
                    assert guest.hears(b"back")
                    assert ("iifgroup" in world.shell(f"nft list table inet {world.cloud}")) == (before == "0")
                else:
                    with pytest.raises(TimeoutError):
                        heard.recvfrom(100)
            world.apply([], [])
            assert world.shell("sysctl -n net.ipv4.ip_forward").strip() == before
        heard.close()
        assert not world.inside(external.switch_file).exists()
    finally:
        netns.remove(beyond)


@pytest.mark.parametrize("nat", [False, True])
def test_the_host_itself_is_closed_to_guests(world: World, nat: bool) -> None:
    """Neither at its address in the external network nor at any other; nor are link-local addresses behind it."""
    world.shell("sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip addr add 192.0.2.7/32 dev lo;"
                "ip link add lan type veth peer name lan2; ip link set lan2 up;"
                "ip addr add 169.254.1.1/16 dev lan; ip link set lan up")
    scene, world.nat = Scene(), nat
    world.apply(scene.networks, [scene.router])

    def listen() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", 8080))
        sock.settimeout(0.5)
        return sock

    datagrams = world.inside(listen)
    with datagrams, scene.tap(world) as guest:
        serve_arp(guest)
        for address in ("172.24.4.1", "192.0.2.7"):
            answer(guest, INSIDE, address, b"in", 8080)
            with pytest.raises(TimeoutError):
                datagrams.recvfrom(100)
        before = world.shell("grep lan: /proc/self/net/dev")
        world.shell("ip neigh replace 169.254.9.9 lladdr 02:00:00:00:00:09 dev lan")
        answer(guest, INSIDE, "169.254.9.9", b"keys", 80)
        answer(guest, INSIDE, "172.24.4.1", b"last", 8080)  # by then the one before has been seen to
        with pytest.raises(TimeoutError):
            datagrams.recvfrom(100)
        assert world.shell("grep lan: /proc/self/net/dev") == before
        # what the host begins is answered: the guest's answers arrive
        scene.router = msgspec.structs.replace(scene.router, floating=[FloatingWish(
            floatingip_id=new_id(), floating_ip="172.24.4.20", fixed_ip=guest.ip)])
        world.apply(scene.networks, [scene.router])
        with world.send("172.24.4.20", b"hello") as asked:
            assert guest.hears(b"hello")
            answer(guest, INSIDE, "172.24.4.1", b"yes", asked.getsockname()[1])
            assert asked.recv(100) == b"yes"


def test_two_clouds_share_the_switch(world: World, cloud: str) -> None:
    world.shell("sysctl -qw net.ipv4.ip_forward=0")
    wish = Scene().public
    for name in ("one", "two"):
        world.inside(lambda name=name: external.forward(name, [wish], True))  # type: ignore[misc]
    world.inside(lambda: external.stop_forwarding("one"))
    assert world.shell("sysctl -n net.ipv4.ip_forward").strip() == "1"
    world.inside(lambda: external.stop_forwarding("two"))
    assert world.shell("sysctl -n net.ipv4.ip_forward").strip() == "0"
    assert world.shell("nft list ruleset") == ""


def test_the_host_takes_no_range_that_is_in_use(world: World) -> None:
    scene = Scene()
    world.shell("ip link add d0 type bridge; ip addr add 172.24.4.200/25 dev d0; ip link set d0 up")
    result = world.inside(lambda: networks.apply(world.cloud, world.state, scene.networks, True, [scene.router]))
    errors = {n.network_id: n.error for n in result.networks}
    assert "172.24.4.128/25 on d0" in errors[scene.public.network_id]
    assert "172.24.4.128/25 on d0" in result.routers[0].error
    assert not errors[scene.private.network_id]


@pytest.mark.parametrize("address", ["8.8.8.1/24", "127.0.0.5/8", "10.0.0.1/8", "169.254.169.254/32", "::1/128",
                                     "1.1.1.1", "0.0.0.0/0", "224.0.0.1/24", "fe80::1/64", "2606:4700::1/64"])
def test_the_host_takes_no_address_that_would_mislead_it(address: str) -> None:
    with pytest.raises(HostError):
        external._check(address)


# ---- IPv6

def test_a_router_announces_itself(world: World) -> None:
    scene = Scene()
    guest_port = msgspec.structs.replace(scene.guest, fixed_ips=[
        *scene.guest.fixed_ips, FixedIp(subnet_id=new_id(), ip_address="fd42:1::f816:3eff:fe00:a")])
    scene.private = msgspec.structs.replace(scene.private, ports=[guest_port])
    leg = msgspec.structs.replace(
        scene.leg, addresses=["10.0.0.1/24", "fd42:1::1/64"],
        advertisements=[Advertisement(prefix="fd42:1::/64", mode="slaac", dns_nameservers=["fd42::53"])])
    world.apply(scene.networks, [msgspec.structs.replace(scene.router, legs=[leg])])
    with scene.tap(world) as guest:
        own = bytes.fromhex("fe80000000000000f8163efffe00000a")
        body = b"\x85\0\0\0" + bytes(4) + b"\x01\x01" + bytes.fromhex(guest.mac.replace(":", ""))
        every_router = bytes.fromhex("ff020000000000000000000000000002")
        packet = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + b"\x3a\xff" + own + every_router
        head = own + every_router + len(body).to_bytes(4, "big") + b"\0\0\0\x3a"
        body = body[:2] + checksum(head + body).to_bytes(2, "big") + body[4:]
        guest.send(ethernet(guest.mac, "33:33:00:00:00:02", 0x86DD, packet + body))
        frame = guest.receive(lambda f: f[12:14] == b"\x86\xdd" and f[54] == 134, 5)
    assert frame is not None, "no router advertisement"
    assert frame[6:12].hex(":") == INSIDE
    assert frame[59] & 0xC0 == 0, "neither managed nor other"
    assert bytes.fromhex("fd420001000000000000000000000000") in frame and socket.inet_pton(10, "fd42::53") in frame
    report = world.inside(lambda: inventory.read(world.cloud, world.state))
    assert list(report.radvd_pids) == [scene.router.router_id] and report.strays == []
    world.apply(scene.networks, [scene.router])
    report = world.inside(lambda: inventory.read(world.cloud, world.state))
    assert report.radvd_pids == {} and report.strays == []


@pytest.mark.parametrize(("begin", "answer_", "well"), [
    (("10.0.0.5", "9.9.9.9"), ("9.9.9.9", "172.24.4.9"), True),
    (("10.0.0.10", "9.9.9.9"), ("9.9.9.9", "172.24.4.50"), True),
    (("10.0.0.5", "9.9.9.9"), ("9.9.9.9", "172.24.4.50"), False),
    (("9.9.9.9", "172.24.4.50"), ("10.0.0.10", "9.9.9.9"), True),
    (("9.9.9.9", "172.24.4.50"), ("10.0.0.11", "9.9.9.9"), False),
    (("9.9.9.9", "172.24.4.50"), ("172.24.4.50", "9.9.9.9"), False),
    (("9.9.9.9", "172.24.4.51"), ("10.0.0.10", "9.9.9.9"), False),
    (("9.9.9.9", "172.24.4.60"), ("10.0.0.7", "9.9.9.9"), True),
    (("9.9.9.9", "172.24.4.60"), ("10.0.0.8", "9.9.9.9"), False),
    (("10.0.0.5", "10.0.9.5"), ("10.0.9.5", "10.0.0.5"), True),
])
def test_which_connections_go(begin: tuple[str, str], answer_: tuple[str, str], well: bool) -> None:
    router = Translation({"172.24.4.50": "10.0.0.10"}, {"172.24.4.60": {"10.0.0.7"}}, "172.24.4.9")
    assert translated_well(begin, answer_, router) is well


def test_nothing_of_the_test_is_left() -> None:
    assert not [name for name in os.listdir("/run/netns") if name.endswith(("-world", "-beyond"))]
    assert not list(Path("/run").glob("cloudseed-forwarding-*.json.new"))


def test_a_floating_address_is_held_to_its_limit(world: World) -> None:
    slow = BandwidthWish(kbps=800, burst_kbit=0)  # 100 kB in a second
    scene = Scene(floating=[FloatingWish(floatingip_id=new_id(), floating_ip="172.24.4.50", fixed_ip="10.0.0.10",
                                         ingress=slow)])
    world.apply(scene.networks, [scene.router])
    with scene.tap(world) as guest:
        serve_arp(guest)
        sock = world.send("172.24.4.50", b"first", 7)
        assert guest.hears(b"first")
        got = 0
        for _ in range(600):  # 600 kB at once; a second's worth and the smallest burst pass
            world.inside(lambda: sock.sendto(b"x" * 1000, ("172.24.4.50", 7)))
            while guest.receive(lambda f: f[-4:] == b"xxxx", 0) is not None:
                got += 1
        while guest.receive(lambda f: f[-4:] == b"xxxx", 0.05) is not None:
            got += 1
        assert 100 <= got <= 350, got
        source = sock.getsockname()[1]
        sent = 0
        for _ in range(300):  # the other way is free
            answer(guest, INSIDE, "172.24.4.1", b"y" * 1000, source)
            sent += len(sock.recvfrom(2000)[0])
        assert sent == 300_000
        sock.close()
    again = world.apply(scene.networks, [scene.router])
    assert not any(r.changed for r in again.routers)
    scene.router = msgspec.structs.replace(scene.router, floating=[FloatingWish(
        floatingip_id=new_id(), floating_ip="172.24.4.50", fixed_ip="10.0.0.10", ingress=BandwidthWish(kbps=-1))])
    assert "out of range" in world.apply(scene.networks, [scene.router]).routers[0].error
