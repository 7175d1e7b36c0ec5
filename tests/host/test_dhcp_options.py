"""What single ports are told besides, IPv6's DHCP, and groups that track no connections; seen from a tap."""

from __future__ import annotations

import os
import socket
import struct
import time

import msgspec
import pytest

from cloudseed.host import dhcp, dhcp_files, networks
from cloudseed.host.paths import StatePaths
from cloudseed.host.records import DhcpOption, FixedIp, NetworkWish, PortWish, RuleWish, SubnetWish
from tests.host.conftest import ANY_EGRESS, network, new_id, port
from tests.host.frames import IP6, TapGuest, ethernet, ipv6, link_local, mac_bytes, udp

pytestmark = pytest.mark.real
SUBNET6 = "6c6c6c6c-0000-4000-8000-000000000001"
ALL_SERVERS, ALL_SERVERS_MAC = "ff02::1:2", "33:33:00:01:00:02"


def test_a_port_is_told_its_own_options(cloud: str, state: StatePaths) -> None:
    options = [DhcpOption(name="ntp-server", value="192.0.2.123"), DhcpOption(name="no-such-option", value="x"),
               DhcpOption(name="26", value="1300"), DhcpOption(name="bad\nname", value="x"),
               DhcpOption(name="domain-name", value="evil\ndhcp-script=/bin/sh")]
    own, other = port(10, ANY_EGRESS, dhcp_options=options), port(11, ANY_EGRESS)
    wish = network(own, other)
    assert not networks.apply(cloud, state, [wish], full=True).networks[0].error
    answers = {}
    for each in (own, other):
        with TapGuest(cloud, wish.network_id, each) as guest:
            answers[each.port_id] = guest.dhcp(1)
    mine, theirs = answers[own.port_id], answers[other.port_id]
    assert mine is not None and theirs is not None
    assert mine.options[42] == socket.inet_aton("192.0.2.123") and 42 not in theirs.options
    assert b"evil" not in mine.options.get(15, b"")
    assert int.from_bytes(theirs.options[26], "big") == 1450
    # a reload after a lease, with options in play, leaves dnsmasq alive
    with TapGuest(cloud, wish.network_id, own) as guest:
        assert guest.dhcp(3, requested="10.0.0.10") is not None
    before = dhcp.running(state.network(wish.network_id))
    networks.apply(cloud, state, [msgspec.structs.replace(wish, ports=[own, other, port(12)])], full=True)
    with TapGuest(cloud, wish.network_id, own) as guest:
        assert guest.dhcp(1) is not None
    assert dhcp.running(state.network(wish.network_id)) == before


def _network6(mode: str | None) -> tuple[NetworkWish, PortWish]:
    guest = port(10, ANY_EGRESS, hostname="six")
    address = "fd42:7::f816:3eff:fe00:a" if mode == "dhcpv6-stateless" else "fd42:7::1234"
    guest = msgspec.structs.replace(guest, fixed_ips=[FixedIp(subnet_id=SUBNET6, ip_address=address)])
    wish = network(guest)
    subnet = SubnetWish(subnet_id=SUBNET6, cidr="fd42:7::/64", gateway_ip="fd42:7::1",
                        dns_nameservers=["fd42::53"], ipv6_address_mode=mode)  # type: ignore[arg-type]
    assert wish.dhcp_port is not None
    server = msgspec.structs.replace(wish.dhcp_port, fixed_ips=[
        *wish.dhcp_port.fixed_ips, FixedIp(subnet_id=SUBNET6, ip_address="fd42:7::2")])
    return msgspec.structs.replace(wish, subnets=[*wish.subnets, subnet], dhcp_port=server), guest


def _ask6(guest: TapGuest, kind: int, options: bytes) -> bytes | None:
    """Send a DHCPv6 message and return the answer's; neighbour solicitations are answered meanwhile."""
    own, number = link_local(guest.mac), os.urandom(3)
    duid = struct.pack("!HHHH", 1, 10, 3, 1) + mac_bytes(guest.mac)
    wants = struct.pack("!HHHH", 6, 4, 23, 24)
    body = bytes([kind]) + number + duid + wants + options
    packet = ipv6(own, ALL_SERVERS, 17, udp(546, 547, body))
    guest.send(ethernet(guest.mac, ALL_SERVERS_MAC, IP6, packet))
    until = time.monotonic() + 6
    while time.monotonic() < until:
        frame = guest.receive(lambda f: f[12:14] == b"\x86\xdd" and (number in f or f[54] == 135), 2)
        if frame is not None and frame[20] == 17:
            return frame[62:]
        if frame is not None and frame[62:78] == socket.inet_pton(socket.AF_INET6, own):
            asker = socket.inet_ntop(socket.AF_INET6, frame[22:38])
            claim = struct.pack("!BBHI", 136, 0, 0, 0x60000000) + frame[62:78] + b"\x02\x01" + mac_bytes(guest.mac)
            guest.send(ethernet(guest.mac, frame[6:12].hex(":"), IP6, ipv6(own, asker, 58, claim)))
    return None


