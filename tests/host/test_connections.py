"""Which established connections a change of rules ends."""

from __future__ import annotations

import ipaddress

import pytest

from cloudseed.host import connections
from cloudseed.host.connections import Connection, permitted
from cloudseed.host.records import RuleWish
from tests.host.conftest import ANY_EGRESS, port

TCP, UDP, ICMP = 6, 17, 1
ANY_INGRESS = RuleWish(direction="ingress")


def connection(protocol: int = TCP, to_port: int | None = 22, code: int | None = None) -> Connection:
    return Connection(
        source=ipaddress.ip_address("10.0.0.10"),
        destination=ipaddress.ip_address("10.0.0.11"),
        protocol=protocol,
        source_port=5000,
        destination_port=to_port,
        icmp_code=code,
    )


def ingress(**fields: object) -> RuleWish:
    return RuleWish(direction="ingress", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "begun", "kept"),
    [
        (ANY_INGRESS, connection(), True),
        (ingress(protocol="tcp"), connection(), True),
        (ingress(protocol="tcp", port_range_min=20, port_range_max=22), connection(), True),
        (ingress(protocol="tcp", port_range_min=23, port_range_max=30), connection(), False),
        (ingress(protocol="udp"), connection(), False),
        (ingress(ethertype="IPv6"), connection(), False),
        (ingress(remote_cidrs=["10.0.0.0/28"]), connection(), True),
        (ingress(remote_cidrs=["10.0.0.12"]), connection(), False),
        (ingress(remote_cidrs=[]), connection(), False),
        (ingress(protocol="icmp"), connection(ICMP, 8, 0), True),
        (ingress(protocol="icmp", port_range_min=8, port_range_max=0), connection(ICMP, 8, 0), True),
        (ingress(protocol="icmp", port_range_min=13), connection(ICMP, 8, 0), False),
        (RuleWish(direction="egress"), connection(), False),
    ],
)
def test_a_connection_needs_a_rule_at_the_end_that_it_reaches(rule: RuleWish, begun: Connection, kept: bool) -> None:
    assert permitted(begun, [port(11, rule)]) is kept


def test_it_needs_one_at_the_end_that_it_comes_from() -> None:
    reached = port(11, ANY_INGRESS)
    assert permitted(connection(), [port(10, ANY_EGRESS), reached])
    assert not permitted(connection(), [port(10, ANY_INGRESS), reached])


def test_ports_of_others_do_not_judge_it() -> None:
    assert permitted(connection(), [port(12), port(13)])


def test_dhcp_needs_no_rule() -> None:
    assert permitted(connection(UDP, 67), [port(10), port(11)])


def test_connections_are_judged_once_by_each_rules_and_by_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_judged", {})
    judged: list[str] = []

    def judge(rules: str) -> None:
        connections.judge("network", rules, lambda: judged.append(rules) or 0)  # type: ignore[func-returns-value]

    for rules in ("first", "first", "second", "first"):
        judge(rules)
    assert judged == ["first", "second", "first"]
    monkeypatch.setattr(connections, "_judged", {})  # another process
    judge("first")
    assert len(judged) == 4

    def dies() -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        connections.judge("network", "third", dies)
    judge("third")
    assert judged[4:] == ["third"]
