"""The processes of a cloud: started, found again, ended by id and never by name.

`<state>/run/processes.json` says who they are; a process counts as ours only while its id and its start time
both fit, so a reused id is never signalled.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

CONTROL_UID = 60700  # numeric, without an account: nothing to create, nothing to clean up


class Process(msgspec.Struct, frozen=True):
    """A process by id and start time (clock ticks since boot, /proc/<pid>/stat field 22)."""

    pid: int
    started: int

    def alive(self) -> bool:
        return self.started != 0 and start_time(self.pid) == self.started


class HostProcesses(msgspec.Struct):
    """The processes of one of many hosts: the privileged one and the agents' one."""

    host: Process | None = None
    agent: Process | None = None


class Processes(msgspec.Struct):
    """What `up` started: the control process, and the privileged host process (absent without root).

    In a cloud of many hosts, instead of the latter: `servers`, the database and the broker by name, and `hosts` by
    name.
    """

    control: Process | None = None
    host: Process | None = None
    url: str = ""
    name: str = ""
    uid: int = 0
    servers: dict[str, Process] = {}
    hosts: dict[str, HostProcesses] = {}


def every(known: Processes) -> list[tuple[str, Process]]:
    """All processes with a name for people, each after those that it asks."""
    named = [*known.servers.items(), ("host", known.host)]
    named += [(f"{name} host", pair.host) for name, pair in known.hosts.items()]
    named += [("control", known.control)]
    named += [(f"{name} agent", pair.agent) for name, pair in known.hosts.items()]
    return [(name, process) for name, process in named if process is not None]


def start_time(pid: int) -> int:
    """When the process was started, 0 when there is none (a zombie is none)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def record_path(state: Path) -> Path:
    return state / "run" / "processes.json"


def host_socket(state: Path) -> Path:
    """Where the host process of a cloud listens."""
    return state / "run" / "host.sock"


def load(state: Path) -> Processes:
    """The record, empty when there is none."""
    try:
        return msgspec.json.decode(record_path(state).read_bytes(), type=Processes)
    except (OSError, msgspec.DecodeError):
        return Processes()


def save(state: Path, processes: Processes) -> None:
    path = record_path(state)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(processes))
    temporary.chmod(0o600)
    temporary.rename(path)


def end(process: Process | None, grace_s: float = 15.0) -> bool:
    """Ask the process to end, insist after `grace_s`.  True when it was alive."""
    return end_together([process], grace_s)


def end_together(every: Sequence[Process | None], grace_s: float = 15.0) -> bool:
    """As `end`, of several at once.  True when one was alive."""
    alive = [process for process in every if process is not None and process.alive()]
    for process in alive:
        os.kill(process.pid, signal.SIGTERM)
    until = time.monotonic() + grace_s
    waiting = list(alive)
    while waiting := [process for process in waiting if process.alive()]:
        if time.monotonic() > until:
            for process in waiting:
                os.kill(process.pid, signal.SIGKILL)
            until = time.monotonic() + 60
        for process in waiting:
            reap(process.pid)
        time.sleep(0.02)
    return bool(alive)


def reap(pid: int) -> None:
    """If it was our own child, take its exit status; a zombie would look alive to others."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