@pytest.mark.parametrize("mode", ["dhcpv6-stateful", None])
def test_a_port_gets_its_ipv6_address_by_dhcp(cloud: str, state: StatePaths, mode: str | None) -> None:
    wish, own = _network6(mode)
    assert not networks.apply(cloud, state, [wish], full=True).networks[0].error
    assert not networks.apply(cloud, state, [wish], full=True).networks[0].changed
    with TapGuest(cloud, wish.network_id, own) as guest:
        answer = _ask6(guest, 1, struct.pack("!HHIII", 3, 12, 7, 0, 0))  # SOLICIT with an IA_NA
    assert answer is not None and answer[0] == 2
    assert socket.inet_pton(socket.AF_INET6, "fd42:7::1234") in answer
    assert socket.inet_pton(socket.AF_INET6, "fd42::53") in answer


def test_a_port_with_an_address_of_its_own_making_is_told_the_rest(cloud: str, state: StatePaths) -> None:
    wish, own = _network6("dhcpv6-stateless")
    assert not networks.apply(cloud, state, [wish], full=True).networks[0].error
    with TapGuest(cloud, wish.network_id, own) as guest:
        answer = _ask6(guest, 11, b"")  # INFORMATION-REQUEST
    assert answer is not None and answer[0] == 7
    assert socket.inet_pton(socket.AF_INET6, "fd42::53") in answer


def test_slaac_needs_no_dhcp() -> None:
    wish, _ = _network6("slaac")
    assert "fd42" not in dhcp_files.hosts_file(wish) + dhcp_files.options_file(wish)


@pytest.mark.parametrize("forged", ["server", "advertisement", "neighbour", "source"])
def test_a_guest_plays_no_other_part_in_ipv6(cloud: str, state: StatePaths, forged: str) -> None:
    any_ = [RuleWish(direction=d, ethertype=v) for d in ("ingress", "egress") for v in ("IPv4", "IPv6")]  # type: ignore[arg-type]
    wish, own = _network6("dhcpv6-stateful")
    own = msgspec.structs.replace(own, rules=any_)
    other = msgspec.structs.replace(port(11, *any_), fixed_ips=[
        FixedIp(subnet_id=SUBNET6, ip_address="fd42:7::5678")])
    wish = msgspec.structs.replace(wish, ports=[own, other])
    networks.apply(cloud, state, [wish], full=True)
    mine, theirs = link_local(own.mac_address), link_local(other.mac_address)
    mark = os.urandom(8)
    packets = {
        "server": ipv6(mine, theirs, 17, udp(547, 546, b"\x07abc" + mark)),
        "advertisement": ipv6(mine, "ff02::1", 58, struct.pack("!BBHI", 134, 0, 0, 0x40000708) + bytes(8) + mark),
        "neighbour": ipv6(mine, "ff02::1", 58, struct.pack("!BBHI", 136, 0, 0, 0x20000000)
                          + socket.inet_pton(socket.AF_INET6, "fd42:7::5678") + mark),
        "source": ipv6("fd42:7::9999", "fd42:7::5678", 17, udp(5, 5, mark))}
    with TapGuest(cloud, wish.network_id, own) as guest, TapGuest(cloud, wish.network_id, other) as listener:
        guest.send(ethernet(own.mac_address, other.mac_address, IP6, packets[forged]))
        guest.send(ethernet(own.mac_address, other.mac_address, IP6, ipv6(
            "fd42:7::1234", "fd42:7::5678", 17, udp(5, 5, b"honest" + mark[::-1]))))
        first = listener.receive(lambda f: mark in f or mark[::-1] in f)
    assert first is not None and b"honest" in first


@pytest.mark.parametrize("stateful", [True, False])
def test_stateless_groups_let_no_reply_in_by_itself(cloud: str, state: StatePaths, stateful: bool) -> None:
    asks = port(10, ANY_EGRESS, stateful=stateful)
    replies = port(11, ANY_EGRESS, RuleWish(direction="ingress"))
    wish = network(asks, replies, network_id=new_id())
    networks.apply(cloud, state, [wish], full=True)
    with TapGuest(cloud, wish.network_id, asks) as one, TapGuest(cloud, wish.network_id, replies) as two:
        one.send_udp(two, b"question", 7, source_port=4000)
        assert two.hears(b"question")
        two.send_udp(one, b"answer", 4000, source_port=7)
        assert one.hears(b"answer", 2.0 if stateful else 0.4) is stateful
