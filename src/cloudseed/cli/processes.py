"""The processes of a cloud: started, found again, ended by id and never by name.

`<state>/run/processes.json` says who they are; a process counts as ours only while its id and its start time
both fit, so a reused id is never signalled.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec

CONTROL_UID = 60700  # numeric, without an account: nothing to create, nothing to clean up


class Process(msgspec.Struct, frozen=True):
    """A process by id and start time (clock ticks since boot, /proc/<pid>/stat field 22)."""

    pid: int
    started: int

    def alive(self) -> bool:
        return self.started != 0 and start_time(self.pid) == self.started


class Processes(msgspec.Struct):
    """What `up` started: the privileged host process (absent without root) and the control process."""

    control: Process | None = None
    host: Process | None = None
    url: str = ""
    name: str = ""
    uid: int = 0


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
    if process is None or not process.alive():
        return False
    os.kill(process.pid, signal.SIGTERM)
    until = time.monotonic() + grace_s
    while process.alive():
        if time.monotonic() > until:
            os.kill(process.pid, signal.SIGKILL)
            until = time.monotonic() + 60
        _reap(process.pid)
        time.sleep(0.02)
    return True


def _reap(pid: int) -> None:
    """If it was our own child, take its exit status; a zombie would look alive to others."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
