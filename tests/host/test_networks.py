"""Wiring: what a guest behind a tap sees, and what is left of a network that goes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import msgspec
import pytest

from cloudseed.host import dhcp, dhcp_files, networks
from cloudseed.host.paths import StatePaths, namespace_name, tap_name
from cloudseed.host.records import FixedIp, HostRoute, NetworkWish, PortWish
from tests.host.conftest import ANY_EGRESS, SUBNET, Host, network, new_id, port
from tests.host.frames import ARP, BROADCAST, TapGuest, arp, ethernet

pytestmark = pytest.mark.real


async def test_applying_twice_changes_nothing(host: Host) -> None:
    wish = network(port(10, ANY_EGRESS), port(11))
    first = await host.client.apply_networks([wish], full=True)
    second = await host.client.apply_networks([wish], full=True)
    assert [status.up for status in first.ports] == [True, True]
    assert first.networks[0].changed
    assert not second.networks[0].changed
    assert second.removed_namespaces == []


def test_dhcp_answers_with_all_that_a_guest_needs(cloud: str, state: StatePaths) -> None:
    own = port(10, ANY_EGRESS, hostname="web-1")
    wish = network(own, mtu=1442)
    subnet = msgspec.structs.replace(
        wish.subnets[0], host_routes=[HostRoute(destination="192.168.9.0/24", nexthop="10.0.0.9")]
    )
    wish = msgspec.structs.replace(wish, subnets=[subnet])
    networks.apply(cloud, state, [wish], full=True)
    with TapGuest(cloud, wish.network_id, own) as guest:
        offer = guest.dhcp(1)
        assert offer is not None
        assert (offer.kind, offer.address) == (2, "10.0.0.10")
        ack = guest.dhcp(3, requested="10.0.0.10")
    assert ack is not None
    assert ack.kind == 5
    assert ack.options[1] == socket.inet_aton("255.255.255.0")
    assert ack.options[3] == socket.inet_aton("10.0.0.1")
    assert ack.options[6] == socket.inet_aton("192.0.2.53")
    assert int.from_bytes(ack.options[26], "big") == 1442
    assert int.from_bytes(ack.options[51], "big") == 86400
    assert ack.options[12] == b"web-1"
    metadata = bytes([32, 169, 254, 169, 254]) + socket.inet_aton("10.0.0.2")
    default = bytes([0]) + socket.inet_aton("10.0.0.1")
    other = bytes([24, 192, 168, 9]) + socket.inet_aton("10.0.0.9")
    assert ack.options[121] == other + metadata + default


def test_a_machine_unknown_to_the_network_gets_no_address(cloud: str, state: StatePaths) -> None:
    own = port(10, ANY_EGRESS, port_security_enabled=False)
    wish = network(own)
    networks.apply(cloud, state, [wish], full=True)
    with TapGuest(cloud, wish.network_id, own) as guest:
        guest.mac = "fa:16:3e:00:00:99"
        assert guest.dhcp(1, timeout_s=0.5) is None
        guest.mac = own.mac_address
        assert guest.dhcp(1) is not None


def test_dhcp_knows_a_new_port_at_once_and_keeps_running(cloud: str, state: StatePaths) -> None:
    wish = network(port(10, ANY_EGRESS))
    networks.apply(cloud, state, [wish], full=True)
    before = dhcp.running(state.network(wish.network_id))
    new = port(11, ANY_EGRESS)
    networks.apply(cloud, state, [msgspec.structs.replace(wish, ports=[*wish.ports, new])], full=True)
    with TapGuest(cloud, wish.network_id, new) as guest:
        answer = guest.dhcp(1)
    assert answer is not None
    assert answer.address == "10.0.0.11"
    assert dhcp.running(state.network(wish.network_id)) == before


@pytest.mark.parametrize("saved", [False, True])
def test_dhcp_knows_what_was_written_by_one_who_was_killed_before_saying_so(
    cloud: str, state: StatePaths, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    wish, new = network(port(10, ANY_EGRESS)), port(11, ANY_EGRESS)
    networks.apply(cloud, state, [wish], full=True)
    before, wish = dhcp.running(state.network(wish.network_id)), msgspec.structs.replace(wish, ports=[*wish.ports, new])

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*(os, "kill") if saved else (dhcp, "_save"), die)  # type: ignore[call-overload]
        with pytest.raises(KeyboardInterrupt):
            networks.apply(cloud, state, [wish], full=True)
    assert networks.apply(cloud, state, [wish], full=True).networks[0].changed
    assert not networks.apply(cloud, state, [wish], full=True).networks[0].changed
    with TapGuest(cloud, wish.network_id, new) as guest:
        assert guest.dhcp(1) is not None
    assert dhcp.running(state.network(wish.network_id)) == before


def test_an_address_that_goes_to_another_port_is_leased_to_it(cloud: str, state: StatePaths) -> None:
    old = port(10, ANY_EGRESS)
    wish = network(old)
    networks.apply(cloud, state, [wish], full=True)
    with TapGuest(cloud, wish.network_id, old) as guest:
        assert guest.dhcp(1) is not None
        leased = guest.dhcp(3, requested="10.0.0.10")
        assert leased is not None
        assert leased.kind == 5
    # the port goes, and some time later its address comes back with another
    networks.apply(cloud, state, [msgspec.structs.replace(wish, ports=[])], full=True)
    new = port(12, ANY_EGRESS, fixed_ips=[FixedIp(subnet_id=SUBNET, ip_address="10.0.0.10")])
    networks.apply(cloud, state, [msgspec.structs.replace(wish, ports=[new])], full=True)
    with TapGuest(cloud, wish.network_id, new) as guest:
        answer = guest.dhcp(1)
    assert answer is not None
    assert answer.address == "10.0.0.10"


def test_a_port_that_goes_after_its_lease_leaves_dhcp_to_the_others(cloud: str, state: StatePaths) -> None:
    old, other = port(10, ANY_EGRESS), port(11, ANY_EGRESS)
    wish = network(old, other)
    networks.apply(cloud, state, [wish], full=True)
    before = dhcp.running(state.network(wish.network_id))
    with TapGuest(cloud, wish.network_id, old) as guest:
        assert guest.dhcp(1) is not None
        assert guest.dhcp(3, requested="10.0.0.10") is not None
    networks.apply(cloud, state, [msgspec.structs.replace(wish, ports=[other])], full=True)
    with TapGuest(cloud, wish.network_id, other) as guest:
        assert guest.dhcp(1) is not None
    assert dhcp.running(state.network(wish.network_id)) == before


def test_a_dead_dnsmasq_is_started_again(cloud: str, state: StatePaths) -> None:
    wish = network(port(10, ANY_EGRESS))
    networks.apply(cloud, state, [wish], full=True)
    record = dhcp.running(state.network(wish.network_id))
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    os.waitpid(record.pid, 0)
    assert networks.apply(cloud, state, [wish], full=True).networks[0].changed
    with TapGuest(cloud, wish.network_id, wish.ports[0]) as guest:
        assert guest.dhcp(1) is not None


def test_a_dnsmasq_that_was_started_but_not_recorded_is_replaced(cloud: str, state: StatePaths) -> None:
    wish = network(port(10, ANY_EGRESS))
    networks.apply(cloud, state, [wish], full=True)
    old = dhcp.running(state.network(wish.network_id))
    assert old is not None
    (state.network(wish.network_id) / "started.json").unlink()
    assert not networks.apply(cloud, state, [wish], full=True).networks[0].error
    assert not old.alive
    with TapGuest(cloud, wish.network_id, wish.ports[0]) as guest:
        assert guest.dhcp(1) is not None


def test_dnsmasq_does_not_run_as_root(cloud: str, state: StatePaths) -> None:
    wish = network()
    networks.apply(cloud, state, [wish], full=True)
    record = dhcp.running(state.network(wish.network_id))
    assert record is not None
    assert os.stat(f"/proc/{record.pid}").st_uid != 0


def test_tenants_with_equal_addresses_do_not_meet(cloud: str, state: StatePaths) -> None:
    ours, theirs = (port(10, ANY_EGRESS, port_security_enabled=False) for _ in range(2))
    first, second = network(ours), network(theirs)
    networks.apply(cloud, state, [first, second], full=True)
    with (
        TapGuest(cloud, first.network_id, ours) as one,
        TapGuest(cloud, second.network_id, theirs) as other,
    ):
        assert one.dhcp(1) is not None
        assert other.dhcp(1) is not None
        question = arp(1, (one.mac, one.ip), ("00:00:00:00:00:00", "10.0.0.2"))
        one.send(ethernet(one.mac, BROADCAST, ARP, question))
        assert one.receive(lambda f: f[12:14] == b"\x08\x06" and f[:6] == f[32:38]) is not None
        assert not other.hears(question, timeout_s=0.2)


def test_dnsmasq_keeps_no_other_network_alive(cloud: str, state: StatePaths) -> None:
    first, second = network(), network()
    networks.apply(cloud, state, [first, second], full=True)
    record = dhcp.running(state.network(second.network_id))
    assert record is not None
    assert " nsfs " not in Path(f"/proc/{record.pid}/mountinfo").read_text()
    assert " nsfs " in Path("/proc/self/mountinfo").read_text()


def test_the_mtu_is_that_of_the_network(cloud: str, state: StatePaths) -> None:
    own = port(10)
    wish = network(own, mtu=1400)
    networks.apply(cloud, state, [wish], full=True)
    changed = msgspec.structs.replace(wish, mtu=8950)
    assert networks.apply(cloud, state, [changed], full=True).networks[0].changed
    shown = in_namespace(cloud, wish, "ip", "-o", "link", "show", tap_name(own.port_id))
    assert "mtu 8950" in shown
    assert "mtu 8950" in in_namespace(cloud, wish, "ip", "-o", "link", "show", "br")


def test_only_local_ports_have_taps(cloud: str, state: StatePaths) -> None:
    here, there = port(10), port(11, local=False)
    wish = network(here, there)
    result = networks.apply(cloud, state, [wish], full=True)
    assert [status.port_id for status in result.ports] == [here.port_id]
    assert networks.taps(namespace_name(cloud, wish.network_id)) == [tap_name(here.port_id)]
    networks.apply(cloud, state, [msgspec.structs.replace(wish, ports=[there])], full=True)
    assert networks.taps(namespace_name(cloud, wish.network_id)) == []


def test_a_port_that_is_down_passes_nothing(cloud: str, state: StatePaths) -> None:
    own = port(10, ANY_EGRESS, admin_state_up=False)
    wish = network(own)
    status = networks.apply(cloud, state, [wish], full=True).ports[0]
    assert not status.up
    assert "administratively down" in status.reason
    up = msgspec.structs.replace(wish, ports=[msgspec.structs.replace(own, admin_state_up=True)])
    assert networks.apply(cloud, state, [up], full=True).ports[0].up
    with TapGuest(cloud, wish.network_id, own) as guest:
        assert guest.dhcp(1) is not None
        networks.apply(cloud, state, [wish], full=True)
        with pytest.raises(OSError, match="error"):
            guest.dhcp(1, timeout_s=0.3)


def test_what_is_not_wished_goes_only_when_the_wish_is_full(cloud: str, state: StatePaths) -> None:
    first, second = network(port(10)), network(port(10))
    networks.apply(cloud, state, [first], full=True)
    assert networks.apply(cloud, state, [second], full=False).removed_namespaces == []
    with TapGuest(cloud, first.network_id, first.ports[0]):  # held by a machine, as it were
        removed = networks.apply(cloud, state, [second], full=True).removed_namespaces
    assert removed == [namespace_name(cloud, first.network_id)]
    assert not state.network(first.network_id).exists()
    assert not os.path.exists(f"/run/netns/{removed[0]}")


@pytest.mark.parametrize(
    "change",
    [
        {"mtu": 10},
        {"ports": [port(10, mac_address="fa:16:3e:00:00:01\n")]},
        {"ports": [port(10, fixed_ips=[FixedIp(subnet_id=SUBNET, ip_address="10.0.0.1;x")])]},
        {"ports": [port(10, port_id="../../etc")]},
        {"dns_domain": "x,y\nz"},
    ],
)
def test_a_senseless_network_is_refused_and_others_are_not(
    cloud: str, state: StatePaths, change: dict[str, object]
) -> None:
    good, bad = network(port(11)), msgspec.structs.replace(network(), **change)
    result = networks.apply(cloud, state, [bad, good], full=True)
    assert result.networks[0].error
    assert not result.networks[1].error
    assert {s.port_id: s.up for s in result.ports}[good.ports[0].port_id]


def test_a_network_without_dhcp_has_none(cloud: str, state: StatePaths) -> None:
    wish = network(port(10))
    networks.apply(cloud, state, [wish], full=True)
    without: NetworkWish = msgspec.structs.replace(wish, dhcp_port=None)
    assert networks.apply(cloud, state, [without], full=True).networks[0].changed
    assert dhcp.running(state.network(wish.network_id)) is None
    assert not networks.apply(cloud, state, [without], full=True).networks[0].changed


def test_names_that_are_no_host_names_do_not_reach_dnsmasq() -> None:
    strange: PortWish = port(10, hostname="a,b\n10.0.0.66,evil")
    assert dhcp_files.hosts_file(network(strange)) == "fa:16:3e:00:00:0a,host-10-0-0-10,10.0.0.10\n"


def in_namespace(cloud: str, wish: NetworkWish, *command: str) -> str:
    namespace = namespace_name(cloud, wish.network_id)
    return subprocess.run(
        ["ip", "netns", "exec", namespace, *command], capture_output=True, text=True, check=True
    ).stdout


def test_ids_that_are_no_uuids_are_refused(cloud: str, state: StatePaths) -> None:
    from cloudseed.host.errors import HostError

    with pytest.raises(HostError, match="UUID"):
        networks.apply(cloud, state, [network(network_id="x")], full=False)
    assert new_id() not in os.listdir("/run/netns")
