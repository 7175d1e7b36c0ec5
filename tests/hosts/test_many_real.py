"""A user of a cloud of three hosts: machines on two of them meet, the router moves when its host is lost, and nothing
is left of it all.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from cloudseed.cli import openstack, public_network
from cloudseed.cli.hosts import shape
from cloudseed.guest_images.tiny import build_tiny
from tests.faults import machines
from tests.support.daemon import Daemon, needs_root, wait_for
from tests.support.person import Person
from tests.support.ranges import held_in_place

pytestmark = [needs_root, pytest.mark.real]
RANGE = "10.77.0.0/24"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Daemon]:
    with held_in_place(RANGE, str(public_network.OTHERS)), Daemon(driver="qemu", hosts=3) as started:
        made = shape.load(started.state)
        assert made is not None
        public_network.ensure(started.config, made.provider)
        yield started


@pytest.fixture(scope="module")
def person(cloud: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Person:
    person = Person(cloud, tmp_path_factory.mktemp("home"))
    run = person.run
    image = str(build_tiny(openstack.cache()))
    run("image", "create", "tiny", "--disk-format", "qcow2", "--container-format", "bare", "--file", image)
    run("flavor", "create", "tiny", "--ram", "256", "--vcpus", "1", "--disk", "1")
    run("network", "create", "net")
    run("subnet", "create", "sub", "--network", "net", "--subnet-range", RANGE)
    run("router", "create", "r")
    run("router", "set", "r", "--external-gateway", public_network.NAME)
    run("router", "add", "subnet", "r", "sub")
    run("security", "group", "rule", "create", "default", "--protocol", "icmp")
    run("security", "group", "rule", "create", "default", "--protocol", "tcp", "--dst-port", "22")
    run("keypair", "create", "key", "--public-key", f"{person.key}.pub")
    for host in ("host-2", "host-3"):
        run("server", "create", f"on-{host}", "--image", "tiny", "--flavor", "tiny", "--network", "net",
            "--key-name", "key", "--availability-zone", f"nova:{host}")  # fmt: skip
    return person


def address_of(server: Any) -> str:
    return str(next(iter(server["addresses"].values()))[0])


@pytest.fixture(scope="module")
def door(person: Person) -> str:
    """The floating address of the machine on host-2, once both run."""
    for host in ("host-2", "host-3"):
        server = person.wait("server", f"on-{host}", "active", 120)
        assert server["OS-EXT-SRV-ATTR:host"] == host
    floating: str = person.run("floating", "ip", "create", public_network.NAME, "--json")["floating_ip_address"]
    person.run("server", "add", "floating", "ip", "on-host-2", floating)
    return floating


def reach(person: Person, door: str, address: str) -> None:
    """From the machine behind the floating address to another, by name of neither."""
    said = person.ssh(door, f"hostname; ping -c 3 -W 2 {address}", 120)
    assert said.startswith("on-host-2") and " 0% packet loss" in said


def test_machines_of_two_hosts_meet_and_one_is_reached_from_outside(cloud: Daemon, person: Person, door: str) -> None:
    other = address_of(person.run("server", "show", "on-host-3", "--json"))
    reach(person, door, other)
    # each host answers for its own guests' metadata
    said = person.ssh(door, "wget -qO- http://169.254.169.254/latest/meta-data/hostname")
    assert said.startswith("on-host-2")
    cloud.settle(60)
    listed = person.run("hypervisor", "list", "--long", "--json")
    made = shape.load(cloud.state)
    assert made is not None
    assert {(h["Hypervisor Hostname"], h["Host IP"]) for h in listed} == {
        (place.name, place.address) for place in made.places(cloud.state)}


def test_guests_run_on_while_everything_else_is_stopped(cloud: Daemon, person: Person, door: str) -> None:
    before = {host["name"]: host["machine_pids"] for host in cloud.ask("ledger")["hosts"]}
    cloud.cloudseed("down")
    assert machines_reached(door)
    cloud.start()
    cloud.settle(60)
    assert {host["name"]: host["machine_pids"] for host in cloud.ask("ledger")["hosts"]} == before
    reach(person, door, address_of(person.run("server", "show", "on-host-3", "--json")))


def test_a_router_moves_when_its_host_is_lost(cloud: Daemon, person: Person, door: str) -> None:
    (router,) = cloud.api.get("/networking/v2.0/routers?name=r")["routers"]

    def home() -> str | None:
        agents = cloud.api.get(f"/networking/v2.0/routers/{router['id']}/l3-agents")["agents"]
        return next((str(agent["host"]) for agent in agents if agent["alive"]), None)

    first = wait_for(home, 30, "the router to have a host")
    if first == "host-2":
        pytest.skip("the router is where the machine is that the test talks to")
    cloud.cloudseed("host", "kill", first)
    wait_for(lambda: home() not in (None, first), 40, "the router to have another host")
    wait_for(lambda: machines_reached(door), 30, "the floating address to answer")
    cloud.cloudseed("host", "start", first)
    cloud.settle(60)
    assert machines_reached(door)


def machines_reached(door: str) -> bool:
    """Whether the floating address answers one ping from this machine."""
    return subprocess.run(["ping", "-n", "-c", "1", "-W", "1", door], capture_output=True).returncode == 0


def test_nothing_is_left(cloud: Daemon, door: str) -> None:
    name = cloud.config.name
    during = machines.traces(cloud)
    assert len([space for space in during["namespaces"] if re.match(rf"{name}h\d-net-", space)]) >= 2
    cloud.cloudseed("down", "--purge", "--clouds-yaml", str(cloud.state.parent / "clouds.yaml"))
    after = machines.traces(cloud)
    left = [thing for kind in ("namespaces", "links", "nft", "mounts") for thing in after[kind] if name in thing]
    assert not left and not after["processes"] and not after["files"] and not cloud.state.exists()
