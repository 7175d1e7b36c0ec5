"""The watcher of disks sees what must never be, and says nothing of what may."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.watcher import Watcher

from tests.support.daemon import wait_for

SERVER, OTHER = "0a1b2c3d-0000-4000-8000-000000000001", "0a1b2c3d-0000-4000-8000-000000000002"
# A process with a name, a file open for writing or reading, and a thread named as QEMU's processors that works or not.
STAND_IN = """
import os, socket, sys, threading, time
name, path, mode, works = sys.argv[1:5]
if mode == "listen":
    os.unlink(path)
    file = socket.socket(socket.AF_UNIX)
    file.bind(path)
    file.listen()
    threading.Thread(target=lambda: [file.accept() for _ in range(9)], daemon=True).start()
elif mode == "connect":
    file = socket.socket(socket.AF_UNIX)
    file.connect(path)
else:
    file = open(path, mode)
def run():
    open("/proc/thread-self/comm", "w").write("CPU 0/TCG")
    while True:
        time.sleep(0.02)
        until = time.monotonic() + 0.02
        while works == "works" and time.monotonic() < until:
            pass
threading.Thread(target=run, daemon=True).start()
open("/proc/self/comm", "w").write(name)
print("ready", flush=True)
sys.stdin.read()
"""


class Stage:
    """Stand-ins for QEMU's programs."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._running: list[subprocess.Popen[str]] = []

    def add(self, name: str, file: str, *more: str, mode: str = "r+", server: str = "", works: bool = False) -> None:
        path = self.state / file
        path.touch()
        argv = [sys.executable, "-c", STAND_IN, name, str(path), mode, "works" if works else "stands still", *more,
                *(("-uuid", server) if server else ())]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._running.append(process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"

    def watched(self, looks: int = 4) -> list[str]:
        watcher = Watcher(self.state, namespaces=[""])
        for _ in range(looks):
            watcher.look()
            time.sleep(0.2)
        return watcher.wrong

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def test_two_programs_of_qemu_that_may_write_one_disk(stage: Stage) -> None:
    stage.add("qemu-system-x86", "root.qcow2", server=SERVER)
    assert stage.watched(1) == []
    stage.add("qemu-img", "root.qcow2")
    said, = stage.watched(1)
    assert f"{stage.state}/root.qcow2 is open for writing" in said and "qemu-img" in said and SERVER in said


def test_readers_and_logs_are_nobodys_harm(stage: Stage) -> None:
    stage.add("qemu-system-x86", "root.qcow2", server=SERVER)
    stage.add("qemu-img", "root.qcow2", mode="r")
    stage.add("qemu-system-x86", "console.log", server=SERVER)
    stage.add("qemu-system-x86", "console.log", server=OTHER)
    assert stage.watched() == []


def test_somebody_else_who_keeps_a_machines_disk_open(stage: Stage) -> None:
    stage.add("qemu-storage-da", "data")
    stage.add("python3", "data")
    watcher = Watcher(stage.state, every_s=0.1)
    with watcher:
        wait_for(lambda: watcher.wrong, 20, "the watcher to see it")
    said, = watcher.wrong
    assert "python3" in said and "qemu-storage-da" in said


def test_a_server_that_runs_twice(stage: Stage) -> None:
    stage.add("qemu-system-x86", "a.qcow2", server=SERVER, works=True)
    stage.add("qemu-system-x86", "b.qcow2", server=SERVER)
    stage.add("qemu-system-x86", "c.qcow2", server=OTHER, works=True)
    assert stage.watched() == []  # one of the two stands still: a move
    stage.add("qemu-system-x86", "d.qcow2", server=SERVER, works=True)
    said, = stage.watched()
    assert f"server {SERVER} runs in 2 QEMUs at once" in said


def test_a_volume_that_two_servers_write(stage: Stage) -> None:
    volume = "0a1b2c3d-0000-4000-8000-00000000000a"
    stage.add("qemu-storage-da", "nbd.sock", "--monitor", f"chardev=v{volume}-rw", mode="listen")
    stage.add("qemu-system-x86", "nbd.sock", server=SERVER, mode="connect")
    stage.add("qemu-system-x86", "nbd.sock", server=SERVER, mode="connect")  # it moves
    assert stage.watched() == []
    stage.add("qemu-system-x86", "nbd.sock", server=OTHER, mode="connect")
    said, = stage.watched()
    assert f"volume {volume} is written by servers" in said and SERVER in said and OTHER in said
