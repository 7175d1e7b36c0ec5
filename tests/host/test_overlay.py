"""Networks across hosts, as guests behind taps meet them, with every packet between the hosts counted."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cloudseed.host import inventory, netns, overlay
from cloudseed.host.paths import namespace_name
from cloudseed.host.records import DhcpPort, FixedIp, NetworkWish, PortWish, RuleWish
from cloudseed.host.surroundings import Surroundings
from tests.host.conftest import ANY_EGRESS, SUBNET, network, new_id, port
from tests.host.fleet import Fleet, Machine, end_of, on
from tests.host.frames import ARP, BROADCAST, IP, IP6, TapGuest, arp, ethernet, ipv4, ipv6, link_local, mac_bytes, udp

pytestmark = pytest.mark.real
ANY = (ANY_EGRESS, RuleWish(direction="ingress"), RuleWish(direction="egress", ethertype="IPv6"),
       RuleWish(direction="ingress", ethertype="IPv6"))
NOBODY = "00:00:00:00:00:00"
QUIET_S = 0.2


@pytest.fixture
def fleet(cloud: str, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(cloud, tmp_path, 3)
    try:
        yield made
    finally:
        made.close()


class Pair:
    """A network with one guest on the first host and one on the second; the third host has a guest too."""

    def __init__(self, fleet: Fleet, *rules: RuleWish, **fields: object) -> None:
        self.fleet = fleet
        self.a, self.b, self.c = fleet.machines
        self.ports = [port(number, *(rules or ANY), **fields) for number in (10, 11, 12)]
        self.wish = network(*self.ports)

    def apply(self, places: dict[int, Machine] | None = None) -> None:
        """Each port where `places` says, by default one on each host."""
        where = {0: self.a, 1: self.b, 2: self.c, **(places or {})}
        for machine in self.fleet.machines:
            machine.apply(self.on(machine, where))

    def on(self, machine: Machine, where: dict[int, Machine]) -> NetworkWish:
        here = [self.ports[i] for i, host in where.items() if host is machine]
        return on(self.wish, here, [end_of(self.ports[i], host) for i, host in where.items() if host is not machine])

    def guest(self, number: int, machine: Machine) -> TapGuest:
        return TapGuest(machine.cloud, self.wish.network_id, self.ports[number])


def asks(guest: TapGuest, address: str) -> str | None:
    """Ask by broadcast who has the address; the MAC of the answer."""
    guest.send(ethernet(guest.mac, BROADCAST, ARP, arp(1, (guest.mac, guest.ip), (NOBODY, address))))
    frame = guest.receive(lambda f: f[12:14] == b"\x08\x06" and f[20:22] == b"\0\2" and f[:6] == mac_bytes(guest.mac),
                          QUIET_S)
    return frame[22:28].hex(":") if frame else None


def test_guests_on_different_hosts_reach_each_other(fleet: Fleet) -> None:
    pair = Pair(fleet)
    pair.apply()
    with pair.guest(0, pair.a) as one, pair.guest(1, pair.b) as other, pair.guest(2, pair.c) as third:
        before = [machine.sent() for machine in fleet.machines]
        assert asks(one, other.ip) == other.mac
        assert [machine.sent() for machine in fleet.machines] == before  # answered on the host itself
        one.send_udp(other, b"over there")
        assert other.hears(b"over there")
        other.send_udp(one, b"and back")
        assert one.hears(b"and back")
        assert [machine.sent() for machine in fleet.machines] == [before[0] + 1, before[1] + 1, before[2]]
        assert not third.hears(b"over there", QUIET_S)


def test_neighbours_are_answered_for_in_ipv6_too(fleet: Fleet) -> None:
    pair = Pair(fleet, fixed_ips=[])
    pair.ports = [msgspec.structs.replace(p, fixed_ips=[FixedIp(subnet_id=SUBNET, ip_address=f"fd00::{n}")])
                  for n, p in zip((10, 11, 12), pair.ports, strict=True)]
    pair.wish = msgspec.structs.replace(network(*pair.ports), subnets=[], dhcp_port=None)
    pair.apply()
    with pair.guest(0, pair.a) as one, pair.guest(1, pair.b) as other:
        for target in ("fd00::11", link_local(other.mac)):
            raw = overlay.ipaddress.IPv6Address(target).packed
            group = "ff02::1:ff" + raw[13:].hex()[:2] + ":" + raw[14:].hex()
            question = bytes([135, 0, 0, 0]) + bytes(4) + raw + bytes([1, 1]) + mac_bytes(one.mac)
            to = "33:33:ff:" + raw[13:].hex(":")
            before = pair.a.sent()
            one.send(ethernet(one.mac, to, IP6, ipv6(one.ip, group, 58, question)))
            answer = one.receive(lambda f: f[12:14] == b"\x86\xdd" and f[54] == 136, 1.0)
            assert answer is not None
            assert answer[6:12] == mac_bytes(other.mac)
            assert pair.a.sent() == before
        one.send(ethernet(one.mac, other.mac, IP6, ipv6(one.ip, other.ip, 17, udp(1, 2, b"six"))))
        assert other.hears(b"six")


def test_nothing_is_flooded(fleet: Fleet) -> None:
    pair = Pair(fleet)
    pair.apply()
    with pair.guest(0, pair.a) as one, pair.guest(1, pair.b) as other:
        assert one.dhcp(1) is not None  # by this host's own server
        before = pair.a.sent()
        assert asks(one, "10.0.0.77") is None
        stranger = "fa:16:3e:00:00:77"
        frames = [
            ethernet(one.mac, BROADCAST, IP, ipv4(one.ip, "10.0.0.255", 17, udp(9, 9, b"to all"))),
            ethernet(one.mac, stranger, IP, ipv4(one.ip, "10.0.0.77", 17, udp(9, 9, b"to nobody"))),
            ethernet(one.mac, "01:00:5e:00:00:fb", IP, ipv4(one.ip, "224.0.0.251", 17, udp(9, 9, b"to some"))),
            ethernet(one.mac, BROADCAST, ARP, arp(1, (one.mac, one.ip), (NOBODY, one.ip))),  # gratuitous
            ethernet(one.mac, other.mac, IP, ipv4(one.ip, other.ip, 17, udp(68, 67, b"dhcp"))),
        ]
        for frame in frames:
            one.send(frame)
        assert not other.hears(b"to", QUIET_S)
        assert pair.a.sent() == before


def test_rules_hold_at_both_ends(fleet: Fleet) -> None:
    only_7 = RuleWish(direction="ingress", protocol="udp", port_range_min=7, port_range_max=7)
    pair = Pair(fleet, ANY_EGRESS, only_7)
    pair.apply()
    with pair.guest(0, pair.a) as one, pair.guest(1, pair.b) as other:
        one.send_udp(other, b"allowed", port=7)
        assert other.hears(b"allowed")
        other.send_udp(one, b"a reply", port=4000, source_port=7)
        assert one.hears(b"a reply")
        one.send_udp(other, b"not allowed", port=8)
        assert not other.hears(b"not allowed", QUIET_S)
        one.send_udp(other, b"in another's name", source_ip="10.0.0.12")
        assert not other.hears(b"in another's name", QUIET_S)


def test_tenants_with_equal_addresses_do_not_meet_across_hosts(fleet: Fleet) -> None:
    ours, theirs = Pair(fleet), Pair(fleet)
    theirs.wish = msgspec.structs.replace(theirs.wish, segmentation_id=4243)
    everywhere = {0: ours.a, 1: ours.b, 2: ours.c}
    for machine in fleet.machines:
        machine.apply(ours.on(machine, everywhere), theirs.on(machine, everywhere))
    with (ours.guest(0, ours.a) as one, ours.guest(1, ours.b) as other,
          theirs.guest(0, ours.a) as stranger, theirs.guest(1, ours.b) as bystander):
        one.send_udp(other, b"for us")
        assert other.hears(b"for us")
        assert not bystander.hears(b"for us", QUIET_S)
        stranger.send_udp(bystander, b"for them")
        assert bystander.hears(b"for them")
        assert not other.hears(b"for them", QUIET_S)


def test_the_host_takes_tunnel_packets_from_its_peers_only(fleet: Fleet) -> None:
    pair = Pair(fleet)
    where = {0: pair.a, 1: pair.b, 2: pair.b}
    for machine in (pair.a, pair.b):
        machine.apply(pair.on(machine, where))
    with pair.guest(0, pair.a) as one:
        inner = ethernet("fa:16:3e:00:00:0b", one.mac, IP, ipv4("10.0.0.11", one.ip, 17, udp(4000, 7, b"forged")))
        packet = struct.pack("!II", 0x08000000, 4242 << 8) + inner
        send = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
                f"s.sendto(bytes.fromhex('{packet.hex()}'), ('{pair.a.underlay}', 4789))")
        pair.c.shell(f'python3 -c "{send}"')
        assert not one.hears(b"forged", QUIET_S)
        pair.b.shell(f'python3 -c "{send}"')
        assert one.hears(b"forged")  # from a host that is trusted: so the packet itself was good


def test_no_packet_is_lost_while_entries_change(fleet: Fleet) -> None:
    pair = Pair(fleet)
    pair.apply()
    with pair.guest(0, pair.a) as one, pair.guest(1, pair.b) as other:
        moving = msgspec.structs.replace(pair.ports[2])
        for number in range(30):
            more = [port(100 + number + i) for i in range(5)]  # others come, go and change hosts meanwhile
            places = [end_of(pair.ports[1], pair.b), end_of(moving, (pair.b, pair.c)[number % 2]),
                      *(end_of(p, pair.c) for p in more)]
            pair.a.inside(lambda places=places: netns.run(  # type: ignore[misc]
                namespace_name(pair.a.cloud, pair.wish.network_id),
                lambda: overlay._join(on(pair.wish, [pair.ports[0]], places), pair.a.underlay)))
            one.send_udp(other, b"number %03d" % number)
        heard = [other.receive(lambda f: b"number " in f, 1.0) for _ in range(30)]
        assert [frame[-10:] for frame in heard if frame] == [b"number %03d" % number for number in range(30)]


def test_a_port_that_moves_is_reached_at_its_new_host_at_once(fleet: Fleet) -> None:
    pair = Pair(fleet)
    pair.apply()
    with pair.guest(0, pair.a) as one, pair.guest(1, pair.b) as old:
        one.send_udp(old, b"before")
        assert old.hears(b"before")
        # prepared on the new host: a tap and rules there, while everybody else sends to the old one
        waiting = on(pair.wish, [pair.ports[1], pair.ports[2]],
                     [end_of(pair.ports[0], pair.a), end_of(pair.ports[1], pair.b)])
        pair.c.apply(waiting)
        with pair.guest(1, pair.c) as new, pair.guest(2, pair.c) as beside:
            one.send_udp(old, b"still")
            assert old.hears(b"still")
            beside.send_udp(old, b"beside")
            assert old.hears(b"beside")
            assert not new.hears(b"beside", QUIET_S)
            pair.apply({1: pair.c})
            one.send_udp(new, b"after")
            assert new.hears(b"after")
            beside.send_udp(new, b"on its host")
            assert new.hears(b"on its host")
            new.send_udp(one, b"answer")
            assert one.hears(b"answer")


def test_applying_twice_changes_nothing_and_nothing_is_left(fleet: Fleet) -> None:
    pair = Pair(fleet)
    wish = pair.on(pair.a, {0: pair.a, 1: pair.b, 2: pair.c})
    assert pair.a.apply(wish).networks[0].changed
    assert not pair.a.apply(wish).networks[0].changed
    report = pair.a.inside(lambda: inventory.read(pair.a.cloud, pair.a.paths))
    assert list(report.tunnels.values()) == [4242]
    assert report.underlay_rules
    assert "mtu 1450" in pair.a.shell("ip -o link show vxlan", report.namespaces[0])
    # not shared any more: the tunnel goes, the network stays
    pair.a.apply(msgspec.structs.replace(wish, segmentation_id=None, remotes=[]))
    report = pair.a.inside(lambda: inventory.read(pair.a.cloud, pair.a.paths))
    assert not report.tunnels
    assert not report.underlay_rules
    pair.a.apply(msgspec.structs.replace(wish, segmentation_id=99))
    pair.a.inside(lambda: inventory.purge(pair.a.cloud, pair.a.paths))
    report = pair.a.inside(lambda: inventory.read(pair.a.cloud, pair.a.paths))
    assert not report.tunnels
    assert not report.underlay_rules
    assert "vxlan" not in pair.a.shell("ip -o link")


def test_a_host_without_an_underlay_has_no_tunnel() -> None:
    pair = network(port(10))
    shared = msgspec.structs.replace(pair, segmentation_id=7, remotes=[])
    assert overlay.within(shared, Surroundings()).segmentation_id is None
    assert overlay.within(shared, Surroundings(underlay="198.18.0.1")).segmentation_id == 7


def test_the_dhcp_server_of_another_host_is_reached_by_its_address(fleet: Fleet) -> None:
    """A guest that moved asks the DNS server that it was told of."""
    pair = Pair(fleet)
    server = DhcpPort(port_id=new_id(), mac_address="fa:16:3e:ff:ff:03",
                      fixed_ips=[FixedIp(subnet_id=SUBNET, ip_address="10.0.0.3")])
    stays = msgspec.structs.replace(pair.on(pair.b, {1: pair.b, 0: pair.a}), dhcp_port=server)
    as_remote = PortWish(port_id=server.port_id, mac_address=server.mac_address, fixed_ips=server.fixed_ips)
    here = pair.on(pair.a, {0: pair.a, 1: pair.b})
    pair.a.apply(msgspec.structs.replace(here, remotes=[*here.remotes, end_of(as_remote, pair.b)]))
    pair.b.apply(stays)
    with pair.guest(0, pair.a) as one:
        assert asks(one, "10.0.0.3") == server.mac_address
        query = struct.pack("!HHHHHH", 77, 0x100, 1, 0, 0, 0) + b"\x0fhost-10-0-0-11\x0eopenstacklocal\0"
        query = query.replace(b"\x0fhost", b"\x0ehost") + struct.pack("!HH", 1, 1)
        one.send(ethernet(one.mac, server.mac_address, IP, ipv4(one.ip, "10.0.0.3", 17, udp(5353, 53, query))))
        answer = one.receive(lambda f: f[12:14] == b"\x08\x00" and f[34:36] == b"\0\x35", 2.0)
        assert answer is not None
        assert bytes([10, 0, 0, 11]) in answer[42:]
