"""Watches the disks of a running cloud from outside: never two that write one disk, never two that run one server.

It believes nothing that the cloud says and reads /proc alone (and, for volumes, which sockets are connected), again
and again while tests harm the cloud.  What it finds:

- a file below the state directory that two programs of QEMU's have open for writing (machines, storage daemons,
  qemu-img), or one of them and, for longer than a start takes, anybody else;
- two QEMUs of one server whose processors both run.  While a server moves there are two, one of which stands still:
  the source until the hand-over, the destination after it.  Processors that both worked in two successive intervals
  overlapped, whenever the hand-over was;
- a volume with writing connections of two servers to its storage daemon, unless it is one that several may have.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from bench.beside import Beside

_PROGRAMS = ("qemu-system-x86", "qemu-storage-da", "qemu-img", "qemu-nbd")  # as the kernel shortens their names
_NO_DISKS = re.compile(r"/(console\.log|qemu\.log|log)( \(deleted\))?$")  # which QEMU gets open too
_EXITING = 0x4  # PF_EXITING: it is dead and its files are being closed
_RAN_S = 0.002  # a processor that stands still is woken for a word now and then: that takes microseconds
_OTHERS_S = 3.0  # how long somebody else may have a machine's disk open: a start hands it over
_CONNECTED = re.compile(r"\s(\S+) (\d+) +\S+ (\d+)\s*$")
_WRITERS = re.compile(r"chardev=v([0-9a-f-]{36})-rw$")  # a storage daemon's monitor is named for its volume
_WAY = re.compile(r"/([0-9a-f-]{36})\.sock$")  # of an attachment whose volume another host has


class _Process(msgspec.Struct, frozen=True):
    pid: int
    program: str
    words: list[str]

    @property
    def server(self) -> str | None:
        """The server whose machine it is."""
        return self.words[self.words.index("-uuid") + 1] if "-uuid" in self.words else None

    @property
    def volume(self) -> str | None:
        """The volume whose writers it serves."""
        return next((found[1] for word in self.words if (found := _WRITERS.match(word))), None)

    def __str__(self) -> str:
        what = self.server or " ".join(self.words[:2])[:80]
        return f"{self.program} {self.pid} ({what})"


class Watcher(Beside):
    """Looks every `every_s` seconds from `start` to `stop`; what was wrong is in `wrong`, each thing once.

        with Watcher(state, namespaces) as watcher: ...
        assert not watcher.wrong and watcher.looks

    `state`: the cloud's directory.  `namespaces`: the network namespaces of its hosts, where volumes' connections are
    ("" is the machine's own).  `shared`: volumes that several servers may write.  `may_run_twice`: servers that were
    evacuated from a host that nobody could stop.
    """

    def __init__(self, state: Path, namespaces: Collection[str] = (), every_s: float = 0.4) -> None:
        super().__init__("watcher", every_s)
        self._root = f"{state}/"
        self._namespaces = list(namespaces)
        self._ran: dict[int, int] = {}
        self._worked: dict[str, set[int]] = {}
        self._others: dict[tuple[int, int, int], float] = {}
        self._crowded: set[str] = set()
        self._said: set[str] = set()
        self.shared: set[str] = set()
        self.may_run_twice: set[str] = set()
        self.ran_twice: set[str] = set()  # those of them that did
        self.wrong: list[str] = []
        self.looks = 0
        self.machines_seen: set[str] = set()  # servers that had a QEMU
        self.volumes_seen: set[str] = set()  # volumes that were written through their daemon

    def look(self) -> None:
        found = list(_processes(_PROGRAMS))
        disks, sockets = self._disks_of(found)
        self._check_disks(disks)
        self._check_machines(found)
        if self.looks % 3 == 0:  # dearer, and what they look for lasts
            self._check_others(disks)
            self._check_volumes(sockets)
        self.looks += 1

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.wrong.append(f"{time.strftime('%H:%M:%S')} {text}")

    # ---- files

    def _disks_of(self, found: list[_Process]) -> tuple[dict[tuple[int, int], dict[int, tuple[_Process, str]]],
                                                         dict[int, _Process]]:
        """Files of the cloud that these have open for writing, by device and inode; and whose each socket is."""
        disks: dict[tuple[int, int], dict[int, tuple[_Process, str]]] = defaultdict(dict)
        sockets = {}
        for process in found:
            for number, target in _descriptors(process.pid):
                if target.startswith("socket:["):
                    sockets[int(target[8:-1])] = process
                elif self._is_disk(target) and (key := _written(process.pid, number)) is not None:
                    disks[key][process.pid] = process, target
        return disks, sockets

    def _is_disk(self, target: str) -> bool:
        return target.startswith(self._root) and not _NO_DISKS.search(target)

    def _check_disks(self, disks: dict[tuple[int, int], dict[int, tuple[_Process, str]]]) -> None:
        for writers in disks.values():
            alive = [(process, path) for process, path in writers.values() if _runs(process.pid)]
            if len(alive) > 1:
                self._say(f"{alive[0][1]} is open for writing in " + " and ".join(str(who) for who, _ in alive))

    def _check_others(self, disks: dict[tuple[int, int], dict[int, tuple[_Process, str]]]) -> None:
        now, seen = time.monotonic(), dict[tuple[int, int, int], float]()
        for process in _processes() if disks else ():
            if process.program in _PROGRAMS or process.pid == os.getpid():
                continue
            for number, target in _descriptors(process.pid):
                if not self._is_disk(target) or (key := _written(process.pid, number)) not in disks or key is None:
                    continue
                seen[(*key, process.pid)] = since = self._others.get((*key, process.pid), now)
                if now - since > _OTHERS_S and _runs(process.pid):
                    whose = " and ".join(str(who) for who, _ in disks[key].values())
                    self._say(f"{target} is open for writing in {whose}, and for {now - since:.0f} s in {process}")
        self._others = seen

    # ---- machines

    def _check_machines(self, found: list[_Process]) -> None:
        """Which processors worked since the last look."""
        ran, worked = dict[int, int](), dict[str, set[int]]()
        for process in found:
            if process.server is None or not any(word.startswith(self._root) for word in _paths_of(process)):
                continue
            self.machines_seen.add(process.server)
            ran[process.pid] = total = _processors_ran(process.pid)
            if total - self._ran.get(process.pid, total) > _RAN_S * 1e9:
                worked.setdefault(process.server, set()).add(process.pid)
        for server, pids in worked.items():
            both = pids & self._worked.get(server, set())
            if len(both) > 1 and server in self.may_run_twice:
                self.ran_twice.add(server)
            elif len(both) > 1:
                self._say(f"server {server} runs in {len(both)} QEMUs at once: {sorted(both)}")
        self._ran, self._worked = ran, worked

    # ---- volumes

    def _check_volumes(self, sockets: dict[int, _Process]) -> None:
        """`sockets`: of the inode of each that a program of QEMU's has, the program."""
        writers: dict[str, set[str]] = defaultdict(set)  # of a volume
        connections: dict[str, int] = defaultdict(int)
        ways: list[tuple[str, str]] = []
        for namespace in self._namespaces:
            for path, own, peer in _connected(namespace):
                here, there = sockets.get(own), sockets.get(peer)
                if here is not None and here.volume is not None and path.endswith("/nbd.sock"):
                    connections[here.volume] += 1
                    if there is not None and there.server is not None:
                        writers[here.volume].add(self._writer(there))
                elif there is not None and there.server is not None and (way := _WAY.search(path)):
                    ways.append((self._writer(there), way[1]))
        volumes = self._volumes_of() if ways else {}
        for writer, attachment in ways:
            if (volume := volumes.get(attachment)) is not None:
                writers[volume].add(writer)
        # a way may be connected at the machine's end while it is being cut: the daemon's own connections count
        crowded = {volume for volume, several in writers.items()
                   if len(several) > 1 and connections[volume] > 1 and volume not in self.shared}
        for volume in crowded & self._crowded:
            self._say(f"volume {volume} is written by servers {sorted(writers[volume])} at once")
        self._crowded = crowded
        self.volumes_seen |= {volume for volume, several in writers.items() if several and connections[volume]}

    def _writer(self, machine: _Process) -> str:
        """Machines of one server may both be connected, while it moves, but for those that nobody could stop."""
        return f"{machine.server} ({machine.pid})" if machine.server in self.may_run_twice else machine.server or ""

    def _volumes_of(self) -> dict[str, str]:
        """Of each attachment that may write, its volume."""
        found = {}
        for path in Path(self._root).glob("**/volumes/*/exports.json"):
            try:
                exports: dict[str, bool] = msgspec.json.decode(path.read_bytes())
            except (OSError, msgspec.DecodeError):
                continue
            found.update({attachment: path.parent.name for attachment, only_reads in exports.items()
                          if not only_reads})
        return found


def _processes(programs: Collection[str] = ()) -> Iterator[_Process]:
    """Those of these programs, or all."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                program = Path(f"/proc/{name}/comm").read_text().strip()
                if programs and program not in programs:
                    continue
                words = Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            yield _Process(int(name), program, words[:-1])


def _descriptors(pid: int) -> Iterator[tuple[str, str]]:
    """(number, what it is a link to) of each."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for name in names:
        try:
            yield name, os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue


def _paths_of(process: _Process) -> Iterator[str]:
    return (target for _, target in _descriptors(process.pid))


def _written(pid: int, number: str) -> tuple[int, int] | None:
    """Device and inode of a file or block device that the descriptor may write to."""
    try:
        status = os.stat(f"/proc/{pid}/fd/{number}")
        flags = next(int(line.split()[1], 8) for line in Path(f"/proc/{pid}/fdinfo/{number}").read_text().splitlines()
                     if line.startswith("flags:"))
    except (OSError, StopIteration):
        return None
    if flags & os.O_ACCMODE == os.O_RDONLY or flags & os.O_PATH:
        return None
    if stat.S_ISBLK(status.st_mode):
        return 0, status.st_rdev
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _runs(pid: int) -> bool:
    """Neither dead nor on its way out, when nothing of it works any more but the kernel closes its files."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and not int(fields[6]) & _EXITING


def _processors_ran(pid: int) -> int:
    """Nanoseconds that the machine's virtual processors have run (their threads have names of their own)."""
    total = 0
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return 0
    for thread in threads:
        try:
            if Path(f"/proc/{pid}/task/{thread}/comm").read_text().startswith("CPU "):
                total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
        except (OSError, IndexError):
            continue
    return total


def _connected(namespace: str) -> Iterator[tuple[str, int, int]]:
    """(own path, own inode, the other's inode) of each connected socket of that network namespace that has a path."""
    inside = ("ip", "netns", "exec", namespace) if namespace else ()
    try:
        said = subprocess.run([*inside, "ss", "-xnH"], text=True, capture_output=True, timeout=30).stdout
    except subprocess.TimeoutExpired:  # the machine is busy: the next look will tell
        return
    for line in said.splitlines():
        if (found := _CONNECTED.search(line)) and found[1].startswith("/"):
            yield found[1], int(found[2]), int(found[3])
