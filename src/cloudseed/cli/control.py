"""Starting and stopping a cloud's processes: what `up`, `down`, `demo` and the tests share."""

from __future__ import annotations

import compileall
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

import cloudseed
from cloudseed.cli import console_scripts, processes
from cloudseed.cli.openstack import cache
from cloudseed.cli.processes import CONTROL_UID, Process, Processes, host_socket
from cloudseed.kernel import control
from cloudseed.kernel.config import Config, data_directory

Progress = Callable[[str], None]


class StartFailed(RuntimeError):
    """The cloud did not start; the text says why and shows the end of the log."""


def control_socket(state: Path) -> Path:
    return data_directory(state) / "control.sock"


def running(state: Path) -> dict[str, object] | None:
    """The running cloud's own word on itself; None when it does not answer."""
    try:
        status: dict[str, object] = control.ask(control_socket(state), "status", timeout_s=5)
    except (OSError, control.ControlError, msgspec.DecodeError):
        return None
    return status


def start(config: Config, progress: Progress, environment: dict[str, str] | None = None) -> Processes:
    """Start what does not run yet; return when every endpoint answers.  Raises StartFailed."""
    state, root = config.state_path, os.geteuid() == 0
    uid = CONTROL_UID if root else os.geteuid()
    _prepare(state, uid)
    known = start_host(config, progress, environment)
    source = _source(state)
    if not (known.control is not None and known.control.alive() and running(state)):
        console_scripts.ensure(state, cache(), progress)  # `up` says so when there are none
        progress("starting the services")
        processes.end(known.control)
        control_socket(state).unlink(missing_ok=True)
        settings = state / "run" / "config.json"
        settings.write_bytes(msgspec.json.encode(config))
        if root:
            os.chown(settings, 0, uid)
            settings.chmod(0o640)
        known.control = _spawn(
            state,
            source,
            "control",
            ["-m", "cloudseed.cli", "daemon", "--config", str(settings)],
            uid if root else None,
            environment,
        )
        known.url, known.name, known.uid = config.public_url, config.name, uid
        processes.save(state, known)
        _wait(known.control, lambda: running(state) is not None, state / "logs" / "control.log", 90)
    processes.save(state, known)
    return known


def start_host(
    config: Config, progress: Progress = lambda text: None, environment: dict[str, str] | None = None
) -> Processes:
    """Start the privileged host process unless it runs; nothing without root."""
    state, uid = config.state_path, CONTROL_UID
    known = processes.load(state)
    if os.geteuid() != 0:
        host_socket(state).unlink(missing_ok=True)
        return known
    _snapshot(state)
    if not (known.host is not None and known.host.alive() and host_socket(state).exists()):
        progress("starting the host process")
        host_socket(state).unlink(missing_ok=True)
        known.host = _spawn(
            state,
            _source(state),
            "host",
            [
                "-m",
                "cloudseed.host",
                "--state",
                str(state),
                "--socket",
                str(host_socket(state)),
                "--uid",
                str(uid),
                "--gid",
                str(uid),
                "--name",
                config.name,
                *(["--external-nat"] if config.external_nat else []),
            ],
            None,
            environment,
        )
        processes.save(state, known)
        _wait(known.host, host_socket(state).exists, state / "logs" / "host.log", 20)
    return known


def _source(state: Path) -> Path:
    return state / "program" if os.geteuid() == 0 else Path(cloudseed.__file__).parent.parent


def stop(state: Path) -> bool:
    """Stop the control and the host process; guests and their networks run on.  True when something ran."""
    known = processes.load(state)
    ended = processes.end(known.control)
    return processes.end(known.host) or ended


def stop_control(state: Path) -> bool:
    """Stop the services only."""
    return processes.end(processes.load(state).control)


def _prepare(state: Path, uid: int) -> None:
    """The directories, none of them open to others.  The control process may pass through what is root's and
    write only to its own part, so that it can never change what root runs or reads."""
    root = os.geteuid() == 0
    for directory in (state, state / "run"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if root:
            os.chown(directory, 0, uid)
            directory.chmod(0o710)
    (state / "logs").mkdir(mode=0o700, exist_ok=True)
    data_directory(state).mkdir(mode=0o700, exist_ok=True)
    if root:
        os.chown(data_directory(state), uid, uid)


def _snapshot(state: Path) -> None:
    """A copy of the program for the running cloud: the checkout may be unreadable to its user, and edits or a
    `git pull` must not reach into what runs.  Compiled once, since its user may not write there."""
    source, target = Path(cloudseed.__file__).parent, state / "program"
    files = sorted(path for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc")
    stats = [(str(path.relative_to(source)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    digest = hashlib.blake2b(repr(stats).encode(), digest_size=16).hexdigest()
    mark = target / ".digest"
    if mark.exists() and mark.read_text() == digest:
        return
    fresh = state / "program.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(source, fresh / "cloudseed", ignore=shutil.ignore_patterns("__pycache__"))
    prefix, sys.pycache_prefix = sys.pycache_prefix, None
    try:
        compileall.compile_dir(fresh, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    finally:
        sys.pycache_prefix = prefix
    (fresh / ".digest").write_text(digest)
    for path in (fresh, *fresh.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def _spawn(
    state: Path, source: Path, name: str, arguments: list[str], uid: int | None, environment: dict[str, str] | None
) -> Process:
    log = state / "logs" / f"{name}.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        env = {
            "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
            "PYTHONPATH": str(source),
            "LANG": "C.UTF-8",
            "HOME": str(data_directory(state)),
            "MALLOC_ARENA_MAX": "2",
            "CLOUDSEED_CACHE": os.environ.get("CLOUDSEED_CACHE", ""),
            **(environment or {}),
        }
        extra = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
        child = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            cwd="/",
            env=env,
            umask=0o077,
            **extra,
        )  # type: ignore[call-overload]
    finally:
        os.close(descriptor)
    child.returncode = 0  # it outlives this object, on purpose: without this, Popen warns of it
    return Process(child.pid, processes.start_time(child.pid))


def _wait(process: Process, ready: Callable[[], bool], log: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not ready():
        if not process.alive():
            raise StartFailed(f"it ended at once; the end of {log}:\n{_tail(log)}")
        if time.monotonic() > until:
            raise StartFailed(f"it did not answer within {seconds:g} s; the end of {log}:\n{_tail(log)}")
        time.sleep(0.02)


def _tail(log: Path, count: int = 25) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return "(no log)"
