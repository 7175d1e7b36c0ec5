"""A cloud for one benchmark: started by the launcher, in a directory and on a port of its own, purged at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from cloudseed.cli import control, processes
from cloudseed.cli.api import Api
from cloudseed.kernel import control as kernel_control
from cloudseed.kernel.config import load_secrets

ROOT = Path(__file__).parents[1]


class CloudFailed(RuntimeError):
    """One of our own commands failed; the text is what it said."""


def free_port() -> int:
    """A port of the loopback that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class BenchCloud:
    """`driver` is nova's (fake, or auto for real machines where possible); `settings` are kernel.config's.

    Entering it does not start it: `up` does, so that starts can be measured.
    """

    def __init__(self, driver: str = "fake", **settings: object) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="csb-"))
        if os.geteuid() == 0:
            self._directory.chmod(0o711)  # the control process, of another user, must pass
        self.state = self._directory / "s"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = [f"--set={name}={value}" for name, value in settings.items()]
        self.driver = driver

    def __enter__(self) -> BenchCloud:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._cloudseed("down", "--purge")
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    def up(self) -> float:
        """`cloudseed up`; the seconds that the command took."""
        began = time.monotonic()
        self._cloudseed("up", "--json", f"--port={self.port}", f"--driver={self.driver}", *self._settings)
        return time.monotonic() - began

    def down(self) -> None:
        """Stop the services; the data stay."""
        self._cloudseed("down")

    @property
    def password(self) -> str:
        """The admin's."""
        return load_secrets(self.state).passwords["admin"]

    def api(self) -> Api:
        """Logged in as the admin, for what is not measured."""
        return Api(self.url, "admin", self.password, "admin")

    def project_id(self) -> str:
        """The admin's project."""
        return str(self.api().get("/identity/v3/projects?name=admin")["projects"][0]["id"])

    def lift_quotas(self) -> None:
        """No limit on what the admin's project may have."""
        api, project = self.api(), self.project_id()
        nova = dict.fromkeys(("instances", "cores", "ram"), -1)
        api.send("PUT", f"/compute/v2.1/os-quota-sets/{project}", {"quota_set": nova})
        api.send("PUT", f"/networking/v2.0/quotas/{project}", {"quota": {"port": -1}})

    def pids(self) -> dict[str, int]:
        """Our processes that run: control, and host where there is one."""
        known = processes.load(self.state)
        pairs = (("control", known.control), ("host", known.host))
        return {name: process.pid for name, process in pairs if process is not None and process.alive()}

    def cpu_seconds(self) -> float:
        """Processor time of the control process so far, its threads included.

        From the scheduler (nanoseconds), since the ticks of /proc/<pid>/stat are as long as several requests.
        """
        total = 0
        for task in Path(f"/proc/{self.pids()['control']}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that just ended
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def flush(self) -> None:
        """Have the records of flows written that wait for it."""
        kernel_control.ask(control.control_socket(self.state), "flush")

    def _cloudseed(self, command: str, *arguments: str) -> None:
        where = [f"--state={self.state}", f"--clouds-yaml={self._directory / 'clouds.yaml'}"]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("CLOUDSEED_", "PYTHON"))}
        if "CLOUDSEED_CACHE" in os.environ:
            env["CLOUDSEED_CACHE"] = os.environ["CLOUDSEED_CACHE"]
        done = subprocess.run(
            [str(ROOT / "cloudseed"), command, *where, *arguments],
            env=env,
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
        )
        if done.returncode:
            logs = "".join(
                f"\n--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:])
                for log in sorted(self.state.glob("logs/*.log"))
            )
            raise CloudFailed(f"cloudseed {command}: {done.stdout}{done.stderr}{logs}")
