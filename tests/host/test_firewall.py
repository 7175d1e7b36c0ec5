"""Security groups and anti-spoofing, as packets meet them, and the text that makes it so."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import msgspec
import pytest

from cloudseed.host import firewall, networks
from cloudseed.host.errors import HostError
from cloudseed.host.paths import StatePaths, namespace_name
from cloudseed.host.records import AddressPair, FixedIp, NetworkWish, PortWish, RuleWish
from tests.host.conftest import ANY_EGRESS, SUBNET, network, port
from tests.host.frames import (
    ARP,
    BROADCAST,
    IP,
    IP6,
    VLAN,
    TapGuest,
    arp,
    checksum,
    ethernet,
    ipv4,
    mac_bytes,
    tcp,
    udp,
)

UDP_7 = RuleWish(direction="ingress", protocol="udp", port_range_min=7, port_range_max=7)
SSH = RuleWish(direction="ingress", protocol="tcp", port_range_min=22, port_range_max=22)
ANY_EGRESS_6 = RuleWish(direction="egress", ethertype="IPv6")
SYN, SYN_ACK = 2, 18
QUIET_S = 0.15  # how long to listen for what must not come; what may come takes under a millisecond

Wire = Callable[..., tuple[NetworkWish, list[TapGuest]]]


@pytest.fixture
def wire(cloud: str, state: StatePaths) -> Iterator[Wire]:
    """Apply a network with these ports and sit behind each of them."""
    with ExitStack() as stack:

        def make(*ports: PortWish) -> tuple[NetworkWish, list[TapGuest]]:
            wish = network(*ports)
            result = networks.apply(cloud, state, [wish], full=True)
            assert [status.up for status in result.ports] == [True] * len(ports), result
            return wish, [stack.enter_context(TapGuest(cloud, wish.network_id, p)) for p in ports]

        yield make


@pytest.mark.real
def test_a_port_without_rules_receives_nothing_and_sends_nothing(wire: Wire) -> None:
    _, (one, other) = wire(port(10), port(11, ANY_EGRESS))
    one.send_udp(other, b"from one")
    other.send_udp(one, b"from other")
    assert not other.hears(b"from one", QUIET_S)
    assert not one.hears(b"from other", QUIET_S)


@pytest.mark.real
def test_a_rule_opens_a_port_and_replies_need_none(wire: Wire) -> None:
    _, (client, server) = wire(port(10, ANY_EGRESS), port(11, UDP_7))
    client.send_udp(server, b"question", port=7)
    assert server.hears(b"question")
    server.send_udp(client, b"answer", port=4000, source_port=7)
    assert client.hears(b"answer")
    client.send_udp(server, b"another port", port=8)
    assert not server.hears(b"another port", QUIET_S)
    # the server has no egress rule: only replies leave it
    server.send_udp(client, b"on its own", port=9999, source_port=7777)
    assert not client.hears(b"on its own", QUIET_S)


@pytest.mark.real
def test_tcp_is_stateful(wire: Wire) -> None:
    _, (client, server) = wire(port(10, ANY_EGRESS), port(11, SSH))

    def is_syn(source: int, target: int, flags: int) -> Callable[[bytes], bool]:
        return lambda f: f[34:38] == struct.pack("!HH", source, target) and f[47] == flags

    client.send(ethernet(client.mac, server.mac, IP, tcp((client.ip, 5000), (server.ip, 22), SYN)))
    assert server.receive(is_syn(5000, 22, SYN)) is not None
    answer = tcp((server.ip, 22), (client.ip, 5000), SYN_ACK, seq=9, ack=2)
    server.send(ethernet(server.mac, client.mac, IP, answer))
    assert client.receive(is_syn(22, 5000, SYN_ACK)) is not None
    client.send(ethernet(client.mac, server.mac, IP, tcp((client.ip, 5001), (server.ip, 23), SYN)))
    assert server.receive(is_syn(5001, 23, SYN), QUIET_S) is None
    # an answer to a question that nobody asked
    stray = tcp((server.ip, 22), (client.ip, 6000), SYN_ACK, seq=9, ack=2)
    server.send(ethernet(server.mac, client.mac, IP, stray))
    assert client.receive(is_syn(22, 6000, SYN_ACK), QUIET_S) is None


@pytest.mark.real
def test_a_rule_for_a_remote_group_admits_its_members_only(wire: Wire) -> None:
    from_one = msgspec.structs.replace(UDP_7, remote_cidrs=["10.0.0.10"])
    from_nobody = msgspec.structs.replace(UDP_7, remote_cidrs=[])
    _, (one, two, server, closed) = wire(
        port(10, ANY_EGRESS), port(12, ANY_EGRESS), port(11, from_one), port(13, from_nobody)
    )
    one.send_udp(server, b"member")
    two.send_udp(server, b"stranger")
    one.send_udp(closed, b"anybody")
    assert server.hears(b"member")
    assert not server.hears(b"stranger", QUIET_S)
    assert not closed.hears(b"anybody", QUIET_S)


@pytest.mark.real
def test_new_rules_take_effect_at_once_on_connections_too(wire: Wire, cloud: str, state: StatePaths) -> None:
    wish, (client, server) = wire(port(10, ANY_EGRESS), port(11))
    client.send_udp(server, b"closed")
    assert not server.hears(b"closed", QUIET_S)
    opened = msgspec.structs.replace(wish.ports[1], rules=[UDP_7])
    networks.apply(cloud, state, [msgspec.structs.replace(wish, ports=[wish.ports[0], opened])], full=True)
    client.send_udp(server, b"open")
    assert server.hears(b"open")
    server.send_udp(client, b"reply", port=4000, source_port=7)
    assert client.hears(b"reply")
    # a change that still permits the connection leaves it alone: only it lets the server speak
    other = msgspec.structs.replace(opened, rules=[UDP_7, SSH])
    networks.apply(cloud, state, [msgspec.structs.replace(wish, ports=[wish.ports[0], other])], full=True)
    server.send_udp(client, b"reply again", port=4000, source_port=7)
    assert client.hears(b"reply again")
    # and one that does not permits neither end of it
    networks.apply(cloud, state, [wish], full=True)
    client.send_udp(server, b"still")
    assert not server.hears(b"still", QUIET_S)
    server.send_udp(client, b"late reply", port=4000, source_port=7)
    assert not client.hears(b"late reply", QUIET_S)


@pytest.mark.real
def test_nobody_sends_under_anothers_name(wire: Wire) -> None:
    _, (thief, server) = wire(port(10, ANY_EGRESS, ANY_EGRESS_6), port(11, UDP_7))
    thief.send_udp(server, b"other ip", source_ip="10.0.0.12")
    thief.send_udp(server, b"other mac", source_mac="fa:16:3e:00:00:0c")
    tag = struct.pack("!HH", 5, IP) + ipv4(thief.ip, server.ip, 17, udp(4000, 7, b"in a vlan"))
    thief.send(ethernet(thief.mac, server.mac, VLAN, tag))
    thief.send(ethernet(thief.mac, server.mac, 0x88CC, b"other protocol"))
    thief.send(ethernet(thief.mac, server.mac, IP6, b"\x60" + bytes(39) + b"ipv6 without an address"))
    claim = arp(2, (thief.mac, "10.0.0.1"), (server.mac, server.ip))
    thief.send(ethernet(thief.mac, server.mac, ARP, claim))
    forged = arp(2, ("fa:16:3e:00:00:0c", thief.ip), (server.mac, server.ip))
    thief.send(ethernet(thief.mac, server.mac, ARP, forged))
    thief.send_udp(server, b"itself")
    heard = []
    while (frame := server.receive(lambda f: f[6:12] != mac_bytes(server.mac), QUIET_S)) is not None:
        heard.append(frame)
    assert [f[-6:] for f in heard if mac_bytes(thief.mac) in f or b"o" in f[42:]] == [b"itself"]
    honest = arp(1, (thief.mac, thief.ip), ("00:00:00:00:00:00", server.ip))
    thief.send(ethernet(thief.mac, BROADCAST, ARP, honest))
    assert server.hears(honest)


@pytest.mark.real
def test_guests_play_neither_dhcp_server_nor_router(wire: Wire) -> None:
    v6 = FixedIp(subnet_id=SUBNET, ip_address="fd00::10")
    rogue = port(10, ANY_EGRESS, ANY_EGRESS_6)
    rogue = msgspec.structs.replace(rogue, fixed_ips=[*rogue.fixed_ips, v6])
    anything = [RuleWish(direction="ingress", ethertype=e) for e in ("IPv4", "IPv6")]
    _, (guest, victim) = wire(rogue, port(11, *anything))
    guest.send_udp(victim, b"rogue offer", port=68, source_port=67)
    assert not victim.hears(b"rogue offer", QUIET_S)

    def icmp6(kind: int, text: bytes) -> bytes:
        source, target = bytes.fromhex("fd00" + "0" * 26 + "10"), bytes.fromhex("ff02" + "0" * 27 + "1")
        body = struct.pack("!BBH", kind, 0, 0) + bytes(4) + source + text
        # connection tracking takes a wrong checksum for an invalid packet
        total = checksum(source + target + struct.pack("!II", len(body), 58) + body)
        body = body[:2] + struct.pack("!H", total) + body[4:]
        return b"\x60" + bytes(3) + struct.pack("!HBB", len(body), 58, 255) + source + target + body

    guest.send(ethernet(guest.mac, "33:33:00:00:00:01", IP6, icmp6(134, b"rogue router")))
    assert not victim.hears(b"rogue router", QUIET_S)
    guest.send(ethernet(guest.mac, "33:33:00:00:00:01", IP6, icmp6(136, b"own neighbour")))
    assert victim.hears(b"own neighbour")


@pytest.mark.real
def test_allowed_address_pairs_may_be_used(wire: Wire) -> None:
    pairs = [AddressPair(ip_address="10.0.9.0/24")]
    _, (router, server) = wire(port(10, ANY_EGRESS, allowed_address_pairs=pairs), port(11, UDP_7))
    router.send_udp(server, b"from behind", source_ip="10.0.9.77")
    assert server.hears(b"from behind")


@pytest.mark.real
def test_without_port_security_everything_passes(wire: Wire) -> None:
    _, (free, other) = wire(port(10, port_security_enabled=False), port(11, port_security_enabled=False))
    free.send_udp(other, b"as another", source_ip="203.0.113.9", source_mac="fa:16:3e:00:00:0c")
    assert other.hears(b"as another")


@pytest.mark.real
def test_many_ports_with_one_group_make_few_chains(cloud: str) -> None:
    members = [f"10.0.0.{n}/32" for n in range(10, 210)]
    group = [ANY_EGRESS, msgspec.structs.replace(SSH, remote_cidrs=members)]
    rules = firewall.ruleset(cloud, network(*(port(n, *group) for n in range(10, 210))))
    assert rules.count("chain ingress-") == 1
    subprocess.run(["nft", "-c", "-f", "-"], input=rules, text=True, check=True)


@pytest.mark.real
@pytest.mark.parametrize(
    "rule",
    [
        RuleWish(direction="ingress", protocol="icmp"),
        RuleWish(direction="ingress", protocol="icmp", port_range_min=8, port_range_max=0),
        RuleWish(direction="ingress", protocol="icmp", ethertype="IPv6", port_range_min=128),
        RuleWish(direction="ingress", protocol="ipv6-icmp", ethertype="IPv6"),
        RuleWish(direction="egress", protocol="sctp", port_range_min=1, port_range_max=65535),
        RuleWish(direction="egress", protocol="112"),
        RuleWish(direction="egress", protocol="vrrp", remote_cidrs=["224.0.0.18/32"]),
        RuleWish(direction="egress", remote_cidrs=["0.0.0.0/0"]),
        RuleWish(direction="ingress", remote_cidrs=["10.0.0.0/8", "10.1.0.0/16", "10.0.0.5"]),
        RuleWish(direction="ingress", ethertype="IPv6", protocol="tcp", remote_cidrs=["fd00::/64", "10.0.0.0/8"]),
        RuleWish(direction="ingress", protocol="any"),
        RuleWish(direction="ingress", protocol="0"),
    ],
)
def test_nft_takes_every_kind_of_rule(cloud: str, rule: RuleWish) -> None:
    text = firewall.ruleset(cloud, network(port(10, rule)))
    subprocess.run(["nft", "-c", "-f", "-"], input=text, text=True, check=True)


@pytest.mark.parametrize(
    "rule",
    [
        RuleWish(direction="ingress", protocol="tcp; accept"),
        RuleWish(direction="ingress", protocol="256"),
        RuleWish(direction="ingress", protocol="tcp", port_range_min=80, port_range_max=22),
        RuleWish(direction="ingress", protocol="tcp", port_range_min=-1, port_range_max=22),
        RuleWish(direction="ingress", protocol="icmp", port_range_min=8, port_range_max=256),
        RuleWish(direction="ingress", remote_cidrs=["10.0.0.0/8 accept"]),
    ],
)
def test_a_senseless_rule_is_refused(rule: RuleWish) -> None:
    with pytest.raises(HostError) as caught:
        firewall.ruleset("t", network(port(10, rule)))
    assert caught.value.code == "invalid"


def test_the_text_does_not_depend_on_the_order_of_rules_or_ports() -> None:
    one, two = port(10, ANY_EGRESS, SSH), port(11, SSH, ANY_EGRESS)
    wish = network(one, two)
    turned = msgspec.structs.replace(wish, ports=[two, msgspec.structs.replace(one, rules=list(reversed(one.rules)))])
    assert firewall.ruleset("t", wish) == firewall.ruleset("t", turned)


@pytest.mark.real
def test_rules_that_somebody_removed_come_back(wire: Wire, cloud: str, state: StatePaths) -> None:
    wish, (client, server) = wire(port(10, ANY_EGRESS), port(11))
    namespace = namespace_name(cloud, wish.network_id)
    subprocess.run(["ip", "netns", "exec", namespace, "nft", "flush", "ruleset"], check=True)
    client.send_udp(server, b"no rules")
    assert server.hears(b"no rules")
    assert networks.apply(cloud, state, [wish], full=True).networks[0].changed
    client.send_udp(server, b"rules again", source_port=4002)
    assert not server.hears(b"rules again", QUIET_S)
