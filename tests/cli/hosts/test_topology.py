"""The network between hosts: who reaches whom, what is mended, and that nothing of it stays."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudseed.cli.hosts import shape, topology
from cloudseed.cli.hosts.places import Place
from cloudseed.host import netns
from cloudseed.kernel.config import load
from tests.support.daemon import needs_root

pytestmark = needs_root


def traces(cloud: str) -> set[str]:
    """What carries the cloud's name: others have things of theirs on this machine."""
    commands = ("ip -o link", "ip route", "ls /run/netns", "nft list tables", "cat /run/cloudseed-forwarding-*")
    said = "\n".join(subprocess.run(line, shell=True, text=True, capture_output=True).stdout for line in commands)
    return {line for line in said.splitlines() if cloud in line}


def pings(namespace: str, address: str) -> bool:
    command = ["ip", "netns", "exec", namespace, "ping", "-c1", "-W1", address]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def made(tmp_path: Path) -> Iterator[tuple[shape.Shape, list[Place]]]:
    (tmp_path / "run").mkdir()
    config = load(state=str(tmp_path), hosts=3)
    found = shape.ensure(config)
    hosts = found.places(tmp_path)
    try:
        topology.build(found, hosts, nat=False)
        yield found, hosts
    finally:
        topology.remove(found, hosts)


def test_hosts_reach_one_another_and_the_controller(made: tuple[shape.Shape, list[Place]]) -> None:
    cloud, hosts = made
    assert pings(hosts[0].namespace, hosts[2].address)
    assert pings(hosts[1].namespace, cloud.controller)
    # and nothing else: no host has a way out
    for host in hosts:
        shown = subprocess.run(["ip", "netns", "exec", host.namespace, "ip", "route"], text=True, capture_output=True)
        assert shown.stdout.split()[:3] == [cloud.underlay, "dev", "eth0"] and shown.stdout.count("\n") == 1


def test_again_changes_nothing_and_mends_what_is_missing(made: tuple[shape.Shape, list[Place]]) -> None:
    cloud, hosts = made
    before = traces(cloud.name)
    assert before
    topology.build(cloud, hosts, nat=False)
    assert traces(cloud.name) == before
    # one host's power, another's cable, and the switch
    topology.remove_host(hosts[0])
    subprocess.run(["ip", "netns", "exec", hosts[1].namespace, "ip", "link", "delete", "eth0"], check=True)
    assert not pings(hosts[1].namespace, hosts[2].address)
    topology.build(cloud, hosts, nat=False)
    assert pings(hosts[0].namespace, hosts[1].address) and pings(hosts[1].namespace, hosts[2].address)
    netns.remove(f"{cloud.name}-under")
    topology.build(cloud, hosts, nat=False)
    assert pings(hosts[2].namespace, hosts[0].address) and pings(hosts[2].namespace, cloud.controller)


def test_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    config = load(state=str(tmp_path), hosts=2)
    cloud = shape.ensure(config)
    hosts = cloud.places(tmp_path)
    topology.build(cloud, hosts, nat=True)
    assert topology.names(cloud.name) == sorted([f"{cloud.name}-h1", f"{cloud.name}-h2", f"{cloud.name}-under"])
    topology.remove(cloud, hosts)
    assert not traces(cloud.name)
