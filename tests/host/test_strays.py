"""Processes that no record names: those of this host, and not those of another host on the same machine."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudseed.host import netns, strays
from tests.support.daemon import needs_root, wait_for

pytestmark = [needs_root, pytest.mark.real]


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A network namespace, as another host of this machine has."""
    name = f"cst-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


def machine(server_id: str) -> subprocess.Popen[bytes]:
    """What looks like a QEMU of that server."""
    words = ["qemu-system-x86_64", "-c", "import time; time.sleep(60)", "-uuid", server_id]
    return subprocess.Popen(words, executable=sys.executable)


def test_a_machine_of_another_host_is_none_of_ours(elsewhere: str) -> None:
    mine, moved = str(uuid.uuid4()), str(uuid.uuid4())
    here = machine(mine)
    there = netns.run(elsewhere, lambda: machine(moved))
    try:
        # the second one's program has begun when its command line is its own
        wait_for(lambda: moved in Path(f"/proc/{there.pid}/cmdline").read_text(), 10, "the other host's machine to run")
        wait_for(lambda: strays.machines([mine, moved]), 10, "our own machine to run")
        assert strays.machines([mine, moved]) == {mine: here.pid}
    finally:
        for process in (here, there):
            process.kill()
            process.wait()
