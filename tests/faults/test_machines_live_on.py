"""Real machines when our own processes die, and when the host does.

In the order of the file, on one cloud with one guest that runs and one that its user stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from cloudseed.cli import openstack
from cloudseed.guest_images.tiny import build_tiny
from tests.faults import machines
from tests.faults.scene import Scene
from tests.support.daemon import Daemon, needs_root, wait_for

pytestmark = [pytest.mark.real, needs_root]


class Guests(Scene):
    """A guest that answers, and one that is stopped."""

    def __init__(self, cloud: Daemon) -> None:
        path = build_tiny(openstack.cache())
        with path.open("rb") as file:
            super().__init__(cloud, file, "qcow2" if path.suffix == ".qcow2" else "raw")
        self.open_to_ping()
        self.running = self.boot("runs")
        self.off = self.boot("stopped")
        self.address = self.address_of(self.wait_status(self.running, "ACTIVE", 120))
        other = self.address_of(self.wait_status(self.off, "ACTIVE", 120))
        self.space = machines.namespace(cloud, self.network_id)
        machines.wait_answer(self.space, self.address)
        machines.wait_answer(self.space, other)
        wait_for(lambda: "login:" in self.console(self.off), 60, "a guest that obeys its power button")
        self.act(self.off, "os-stop")
        self.wait_status(self.off, "SHUTOFF", 120)

    @staticmethod
    def address_of(server: dict[str, Any]) -> str:
        (network,) = server["addresses"].values()
        return str(network[0]["addr"])

    def console(self, server_id: str) -> str:
        path = f"/compute/v2.1/servers/{server_id}/action"
        return str(self.send("POST", path, {"os-getConsoleOutput": {}})["output"])

    def pid(self) -> int:
        """The running guest's QEMU."""
        return int(self.cloud.ask("ledger")["host"]["machine_pids"][self.running])


@pytest.fixture(scope="module")
def guests() -> Iterator[Guests]:
    with Daemon(driver="qemu") as cloud:
        yield Guests(cloud)


def test_a_guest_outlives_the_control_process(guests: Guests) -> None:
    cloud, pid = guests.cloud, guests.pid()
    cloud.kill_control()
    assert machines.runs(pid) and machines.answers(guests.space, guests.address)
    cloud.start()
    assert guests.wait_status(guests.running, "ACTIVE")["addresses"]
    assert guests.pid() == pid and machines.answers(guests.space, guests.address)
    cloud.settle()


def test_a_guest_outlives_the_host_process_and_is_managed_again(guests: Guests) -> None:
    cloud, pid = guests.cloud, guests.pid()
    cloud.kill_host()
    cloud.kill_control()
    assert machines.runs(pid) and machines.answers(guests.space, guests.address)
    cloud.start()
    assert guests.pid() == pid
    cloud.settle()
    guests.act(guests.running, "os-stop")  # a guest that is up obeys its power button
    guests.wait_status(guests.running, "SHUTOFF", 90)
    assert not machines.runs(pid)
    guests.act(guests.running, "os-start")
    guests.wait_status(guests.running, "ACTIVE", 60)
    machines.wait_answer(guests.space, guests.address)
    cloud.settle()


def test_the_host_process_alone_is_replaced_under_a_running_cloud(guests: Guests) -> None:
    cloud, pid = guests.cloud, guests.pid()
    cloud.kill_host()
    cloud.start()  # the services run on and find the new one by themselves
    cloud.settle()
    assert guests.pid() == pid and machines.answers(guests.space, guests.address)
    assert "login:" in guests.console(guests.running)


def test_a_machine_that_crashed_is_told_and_starts_again(guests: Guests) -> None:
    machines.kill(guests.pid())
    guests.wait_status(guests.running, "SHUTOFF", 30)
    guests.cloud.settle()
    guests.act(guests.running, "os-start")
    guests.wait_status(guests.running, "ACTIVE", 60)
    machines.wait_answer(guests.space, guests.address)


def test_after_a_reboot_of_the_host_active_machines_are_back(guests: Guests) -> None:
    """All of our processes gone, namespaces too; the boot that the node looked after last is another one."""
    cloud, host = guests.cloud, guests.cloud.ask("ledger")["host"]
    cloud.kill_control()
    cloud.kill_host()
    for pid in (*host["machine_pids"].values(), *host["dnsmasq_pids"].values()):
        machines.kill(pid)
    for name in host["namespaces"]:
        machines.delete_namespace(name)
    (record,) = cloud.state.glob("**/nova-compute/*/node.json")
    node = msgspec.json.decode(record.read_bytes())
    record.write_bytes(msgspec.json.encode({**node, "boot_id": "the boot before"}))

    cloud.start()
    machines.wait_answer(guests.space, guests.address)  # the same address, by DHCP again
    server = guests.wait_status(guests.running, "ACTIVE", 60)
    assert guests.address_of(server) == guests.address
    guests.wait_status(guests.off, "SHUTOFF")  # what its user stopped stays stopped
    picture = cloud.settle()
    assert set(picture["host"]["machine_pids"]) == {guests.running}


def test_the_audit_command_names_what_is_left_over(guests: Guests) -> None:
    cloud = guests.cloud
    assert "clean" in cloud.cloudseed("audit").stdout
    left = cloud.state / "images" / "forgotten"
    left.write_bytes(b"a download that nobody wants")
    try:
        told = cloud.cloudseed("audit", "--json", check=False)
        assert told.returncode == 1
        (violation,) = msgspec.json.decode(told.stdout)["violations"]
        assert (violation["rule"], violation["subject"]) == ("file-without-owner", "images/forgotten")
    finally:
        left.unlink()
    assert cloud.cloudseed("audit", check=False).returncode == 0
