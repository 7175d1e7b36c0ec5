"""A disk that is full: uploads and changes are refused with the reason, nothing leaks, and with space all goes on.

The cloud's state lies on a small file system of its own.
"""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.small_disks import fill, mount

from cloudseed.cli.api import ApiError
from tests.faults.scene import BYTES, IMAGE, NETWORK, Scene
from tests.support.daemon import Daemon, needs_root, wait_for

pytestmark = [pytest.mark.real, needs_root]
MIB = 1 << 20


@pytest.fixture(scope="module")
def small_disk() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="cs-full-", dir="/tmp"))
    mount(directory, 96)
    try:
        yield directory
    finally:
        wait_for(lambda: subprocess.run(["umount", str(directory)], capture_output=True).returncode == 0, 10,
                 "the small disk to be free")
        directory.rmdir()


@pytest.fixture(scope="module")
def scene(small_disk: Path) -> Iterator[Scene]:
    with Daemon(driver="fake", directory=small_disk / "cloud") as cloud:
        yield Scene(cloud)


def free(scene: Scene) -> int:
    status = os.statvfs(scene.cloud.state)
    return status.f_bavail * status.f_frsize


def test_an_upload_that_does_not_fit(scene: Scene) -> None:
    before, image_id = free(scene), scene.new_image("too large")
    with pytest.raises(ApiError, match=r"(?s): 507 .*no space left on the disk"):
        scene.api.upload(f"{IMAGE}/images/{image_id}/file", io.BytesIO(bytes(100 * MIB)))
    assert scene.api.get(f"{IMAGE}/images/{image_id}")["status"] == "queued"
    scene.cloud.settle()
    assert before - free(scene) < 4 * MIB  # what was stored of it is gone; logs and write-ahead logs grew
    scene.api.upload(f"{IMAGE}/images/{image_id}/file", io.BytesIO(BYTES))
    assert scene.api.get(f"{IMAGE}/images/{image_id}")["status"] == "active"


def test_a_disk_without_a_byte_left(scene: Scene, small_disk: Path) -> None:
    server_id = scene.boot("before")
    scene.wait_status(server_id, "ACTIVE")
    filler = small_disk / "filler"
    refused: list[str] = []
    try:
        fill(filler)
        assert free(scene) == 0
        for number in range(200):  # what SQLite's log has room for is still taken
            try:
                scene.new_network(f"full-{number}")
            except ApiError as exc:
                refused.append(str(exc))
                break
        # reading goes on, and what is refused is refused with its reason
        assert scene.api.get("/compute/v2.1/servers/detail")["servers"][0]["id"] == server_id
        assert refused and ": 507 " in refused[0] and "disk is full" in refused[0], refused
    finally:
        filler.unlink(missing_ok=True)
    network_id = scene.new_network("space again")
    scene.send("DELETE", f"{NETWORK}/networks/{network_id}")
    scene.send("DELETE", f"/compute/v2.1/servers/{server_id}")
    scene.wait_gone(server_id)
    scene.cloud.settle()


@pytest.mark.parametrize("delay_s", [0, 0.03, 0.1])
def test_orders_under_way_end_when_there_is_space(scene: Scene, small_disk: Path, delay_s: float) -> None:
    """The disk is filled right behind the order; once there is space again, the boot ends, and can be deleted."""
    server_id = scene.boot("caught")
    time.sleep(delay_s)  # which step is caught does not matter, only that several are
    try:
        fill(small_disk / "filler")
        time.sleep(0.6)  # longer than the recorder of flows waits between two writes
    finally:
        (small_disk / "filler").unlink(missing_ok=True)
    scene.cloud.settle()
    server = scene.server(server_id)
    assert server is not None
    if server["status"] == "ERROR":
        assert "disk is full" in server["fault"]["message"]
    else:
        assert server["status"] == "ACTIVE"
    scene.send("DELETE", f"/compute/v2.1/servers/{server_id}")
    scene.wait_gone(server_id)
    scene.cloud.settle()
