"""A cloud of its own processes, as `cloudseed up` starts it, for tests that kill, restart or look at it from outside.

    with Daemon(driver="fake") as cloud:
        cloud.api.get("/compute/v2.1/servers")
        cloud.kill_control()
        cloud.start()

State lies in a short directory of its own (unix socket paths are limited to 107 bytes); everything is purged at the
end, whatever happened.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from bench.small_disks import REAL_MIB, small_disks
from bench.watcher import Watcher

from cloudseed.cli import control, down, launching, openstack, processes
from cloudseed.cli.api import Api
from cloudseed.cli.hosts import shape
from cloudseed.kernel import control as kernel_control
from cloudseed.kernel.config import load, load_secrets
from cloudseed.ledger import checks
from cloudseed.ledger.violations import operations
from tests.support import client

ROOT = Path(__file__).parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: real machines and network namespaces")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Daemon:
    """One cloud; `settings` are kernel.config's.  `api` is logged in as its admin.

    `directory` is where its state lies, a new one by default; it is removed at the end.  `small`: hosts that get a
    small file system of their own, which can be full while others are not.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, directory: Path | None = None,
                 small: Collection[str] = (), **settings: Any) -> None:
        self.state = (directory or Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))) / "s"
        self.state.parent.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            self.state.parent.chmod(0o711)  # the control process, of another user, must pass
        # no guest's packet leaves this machine
        values = {"password_hash_rounds": 4, "external_nat": False, **settings, "state": str(self.state),
                  "port": free_port()}
        self.config = load(**values)
        self.environment = dict(environment or {})
        self._watcher: Watcher | None = None
        self._disks = ExitStack()
        self._small = small

    def __enter__(self) -> Daemon:
        try:
            if self._small:
                self._disks.enter_context(small_disks(self.state, self._small, REAL_MIB))
            self.start()
            made = shape.load(self.state)
            if made is not None and self.config.driver == "qemu":
                self._watcher = Watcher(self.state, [place.namespace for place in made.places(self.state)])
                self._watcher.start()
            return self
        except BaseException:
            self.close()
            raise

    @property
    def watcher(self) -> Watcher:
        """Of real machines on many hosts: it looks at every disk, and the cloud's end fails when it saw harm."""
        assert self._watcher is not None
        return self._watcher

    def start(self, environment: Mapping[str, str] | None = None) -> Daemon:
        """Start what does not run; `environment` reaches the processes that are started now."""
        if os.geteuid() == 0 and not (self.state / "program").exists():
            self.state.mkdir(mode=0o700, exist_ok=True)
            shutil.copytree(_program(), self.state / "program")
        control.start(self.config, lambda text: None, {**self.environment, **(environment or {})})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._watcher.stop()
        if kind is not None:
            for log in sorted(self.state.glob("logs/*.log")):
                print(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-60:]))
        self.close()
        if kind is None and self._watcher is not None and self._watcher.wrong:
            pytest.fail("\n".join(self._watcher.wrong))

    def close(self) -> None:
        try:
            self._disks.close()
            down.purge(self.state, self.state.parent / "clouds.yaml")
        finally:
            shutil.rmtree(self.state.parent, ignore_errors=True)

    @property
    def url(self) -> str:
        return self.config.public_url

    @property
    def password(self) -> str:
        """The admin's."""
        return load_secrets(self.state).passwords["admin"]

    @property
    def api(self) -> Api:
        return Api(self.url, "admin", self.password, "admin")

    def kill_control(self) -> None:
        """kill -9 of the control process."""
        self._kill(processes.load(self.state).control)

    def kill_host(self) -> None:
        """kill -9 of the host process."""
        self._kill(processes.load(self.state).host)

    @staticmethod
    def _kill(process: processes.Process | None) -> None:
        assert process is not None and process.alive()
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: not process.alive(), 10, "the process to end")
        _reap(process.pid)

    def restart_armed(self, point: str) -> None:
        """A new control process, which dies as by kill -9 when it passes `point` (kernel/operations/faults.py)."""
        self.stop_control()
        self.start({"CLOUDSEED_KILL_AT": point})

    def wait_killed(self, point: str, seconds: float = 30.0) -> None:
        """Until the control process died at `point`; fails when it lives on, or died of something else."""
        process = processes.load(self.state).control
        assert process is not None
        wait_for(lambda: not process.alive(), seconds, f"the process to come to {point}")
        _reap(process.pid)
        log = (self.state / "logs" / "control.log").read_text(errors="replace")
        assert log.rstrip().endswith(f"killed at {point}"), log[-2000:]

    def settle(self, seconds: float = 30.0) -> checks.Picture:
        """Until no operation is open and the audit is clean; returns that picture, or fails with what is wrong."""
        until = time.monotonic() + seconds
        while True:
            picture: checks.Picture = self.ask("ledger")
            waiting = [operation for _, operation in operations(picture)]
            wrong = checks.check(picture) + self.fake_machines_wrong(picture)
            if not waiting and not wrong:
                return picture
            if time.monotonic() > until:
                pytest.fail(f"after {seconds:g} s: open operations {waiting}, violations {wrong}")
            time.sleep(0.1)

    def fake_machines_wrong(self, picture: checks.Picture) -> list[str]:
        """The fake hypervisor's machines are no host's, so the ledger does not see them: compared here."""
        if self.config.driver != "fake":
            return []
        found = {}
        for path in self.state.glob("**/nova-compute/*/machines/*.json"):
            with contextlib.suppress(FileNotFoundError):  # of a machine that goes meanwhile
                text = path.read_text()
                found[path.stem] = "started_at" in text and '"started_at":null' not in text
        # a resized server runs or not, as it did before
        servers = {server["id"]: "active" if server["vm_state"] == "resized" and server["power_state"] == 1
                   else server["vm_state"] for server in picture["nova"]["servers"] if server["host"] is not None}
        wrong = [f"machine of no server: {server_id}" for server_id in found.keys() - servers.keys()]
        wrong += [f"server without machine: {server_id}" for server_id in servers.keys() - found.keys()]
        return wrong + [f"server {server_id} is {state}, its machine runs: {found[server_id]}"
                        for server_id, state in servers.items()
                        if server_id in found and found[server_id] != (state in ("active", "paused", "rescued"))]

    def stop_control(self) -> None:
        """Stop the services in order, as `down` does."""
        control.stop_control(self.state)

    def ask(self, command: str, **arguments: Any) -> Any:
        return kernel_control.ask(control.control_socket(self.state), command, timeout_s=60, **arguments)

    def audit(self) -> list[checks.Violation]:
        """The ledger's violations; an empty list is a clean cloud."""
        return checks.check(self.ask("ledger"))

    def cloudseed(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One of our own commands against this cloud."""
        env = {**os.environ, "CLOUDSEED_STATE": str(self.state)}
        done = subprocess.run(
            [str(ROOT / "cloudseed"), *arguments], env=env, text=True, capture_output=True, timeout=300
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def client(self, lock: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The unmodified openstack client, from the environment made from `requirements/<lock>.lock`."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHONPATH"))}
        env |= openstack.variables(self.state, self.url)
        return subprocess.run(
            [str(openstack.environment(lock) / "bin" / "openstack"), *arguments],
            env=env,
            text=True,
            capture_output=True,
            timeout=300,
        )

    def openstack(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As `client("client", ...)`, many times faster: for who needs hundreds of commands."""
        return client.client().run(list(arguments), openstack.variables(self.state, self.url))


@functools.cache
def _program() -> Path:
    """The program that clouds run, compiled once a run; a cloud whose copy is not that of the checkout compiles it."""
    directory = Path(tempfile.mkdtemp(prefix="cloudseed-program-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    launching.snapshot(directory)
    return directory / "program"


def _reap(pid: int) -> None:
    """If it was our own child, take its exit status."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The condition's first true value; fails with `what` when time is up."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > until:
            pytest.fail(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.05)
    return value
