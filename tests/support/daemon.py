"""A cloud of its own processes, as `cloudseed up` starts it, for tests that kill, restart or look at it from outside.

    with Daemon(driver="fake") as cloud:
        cloud.api.get("/compute/v2.1/servers")
        cloud.kill_control()
        cloud.start()

State lies in a short directory of its own (unix socket paths are limited to 107 bytes); everything is purged at the
end, whatever happened.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from cloudseed.cli import control, down, processes
from cloudseed.cli.api import Api
from cloudseed.kernel import control as kernel_control
from cloudseed.kernel.config import load, load_secrets
from cloudseed.ledger import checks

ROOT = Path(__file__).parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: real machines and network namespaces")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Daemon:
    """One cloud; `settings` are kernel.config's.  `api` is logged in as its admin."""

    def __init__(self, environment: Mapping[str, str] | None = None, **settings: Any) -> None:
        self.state = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp")) / "s"
        if os.geteuid() == 0:
            self.state.parent.chmod(0o711)  # the control process, of another user, must pass
        values = {"password_hash_rounds": 4, **settings, "state": str(self.state), "port": free_port()}
        self.config = load(**values)
        self.environment = dict(environment or {})

    def __enter__(self) -> Daemon:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def start(self, environment: Mapping[str, str] | None = None) -> Daemon:
        """Start what does not run; `environment` reaches the processes that are started now."""
        control.start(self.config, lambda text: None, {**self.environment, **(environment or {})})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for log in sorted(self.state.glob("logs/*.log")):
                print(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-60:]))
        self.close()

    def close(self) -> None:
        try:
            down.purge(self.state, self.state.parent / "clouds.yaml")
        finally:
            shutil.rmtree(self.state.parent, ignore_errors=True)

    @property
    def url(self) -> str:
        return self.config.public_url

    @property
    def api(self) -> Api:
        return Api(self.url, "admin", load_secrets(self.state).passwords["admin"], "admin")

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
        wait_for(lambda: not process.alive() or processes.end(process, 0), 10, "the process to end")

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
        from cloudseed.cli import openstack

        env = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHONPATH"))}
        env |= openstack.variables(self.state, self.url)
        return subprocess.run(
            [str(openstack.environment(lock) / "bin" / "openstack"), *arguments],
            env=env,
            text=True,
            capture_output=True,
            timeout=300,
        )


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The condition's first true value; fails with `what` when time is up."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > until:
            pytest.fail(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.05)
    return value
