"""Starting processes of a cloud: the program they run, their user and namespace, and the wait until they answer."""

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
from cloudseed.cli import processes
from cloudseed.cli.processes import Process
from cloudseed.host import netns
from cloudseed.kernel.config import Config, data_directory


class StartFailed(RuntimeError):
    """The cloud did not start; the text says why and shows the end of the log."""


def source(state: Path) -> Path:
    """Where a cloud's processes have their program from."""
    return state / "program" if os.geteuid() == 0 else Path(cloudseed.__file__).parent.parent


def snapshot(state: Path) -> None:
    """A copy of the program for the running cloud: the checkout may be unreadable to its user, and edits or a
    `git pull` must not reach into what runs.  Compiled once, since its user may not write there."""
    here, target = Path(cloudseed.__file__).parent, state / "program"
    files = sorted(path for path in here.rglob("*") if path.is_file() and path.suffix != ".pyc")
    stats = [(str(path.relative_to(here)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    digest = hashlib.blake2b(repr(stats).encode(), digest_size=16).hexdigest()
    mark = target / ".digest"
    if mark.exists() and mark.read_text() == digest:
        return
    fresh = state / "program.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(here, fresh / "cloudseed", ignore=shutil.ignore_patterns("__pycache__"))
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


def write_settings(file: Path, config: Config, gid: int | None) -> None:
    """The settings of a process, which only root and that group may read: they hold passwords."""
    temporary = file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(msgspec.json.encode(config))
        if gid is not None:
            os.fchown(descriptor, 0, gid)
            os.fchmod(descriptor, 0o640)
    temporary.rename(file)


def spawn(
    state: Path,
    program: Path,
    name: str,
    arguments: list[str],
    uid: int | None,
    environment: dict[str, str] | None,
    namespace: str | None = None,
) -> Process:
    """Start Python with `program` on its path, in the network namespace if one is named, and its own log."""
    log = state / "logs" / f"{name}.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        env = {
            "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
            "PYTHONPATH": str(program),
            "LANG": "C.UTF-8",
            "HOME": str(data_directory(state)),
            "MALLOC_ARENA_MAX": "2",
            "CLOUDSEED_CACHE": os.environ.get("CLOUDSEED_CACHE", ""),
            **(environment or {}),
        }
        extra = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}

        def begin() -> subprocess.Popen[bytes]:
            return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                cwd="/",
                env=env,
                umask=0o077,
                **extra,
            )

        child = begin() if namespace is None else netns.run(namespace, begin)
    finally:
        os.close(descriptor)
    child.returncode = 0  # it outlives this object, on purpose: without this, Popen warns of it
    return Process(child.pid, processes.start_time(child.pid))


def wait(process: Process, ready: Callable[[], bool], log: Path, seconds: float) -> None:
    """Until the process is ready; raises StartFailed when it ends or takes longer."""
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
