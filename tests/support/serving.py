"""Processes of `cloudseed serve`, as on machines of their own: a control process, and hosts with the fake driver.

    with Serving(broker.url) as cloud:
        cloud.start("control", "control")
        cloud.start("h1", "compute,network,storage")
        cloud.api.get("/compute/v2.1/os-services")

Each has a state directory, a file of settings and a file of secrets of its own; all are ended and removed at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from cloudseed.cli import secrets
from cloudseed.cli.api import Api
from cloudseed.kernel import control as kernel_control
from cloudseed.kernel.config import load_secrets
from tests.support.daemon import ROOT, free_port, wait_for

_USER = 60700 if os.geteuid() == 0 else os.geteuid()


class Serving:
    """Machines by name; the first that is started is the control machine."""

    def __init__(self, broker: str, **settings: Any) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))
        self.root.chmod(0o755)
        self.broker = broker
        self.port = free_port()
        self.settings = {"driver": "fake", "password_hash_rounds": 4, "report_interval_s": 1.0, "service_down_s": 3.0,
                         **settings}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.control = ""

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for name, process in reversed(list(self.processes.items())):
            print(f"--- {name}\n" + self.log(name)[-6000:])  # shown with what failed
            process.kill()
            process.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> Api:
        return Api(self.url, "admin", load_secrets(self.state(self.control)).passwords["admin"], "admin")

    def state(self, name: str) -> Path:
        return self.root / name

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(errors="replace")

    def start(self, name: str, services: str, **settings: Any) -> None:
        """Start a machine and wait until it is at work."""
        first = not self.control
        self.control = self.control or name
        values = {"state": str(self.state(name)), "services": services, "host": name, **self.settings, **settings}
        if "control" in services:
            values = {"port": self.port, "broker": self.broker, "database": "", **values}
        if not first:
            values = {"controller": self.url, "port": free_port(), **values,
                      "secrets_file": str(self.root / f"{name}.json")}
            done = secrets.run(["--config", str(self.root / f"{self.control}.toml"), "--for", name,
                                "--services", services, "--output", str(self.root / f"{name}.json")])
            assert done == 0
            os.chown(self.root / f"{name}.json", _USER, _USER)
        file = self.root / f"{name}.toml"
        file.write_text("".join(f"{key} = {toml(value)}\n" for key, value in values.items()))
        file.chmod(0o600)
        os.chown(file, _USER, _USER)
        self.state(name).mkdir(mode=0o700, exist_ok=True)
        os.chown(self.state(name), _USER, _USER)
        self.restart(name)

    def restart(self, name: str) -> None:
        arguments = [sys.executable, "-m", "cloudseed.cli", "serve", "--config", str(self.root / f"{name}.toml")]
        with (self.root / f"{name}.log").open("ab") as log:
            # each as an ordinary user: the machine's privileged part is not what is tried here
            extra: dict[str, Any] = {"user": _USER, "group": _USER, "extra_groups": []} if os.geteuid() == 0 else {}
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1",
                           "HOME": str(self.root)}
            process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd="/", start_new_session=True,
                                       env=environment, **extra)
        self.processes[name] = process
        wait_for(lambda: process.poll() is not None or self.ask(name, "status"), 60, f"{name} to be at work")
        assert process.poll() is None, self.log(name)

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        """End a machine; its exit code."""
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(30)

    def ask(self, name: str, command: str, **arguments: Any) -> Any:
        """What `cloudseed` on that machine asks of its process; None while nobody answers."""
        try:
            return kernel_control.ask(self.state(name) / "control" / "control.sock", command, timeout_s=30, **arguments)
        except OSError:
            return None


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else str(value)
