"""Programs that the host lacks, or that fail: the server says so, nothing stays behind, and the cloud goes on.

The host process finds programs where CLOUDSEED_HOST_PATH says: a directory of links, one of them missing or
replaced by a program that fails.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudseed.host import binaries
from tests.faults.scene import Scene
from tests.support.daemon import Daemon, needs_root

pytestmark = [pytest.mark.real, needs_root]
PROGRAMS = tuple(binaries._PACKAGES)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Daemon(driver="qemu") as cloud:
        yield Scene(cloud)


def a_host_with(scene: Scene, directory: Path, *, without: str, instead: str = "") -> None:
    """A new host process that finds all programs but `without`; in its place a shell script, if given."""
    for name in PROGRAMS:
        path = shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin")
        assert path is not None, f"{name} is not installed: the real tests need it"
        if name != without:
            (directory / name).symlink_to(path)
    if instead:
        (directory / without).write_text(f"#!/bin/sh\n{instead}\n")
        (directory / without).chmod(0o755)
    directory.chmod(0o755)
    for parent in directory.parents:
        if parent.stat().st_mode & 0o005 != 0o005 and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    scene.cloud.kill_host()
    scene.cloud.start({"CLOUDSEED_HOST_PATH": str(directory)})


def fails_with(scene: Scene, name: str, *words: str) -> None:
    """A boot ends in ERROR with these words as its reason; deleted, it leaves nothing."""
    server_id = scene.boot(name)
    fault = scene.wait_status(server_id, "ERROR", 60)["fault"]
    for word in words:
        assert word in fault["message"] + fault.get("details", ""), fault
    scene.cloud.settle()
    scene.send("DELETE", f"/compute/v2.1/servers/{server_id}")
    scene.wait_gone(server_id)
    picture = scene.cloud.settle()
    assert picture["host"]["machines"] == [] and picture["host"]["machine_pids"] == {}


def works_again(scene: Scene) -> None:
    """With its programs back, the host takes servers."""
    scene.cloud.kill_host()
    scene.cloud.start()
    server_id = scene.boot("again")
    scene.wait_status(server_id, "ACTIVE", 60)
    scene.cloud.settle()
    scene.send("DELETE", f"/compute/v2.1/servers/{server_id}")
    scene.wait_gone(server_id)
    scene.cloud.settle()


def test_without_qemu(scene: Scene, tmp_path: Path) -> None:
    a_host_with(scene, tmp_path, without="qemu-system-x86_64")
    fails_with(scene, "no-qemu", "qemu-system-x86_64 is not installed", "apt-get install")
    works_again(scene)


def test_a_qemu_that_fails(scene: Scene, tmp_path: Path) -> None:
    a_host_with(scene, tmp_path, without="qemu-system-x86_64",
                instead='case "$*" in *version*) echo "QEMU emulator version 7.2.0";; '
                        '*) echo "no luck today" >&2; exit 1;; esac')
    fails_with(scene, "bad-qemu", "no luck today")
    works_again(scene)


def test_without_qemu_img(scene: Scene, tmp_path: Path) -> None:
    a_host_with(scene, tmp_path, without="qemu-img")
    fails_with(scene, "no-qemu-img", "qemu-img is not installed", "apt-get install")
    works_again(scene)


def test_without_dnsmasq(scene: Scene, tmp_path: Path) -> None:
    a_host_with(scene, tmp_path, without="dnsmasq")
    fails_with(scene, "no-dnsmasq", "dnsmasq is not installed", "apt-get install")
    works_again(scene)


def test_a_dnsmasq_that_fails(scene: Scene, tmp_path: Path) -> None:
    """The boot fails soon, with dnsmasq's own words."""
    a_host_with(scene, tmp_path, without="dnsmasq", instead='echo "no luck today" >&2; exit 2')
    began = time.monotonic()
    fails_with(scene, "bad-dnsmasq", "no luck today")
    assert time.monotonic() - began < 30
    works_again(scene)
