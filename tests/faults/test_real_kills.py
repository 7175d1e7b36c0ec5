"""Our processes killed while real machines are made and removed: one QEMU each in the end, and no file too many.

The fake hypervisor's matrix (test_kills_of_one_process.py) has every point; here are those where a host has something
to lose: a download, disks, a process that was started by nobody who could still write it down.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.faults.lives.servers import DROPPED
from tests.faults.scene import Scene
from tests.support.daemon import Daemon, needs_root

pytestmark = [pytest.mark.real, needs_root]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Daemon(driver="qemu") as cloud:
        yield Scene(cloud)


def runs_once_and_goes(scene: Scene, server_id: str) -> None:
    """ACTIVE with exactly its own QEMU; deleted, the host has nothing of it."""
    scene.wait_status(server_id, "ACTIVE", 60)
    picture = scene.cloud.settle()
    assert set(picture["host"]["machine_pids"]) == {server_id} and picture["host"]["strays"] == []
    scene.send("DELETE", f"/compute/v2.1/servers/{server_id}")
    scene.wait_gone(server_id)
    nothing_is_left(scene)


def nothing_is_left(scene: Scene) -> None:
    host = scene.cloud.settle()["host"]
    assert host["machines"] == [] and host["machine_pids"] == {} and host["strays"] == []
    assert not [file for file in host["files"] if file.startswith(("machines/", "images/incoming/"))]


@pytest.mark.parametrize("point", ["networks:after", "disks:after", "start:after"])
def test_the_control_process_dies_in_a_boot(scene: Scene, point: str) -> None:
    scene.cloud.restart_armed(f"nova.boot:{point}")
    server_id = scene.boot("vm")
    scene.cloud.wait_killed(f"nova.boot:{point}")
    scene.cloud.start()
    runs_once_and_goes(scene, server_id)


@pytest.mark.parametrize("point", ["machine:after"])
def test_the_control_process_dies_in_a_delete(scene: Scene, point: str) -> None:
    server_id = scene.boot("vm")
    scene.wait_status(server_id, "ACTIVE", 60)
    scene.cloud.restart_armed(f"nova.delete:{point}")
    try:
        scene.send("DELETE", f"/compute/v2.1/servers/{server_id}")
    except DROPPED:
        pass
    scene.cloud.wait_killed(f"nova.delete:{point}")
    scene.cloud.start()
    scene.wait_gone(server_id)
    nothing_is_left(scene)


@pytest.mark.parametrize("delay_s", [0.1, 0.3, 0.6])
def test_the_host_process_dies_in_a_boot(scene: Scene, delay_s: float) -> None:
    server_id = scene.boot("vm")
    time.sleep(delay_s)  # somewhere in the boot: it is asked by five calls, in well under a second
    scene.cloud.kill_host()
    scene.cloud.start()
    runs_once_and_goes(scene, server_id)


@pytest.mark.parametrize("delay_s", [0.0, 0.1])
def test_the_host_process_dies_in_a_delete(scene: Scene, delay_s: float) -> None:
    server_id = scene.boot("vm")
    scene.wait_status(server_id, "ACTIVE", 60)
    scene.send("DELETE", f"/compute/v2.1/servers/{server_id}")
    time.sleep(delay_s)
    scene.cloud.kill_host()
    scene.cloud.start()
    scene.wait_gone(server_id)
    nothing_is_left(scene)


@pytest.mark.parametrize("delay_s", [0.0, 0.25])
def test_deleted_while_a_real_machine_is_made(scene: Scene, delay_s: float) -> None:
    server_id = scene.boot("vm")
    time.sleep(delay_s)
    scene.send("DELETE", f"/compute/v2.1/servers/{server_id}")
    scene.wait_gone(server_id, 60)
    nothing_is_left(scene)
