"""Processes that outlive us: how they are started, found again and ended.

A process is named by its pid, its start time and the boot it belongs to, so a pid that the kernel has given
to another process is never taken for ours.  Signals go through a pidfd, which cannot change its process
either.
"""

from __future__ import annotations

import functools
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from cloudseed import points
from cloudseed.host.errors import HostError, from_os_error

_T = TypeVar("_T")


@functools.cache
def boot_id() -> str:
    """The kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class ProcessRecord(msgspec.Struct, frozen=True):
    """A process for all time; `start_ticks` is field 22 of /proc/<pid>/stat."""

    pid: int
    start_ticks: int
    boot: str

    @property
    def alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        stat = read_stat(self.pid)
        return (
            self.boot == boot_id()
            and stat is not None
            and stat.start_ticks == self.start_ticks
            and stat.state not in "ZX"
        )


@dataclass(frozen=True)
class Stat:
    """What /proc says of a process."""

    state: str
    start_ticks: int
    cpu_seconds: float
    rss_bytes: int


def read_stat(pid: int) -> Stat | None:
    """What /proc says of the process, or None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the command's name may hold spaces and parentheses: fields start after the last one
    fields = text.rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return Stat(
        state=fields[0],
        start_ticks=int(fields[19]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / ticks,
        rss_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
    )


def parent(pid: int) -> int | None:
    """The process's parent, or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text.rpartition(")")[2].split()[1])


def started_at(record: ProcessRecord) -> float:
    """When it started, in seconds since the epoch."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - record.start_ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    pass_fds: Sequence[int] = (),
    uid: int | None = None,
    gid: int | None = None,
    groups: Sequence[int] = (),
    umask: int = 0o077,
) -> ProcessRecord:
    """Start a process in a session of its own that outlives us; its output goes to `log`.

    With `uid` it runs as that user and no other group than `gid` and `groups`.
    """
    with open(log, "ab") as output:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=pass_fds,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
                user=uid,
                group=gid,
                extra_groups=list(groups) if uid is not None else None,
                umask=umask,
            )
        except FileNotFoundError as exc:
            raise HostError("missing_binary", f"{argv[0]} is not installed") from exc
        except OSError as exc:
            raise from_os_error(exc, f"starting {argv[0]}") from exc
    stat = read_stat(process.pid)
    # we do not wait for it through Popen, which would complain of a child that lives on
    process.returncode = 0
    return ProcessRecord(process.pid, stat.start_ticks if stat else 0, boot_id())


def save(path: Path, record: ProcessRecord) -> None:
    """Write the record in one step, so that a reader sees the old one or the new one."""
    save_json(path, record)


def load(path: Path) -> ProcessRecord | None:
    """The record in the file, or None when there is none that can be read."""
    return load_json(path, ProcessRecord)


def save_json(path: Path, value: object) -> None:
    """Keep a value in a file of its own."""
    replace_file(path, msgspec.json.encode(value))


def load_json(path: Path, kind: type[_T]) -> _T | None:
    """The value in the file, or None when there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write the file in one step."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError as exc:
        raise from_os_error(exc, f"writing {path}") from exc


def open_pidfd(record: ProcessRecord) -> int | None:
    """A pidfd of exactly that process, or None when it is gone."""
    try:
        descriptor = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return None
    if record.alive:
        return descriptor
    os.close(descriptor)
    return None


def find_descriptor(pid: int, path: Path) -> int:
    """The number under which a process has the file or directory open; `conflict` when it has not."""
    wanted = os.stat(path)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), wanted):
                    return int(name)
            except FileNotFoundError:
                continue
    except FileNotFoundError:
        pass
    raise HostError("conflict", f"process {pid} does not have {path.name} open: it was started by an older version")


def end(record: ProcessRecord, grace_s: float) -> None:
    """Ask the process to end, and after the grace time make it; returns when it is gone."""
    descriptor = open_pidfd(record)
    if descriptor is not None:
        try:
            for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
                points.point(f"send {number.name}")
                try:
                    signal.pidfd_send_signal(descriptor, number)
                except ProcessLookupError:
                    break
                if wait_readable(descriptor, wait_s):
                    break
            else:
                raise HostError("failed", f"process {record.pid} does not end even when killed")
        finally:
            os.close(descriptor)
    reap(record.pid)


def wait_readable(descriptor: int, timeout_s: float) -> bool:
    """Whether the descriptor becomes readable in time; a pidfd does when its process ends."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def reap(pid: int) -> int | None:
    """Collect the exit status of an ended child; None when it is not our child or not ended."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if ended else None


def run_tool(argv: Sequence[str], doing: str, *, input_text: str | None = None, timeout_s: float = 30.0) -> str:
    """Run a short tool to its end and return what it printed; HostError carries its own words."""
    try:
        done = subprocess.run(
            argv,
            input=input_text,
            stdin=subprocess.DEVNULL if input_text is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd="/",
            env={"PATH": f"{os.defpath}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"},
            check=False,
        )
    except FileNotFoundError as exc:
        raise HostError("missing_binary", f"{argv[0]} is not installed ({doing})") from exc
    except subprocess.TimeoutExpired as exc:
        raise HostError("failed", f"{argv[0]} did not end within {timeout_s:.0f} s while {doing}") from exc
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise HostError("failed", f"{argv[0]} failed while {doing}: {' / '.join(words[:4])[:500]}")
    return done.stdout
