"""Hosts whose clocks are an hour off, one whose disk is full, and a control machine whose disk is: what is refused says
why, the others go on, and all is as it was once that is over.

Two hosts with pretended machines; host-2's state lies on a small file system of its own, all else on another one.
"""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.clocks import FAKETIME
from bench.small_disks import fill, let_go, mount, unmount

from cloudseed.cli import processes
from cloudseed.cli.api import ApiError
from cloudseed.cli.hosts import start
from cloudseed.cli.servers import postgres, rabbitmq
from tests.faults.many.test_lost_hosts import PATIENCE_S, Cloud3
from tests.faults.scene import COMPUTE, NETWORK
from tests.support.daemon import Daemon, needs_root, wait_for

pytestmark = [needs_root, pytest.mark.real,
              pytest.mark.skipif(postgres.find_binaries() is None or not rabbitmq.is_installed(),
                                 reason="needs the packages postgresql and rabbitmq-server")]
VOLUME = "/volume/v3"
HOUR_S = 3600
SERVICE_DOWN_S = 12.0


class Odd(Cloud3):
    """Two hosts, of which host-2 is harmed."""

    def restart_host(self, number: int, environment: dict[str, str]) -> None:
        """Its two processes are killed and started anew with this environment."""
        for part in ("agent", "host"):
            self.site.kill(f"host-{number} {part}")
        start.start_hosts(self.cloud.config, self.site.shape, [self.site.place(number)],
                          processes.load(self.cloud.state), lambda text: None, environment)

    def agents(self, number: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(f"{NETWORK}/agents?host=host-{number}")["agents"]
        return found

    def machine(self, server_id: str) -> dict[str, Any]:
        """Of the one host that has it: its record."""
        file, = self.cloud.state.glob(f"hosts/*/**/nova-compute/*/machines/{server_id}.json")
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def move(self, server_id: str, action: str, value: Any, to: int) -> None:
        self.act(server_id, action, value)
        wait_for(lambda: self.host_of(server_id) == f"host-{to}", PATIENCE_S, f"{server_id} to be on host-{to}")


@pytest.fixture(scope="module")
def disks() -> Iterator[Path]:
    """Where the cloud lies, on a file system of its own; its host-2's state is on another one."""
    directory = Path(tempfile.mkdtemp(prefix="cs-odd-", dir="/tmp"))
    mount(directory, 1400)
    host = directory / "c" / "s" / "hosts" / "host-2"
    try:
        host.mkdir(mode=0o711, parents=True)
        mount(host, 24)
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(host)], capture_output=True, check=False)
        unmount(directory)
        directory.rmdir()


@pytest.fixture(scope="module")
def odd(disks: Path) -> Iterator[Odd]:
    with Daemon(driver="fake", hosts=2, directory=disks / "c") as started:
        try:
            yield Odd(started)
        finally:
            let_go(started.state, [started.state / "hosts" / "host-2"])


