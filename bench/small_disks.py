"""Hosts whose state lies on small file systems of their own, so that one can be full while the others are not."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudseed.cli import processes
from cloudseed.cli.hosts import shape, stop

_MIB = 1 << 20
SIZE_MIB = 64  # of a host with pretended machines
REAL_MIB = 384  # with images and disks of real, tiny ones


def mount(place: Path, mib: int) -> None:
    """An empty file system of that size, in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0711", "tmpfs", str(place)],
                   check=True, capture_output=True)


def unmount(place: Path) -> None:
    """At once for whoever looks there from now on, even while somebody has a file open."""
    subprocess.run(["umount", "--lazy", str(place)], check=True, capture_output=True)


def fill(filler: Path) -> None:
    """Leave no byte."""
    with filler.open("wb", buffering=0) as file:
        for size in (_MIB, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


@contextmanager
def small_disks(state: Path, names: Collection[str], mib: int = SIZE_MIB) -> Iterator[None]:
    """The hosts of a cloud that has not begun have small disks.  At the end they lose their power, since `purge`
    removes no file system: enter it within what purges the cloud."""
    places = [state / "hosts" / name for name in names]
    mounted: list[Path] = []
    try:
        for place in places:
            place.mkdir(mode=0o711, parents=True)
            mount(place, mib)
            mounted.append(place)
        yield
    finally:
        let_go(state, mounted)


def let_go(state: Path, mounted: list[Path]) -> None:
    """Kill the processes of the hosts that lie there, and unmount."""
    made = shape.load(state)
    for host in made.places(state) if made is not None else ():
        if host.state in mounted:
            stop.kill(host, processes.load(state))
    for place in mounted:
        unmount(place)
