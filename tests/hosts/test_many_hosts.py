"""A cloud of many hosts tells the truth about every one of them: what runs, what was killed, what came back."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.cli import processes
from cloudseed.cli.hosts import stop
from tests.faults import machines
from tests.support.daemon import ROOT, Daemon, needs_root, wait_for

pytestmark = [needs_root, pytest.mark.real]
NOTICED_S = 15.0  # within which every list must say that a host is gone


@pytest.fixture(scope="module")
def cloud() -> Iterator[Daemon]:
    with Daemon(driver="fake", hosts=3) as started:
        yield started


class Lists:
    """What the four lists say of hosts: (binary, host) -> alive."""

    def __init__(self, cloud: Daemon) -> None:
        self._api = cloud.api

    def look(self) -> dict[tuple[str, str], bool]:
        get = self._api.get
        found = {(s["binary"], s["host"]): s["state"] == "up"
                 for s in [*get("/compute/v2.1/os-services")["services"], *get(self._cinder())["services"]]}
        found |= {("hypervisor", h["hypervisor_hostname"]): h["state"] == "up"
                  for h in get("/compute/v2.1/os-hypervisors")["hypervisors"]}
        found |= {(a["binary"], a["host"]): a["alive"] for a in get("/networking/v2.0/agents")["agents"]}
        return found

    def _cinder(self) -> str:
        projects = self._api.get("/identity/v3/projects?name=admin")["projects"]
        return f"/volume/v3/{projects[0]['id']}/os-services"

    def on(self, host: str) -> dict[str, bool]:
        return {binary: alive for (binary, where), alive in self.look().items() if where == host}

    def wait(self, host: str, alive: bool, seconds: float) -> None:
        wait_for(lambda: set(self.on(host).values()) == {alive}, seconds,
                 f"every list to say that {host} is {'up' if alive else 'down'}: {self.on(host)}")


PARTS = {"nova-compute", "hypervisor", "neutron-l2-agent", "neutron-dhcp-agent", "neutron-l3-agent"}


def test_every_list_knows_every_host(cloud: Daemon) -> None:
    lists = Lists(cloud)
    for host in ("host-1", "host-2", "host-3"):
        lists.wait(host, True, 20)
        assert lists.on(host).keys() >= PARTS
    assert {"cinder-volume", "cinder-backup"} <= lists.on("host-1").keys()
    assert cloud.audit() == []


def test_a_host_without_power_is_down_within_fifteen_seconds_and_comes_back(cloud: Daemon) -> None:
    lists = Lists(cloud)
    lists.wait("host-2", True, 20)
    cloud.cloudseed("host", "kill", "host-2")
    _, place = stop.find(cloud.state, "host-2")
    assert place.namespace not in machines.netns_names()
    assert cloud.cloudseed("status", check=False).returncode == 3
    lists.wait("host-2", False, NOTICED_S)
    assert set(lists.on("host-1").values()) == set(lists.on("host-3").values()) == {True}
    # what is known to be away is no violation
    assert cloud.audit() == []
    cloud.cloudseed("host", "start", "host-2")
    lists.wait("host-2", True, NOTICED_S)
    assert cloud.audit() == []


def test_an_agent_process_that_ended_is_noticed_and_up_starts_it_again(cloud: Daemon) -> None:
    lists = Lists(cloud)
    lists.wait("host-3", True, 20)
    agent = processes.load(cloud.state).hosts["host-3"].agent
    assert agent is not None
    _kill(agent)
    lists.wait("host-3", False, NOTICED_S)
    cloud.start()
    lists.wait("host-3", True, NOTICED_S)
    assert processes.load(cloud.state).hosts["host-3"].agent != agent


def test_a_host_process_that_ended_is_a_violation_while_its_agents_live(cloud: Daemon) -> None:
    Lists(cloud).wait("host-1", True, 20)
    host = processes.load(cloud.state).hosts["host-1"].host
    assert host is not None
    _kill(host)
    found = [(violation.rule, violation.subject) for violation in cloud.audit()]
    assert found == [("host-unseen", "host-1")]
    cloud.start()
    wait_for(lambda: cloud.audit() == [], NOTICED_S, "a clean audit")


def test_status_names_every_process(cloud: Daemon) -> None:
    said: Any = cloud.cloudseed("status", "--json").stdout
    for name in ("control", "postgres", "rabbitmq", "host-1 host", "host-1 agent", "host-3 agent"):
        assert f'"name":"{name}"' in said
    listed = cloud.cloudseed("host", "list", "--json").stdout
    assert listed.count('"agent_process":null') == 0 and listed.count('"namespace"') == 3


def test_services_stop_and_start_and_remember(cloud: Daemon) -> None:
    network = cloud.api.send("POST", "/networking/v2.0/networks", {"network": {"name": "kept"}})["network"]
    cloud.cloudseed("down")
    assert not any(process.alive() for _, process in processes.every(processes.load(cloud.state)))
    cloud.start()
    assert cloud.api.get(f"/networking/v2.0/networks/{network['id']}")["network"]["name"] == "kept"
    for host in ("host-1", "host-2", "host-3"):
        Lists(cloud).wait(host, True, 20)


def test_a_host_is_added(cloud: Daemon) -> None:
    cloud.config.hosts = 4
    before = processes.load(cloud.state)
    cloud.start()
    Lists(cloud).wait("host-4", True, 20)
    after = processes.load(cloud.state)
    assert after.control == before.control and after.hosts["host-1"].host == before.hosts["host-1"].host
    # the others have a smaller part of the machine now
    assert after.hosts["host-1"].agent != before.hosts["host-1"].agent
    assert cloud.audit() == []


@pytest.mark.parametrize("alive", [True, False], ids=["running", "after-its-processes-died"])
def test_purge_leaves_nothing(alive: bool) -> None:
    cloud = Daemon(driver="fake", hosts=2)
    name = cloud.config.name
    with cloud:
        during = machines.traces(cloud)
        assert len([space for space in during["namespaces"] if space.startswith(name)]) == 3
        assert len([link for link in during["links"] if link.startswith(name)]) == 2
        shared = _shared_memory(cloud)
        assert during["processes"] and during["files"] and shared
        if not alive:
            for _, process in processes.every(processes.load(cloud.state)):
                _kill(process)
        cloud.cloudseed("down", "--purge", "--clouds-yaml", str(cloud.state.parent / "clouds.yaml"))
        after = machines.traces(cloud)
        left = [thing for kind in ("namespaces", "links", "nft", "mounts") for thing in after[kind] if name in thing]
        assert not left and not after["processes"] and not after["files"]
        assert not shared & set(os.listdir("/dev/shm"))
        assert not cloud.state.exists()


@pytest.mark.parametrize("seconds", [2.0, 8.0])
def test_a_start_that_was_killed_is_purged_too(seconds: float, tmp_path: Path) -> None:
    cloud = Daemon(driver="fake", hosts=2)
    try:
        settings = [f"--set={name}={value}" for name, value in (
            ("port", cloud.config.port), ("external_nat", "false"), ("password_hash_rounds", 4))]
        files = ["--state", str(cloud.state), "--clouds-yaml", str(tmp_path / "clouds.yaml")]
        up = subprocess.Popen([str(ROOT / "cloudseed"), "up", "--hosts", "2", "--driver", "fake", *files, *settings],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)  # wherever it is by then
        up.kill()
        up.wait()
        cloud.cloudseed("down", "--purge", "--clouds-yaml", str(tmp_path / "clouds.yaml"))
        after = machines.traces(cloud)
        left = [thing for kind in ("namespaces", "links", "nft", "mounts") for thing in after[kind]
                if cloud.config.name in thing]
        assert not left and not after["processes"] and not after["files"]
    finally:
        cloud.close()


def _shared_memory(cloud: Daemon) -> set[str]:
    """What the cloud's database has in /dev/shm."""
    server = processes.load(cloud.state).servers["postgres"]
    maps = Path(f"/proc/{server.pid}/maps").read_text()
    return {line.rpartition("/")[2] for line in maps.splitlines() if "/dev/shm/" in line}


def _kill(process: processes.Process) -> None:
    os.kill(process.pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while process.alive() and time.monotonic() < until:
        processes.reap(process.pid)
        time.sleep(0.02)
