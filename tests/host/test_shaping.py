"""What limits a port, measured at its tap."""

from __future__ import annotations

import time

import msgspec
import pytest

from cloudseed.host import networks
from cloudseed.host.errors import HostError
from cloudseed.host.paths import StatePaths
from cloudseed.host.records import BandwidthWish, NetworkWish, PacketRateWish, PortWish, QosWish, RuleWish
from tests.host.conftest import ANY_EGRESS, network, port
from tests.host.frames import TapGuest

pytestmark = pytest.mark.real
ANY_INGRESS = RuleWish(direction="ingress")
PAYLOAD = 1000
FRAME = PAYLOAD + 42  # with the headers of UDP, IP and Ethernet
FAST = BandwidthWish(kbps=1_000_000, burst_kbit=1_000_000)


def limited(wish: NetworkWish, own: PortWish, qos: QosWish | None) -> NetworkWish:
    """The same network with that port's limits changed."""
    changed = [msgspec.structs.replace(p, qos=qos) if p.port_id == own.port_id else p for p in wish.ports]
    return msgspec.structs.replace(wish, ports=changed)


def passed(sender: TapGuest, receiver: TapGuest, seconds: float, size: int = PAYLOAD) -> int:
    """How many packets come through while the sender sends without a pause."""
    sender.send_udp(receiver, b"hello")
    assert receiver.hears(b"hello")
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        for _ in range(10):
            sender.send_udp(receiver, b"x" * size)
        while receiver.receive(lambda frame: frame[-8:] == b"x" * 8, 0.0005) is not None:
            count += 1
    return count


def test_bandwidth_is_held_down_in_both_directions(cloud: str, state: StatePaths) -> None:
    one, two = port(10, ANY_EGRESS, ANY_INGRESS), port(11, ANY_EGRESS, ANY_INGRESS)
    wish = network(one, two)
    networks.apply(cloud, state, [wish], full=True)
    slow = BandwidthWish(kbps=1000, burst_kbit=80)
    with TapGuest(cloud, wish.network_id, one) as first, TapGuest(cloud, wish.network_id, two) as second:
        free = passed(first, second, 0.4)
        for qos in (QosWish(egress=slow, ingress=FAST), None, QosWish(ingress=slow, egress=FAST)):
            changed = limited(wish, one, qos)
            assert networks.apply(cloud, state, [changed], full=True).networks[0].changed
            assert not networks.apply(cloud, state, [changed], full=True).networks[0].changed
            rates = {}
            for name, sender, receiver in (("egress", first, second), ("ingress", second, first)):
                while receiver.receive(lambda frame: True, 0.2) is not None:
                    pass  # what waited in a queue
                rates[name] = passed(sender, receiver, 1.5) * FRAME * 8 / 1.5 / 1000
            for name, rate in rates.items():
                if qos is not None and getattr(qos, name) is slow:
                    assert 500 < rate < 1200, (qos, rates)
                else:
                    assert rate > 4000, (qos, rates)
    assert free * FRAME * 8 / 0.4 / 1000 > 4000


def test_a_new_limit_takes_the_place_of_the_old_one_and_leaves_nothing(cloud: str, state: StatePaths) -> None:
    one = port(10, ANY_EGRESS, ANY_INGRESS)
    wish = network(one)
    for kbps in (1000, 2000, 0, 5_000, 2**31 - 1):
        changed = limited(wish, one, QosWish(egress=BandwidthWish(kbps=kbps), ingress=BandwidthWish(kbps=kbps)))
        networks.apply(cloud, state, [changed], full=True)
        assert not networks.apply(cloud, state, [changed], full=True).networks[0].changed, kbps
    tiny = limited(wish, one, QosWish(egress=BandwidthWish(kbps=1), ingress=BandwidthWish(kbps=1, burst_kbit=2**31)))
    networks.apply(cloud, state, [tiny], full=True)
    assert not networks.apply(cloud, state, [tiny], full=True).networks[0].changed
    assert not networks.apply(cloud, state, [network(network_id=wish.network_id)], full=True).networks[0].error
    assert networks.apply(cloud, state, [], full=True).removed_namespaces


def test_packets_are_counted_and_marked(cloud: str, state: StatePaths) -> None:
    one, two = port(10, ANY_EGRESS, ANY_INGRESS), port(11, ANY_EGRESS, ANY_INGRESS)
    wish = limited(network(one, two), one, QosWish(
        egress_packets=PacketRateWish(pps=50, burst=5), ingress_packets=PacketRateWish(pps=100, burst=5),
        dscp_mark=46))  # fmt: skip
    networks.apply(cloud, state, [wish], full=True)
    with TapGuest(cloud, wish.network_id, one) as first, TapGuest(cloud, wish.network_id, two) as second:
        second.send_udp(first, b"unmarked")
        first.send_udp(second, b"marked")
        marked = second.receive(lambda frame: b"marked" in frame)
        plain = first.receive(lambda frame: b"unmarked" in frame)
        assert marked is not None and plain is not None
        assert (marked[15] >> 2, plain[15] >> 2) == (46, 0)
        assert 30 <= passed(first, second, 1.0, 100) <= 75
        assert 70 <= passed(second, first, 1.0, 100) <= 140


def test_limits_that_make_no_sense_are_refused(cloud: str, state: StatePaths) -> None:
    one = port(10, ANY_EGRESS)
    for qos in (QosWish(dscp_mark=64), QosWish(egress=BandwidthWish(kbps=-1)),
                QosWish(ingress=BandwidthWish(kbps=1, burst_kbit=2**60)),
                QosWish(egress_packets=PacketRateWish(pps=2**50))):  # fmt: skip
        result = networks.apply(cloud, state, [limited(network(one), one, qos)], full=True)
        assert "limit" in (result.networks[0].error or "") or "DSCP" in (result.networks[0].error or "")
    with pytest.raises(HostError):
        networks._check(limited(network(one), one, QosWish(dscp_mark=-1)))