@pytest.mark.skipif(FAKETIME is None, reason="needs the package faketime")
def test_hosts_whose_clocks_are_an_hour_off(odd: Odd) -> None:
    """One is late and one early, two hours apart, and the controller's is right."""
    old = odd.boot_on(2, "old")
    volume_id = odd.send("POST", f"{VOLUME}/volumes", {"volume": {"name": "v", "size": 1}})["volume"]["id"]
    shifts = {1: -1, 2: 1}  # hours
    try:
        for number, hours in shifts.items():
            odd.restart_host(number, {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"{hours:+d}h",
                                      "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
        for number, hours in shifts.items():
            odd.wait_host(number, "up")
            began = [datetime.datetime.fromisoformat(agent["started_at"]) for agent in odd.agents(number)]
            now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
            assert began and all(abs((at - now).total_seconds() - hours * HOUR_S) < 600 for at in began), (began, now)
        seen_up = time.monotonic()
        # what a host does by itself, and with the other one
        new = odd.boot_on(2, "new")
        for server_id in (old, new):
            before = odd.machine(server_id)["starts"]
            odd.act(server_id, "reboot", {"type": "HARD"})
            odd.wait_status(server_id, "ACTIVE", PATIENCE_S)
            assert odd.machine(server_id)["starts"] == before + 1
        odd.send("POST", f"{COMPUTE}/servers/{new}/os-volume_attachments",
                 {"volumeAttachment": {"volumeId": volume_id}})
        wait_for(lambda: odd.api.get(f"{VOLUME}/volumes/{volume_id}")["volume"]["status"] == "in-use", PATIENCE_S,
                 "the volume to be attached")
        odd.act(old, "os-stop")
        odd.wait_status(old, "SHUTOFF", PATIENCE_S)
        odd.act(old, "os-start")
        odd.wait_status(old, "ACTIVE", PATIENCE_S)
        for to in (1, 2):
            odd.move(new, "os-migrateLive",
                     {"host": f"host-{to}", "block_migration": True, "disk_over_commit": False}, to)
            odd.wait_status(new, "ACTIVE", PATIENCE_S)
            assert odd.machines(new) == [f"host-{to}"]
        odd.move(old, "migrate", None, 1)
        odd.wait_status(old, "VERIFY_RESIZE", PATIENCE_S)
        odd.act(old, "confirmResize")
        odd.wait_status(old, "ACTIVE", PATIENCE_S)
        while time.monotonic() < seen_up + SERVICE_DOWN_S + 4:  # nobody takes one for down by its own clock
            picture = odd.cloud.ask("ledger")
            assert {host["up"] for host in picture["nova"]["computes"]} == {True}
            assert {agent["up"] for agent in picture["neutron"]["agents"]} == {True}
            time.sleep(0.5)
        picture = odd.cloud.settle(PATIENCE_S)
        assert {host["up"] for host in picture["nova"]["computes"]} == {True}
        odd.send("DELETE", f"{COMPUTE}/servers/{new}/os-volume_attachments/{volume_id}")
        wait_for(lambda: odd.api.get(f"{VOLUME}/volumes/{volume_id}")["volume"]["status"] == "available", PATIENCE_S,
                 "the volume to be free")
        odd.send("DELETE", f"{VOLUME}/volumes/{volume_id}")
        odd.remove(old, new)
    finally:
        for number in shifts:
            odd.restart_host(number, {})
    for number in shifts:
        odd.wait_host(number, "up")
    odd.remove(odd.boot_on(2, "in time again"))


def test_a_host_whose_disk_is_full(odd: Odd) -> None:
    place = odd.site.place(2)
    kept, doomed = odd.boot_on(2, "kept"), odd.boot_on(2, "doomed")
    load = [odd.boot_on(1, f"load-{number}") for number in range(4)]
    first = odd.boot("first")
    odd.wait_status(first, "ACTIVE", PATIENCE_S)
    assert odd.host_of(first) == "host-2"  # the one that the scheduler takes first
    filler = place.state / "filler"
    try:
        fill(filler)
        elsewhere = odd.boot("elsewhere")
        odd.wait_status(elsewhere, "ACTIVE", PATIENCE_S)
        assert odd.machines(elsewhere) == ["host-1"]
        nowhere = odd.boot("nowhere", availability_zone="nova:host-2")
        fault = odd.wait_status(nowhere, "ERROR", PATIENCE_S)["fault"]
        assert "host-2" in fault["message"] and "No space left on device" in fault["message"], fault
        odd.send("DELETE", f"{COMPUTE}/servers/{doomed}")
        odd.wait_gone(doomed, PATIENCE_S)
        assert odd.machines(kept) == ["host-2"] and not odd.machines(doomed)
        odd.wait_status(kept, "ACTIVE", PATIENCE_S)
        odd.site.kill("host-2 agent")  # what it reads when it starts again is whole
        odd.site.kill("host-2 host")
    finally:
        filler.unlink(missing_ok=True)
    for file in place.state.rglob("*.json"):
        json.loads(file.read_text())
    odd.site.mend(None)
    odd.wait_host(2, "up")
    odd.wait_status(kept, "ACTIVE", PATIENCE_S)
    again = odd.boot_on(2, "again")
    odd.remove(kept, first, elsewhere, nowhere, again, *load)


def test_a_control_machine_whose_disk_is_full(odd: Odd, disks: Path) -> None:
    """The database's, the broker's and host-1's too: nothing is taken that cannot be kept, and looking goes on."""
    kept = [odd.boot_on(number, f"kept-{number}") for number in (1, 2)]
    taken, refused, filler = list[str](), list[str](), disks / "filler"
    try:
        fill(filler)
        until = time.monotonic() + PATIENCE_S
        while len(refused) < 10:
            assert time.monotonic() < until, "nothing is refused"
            for order, name in ((odd.new_network, "x" * 255), (odd.boot, "during")):
                try:
                    taken.append(order(name))
                except ApiError as exc:
                    refused.append(str(exc))
            assert {server["id"] for server in odd.api.get(f"{COMPUTE}/servers")["servers"]} >= set(kept)
        assert all(re.search(": (503|507) .*(disk is full|does not answer)", reason) for reason in refused), refused
    finally:
        filler.unlink(missing_ok=True)
    odd.site.mend(None)  # the broker may have given up
    for number in (1, 2):
        odd.wait_host(number, "up")
    odd.cloud.settle(PATIENCE_S)
    for server_id in kept:
        odd.wait_status(server_id, "ACTIVE", PATIENCE_S)
    during = [server["id"] for server in odd.api.get(f"{COMPUTE}/servers?name=during")["servers"]]
    assert set(during) <= set(taken)  # none was made that was refused
    after = [odd.boot_on(number, f"after-{number}") for number in (1, 2)]
    odd.remove(*kept, *during, *after)
