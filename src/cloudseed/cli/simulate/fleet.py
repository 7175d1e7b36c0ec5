"""The processes of a simulation: a control process, and processes that pretend to be many hypervisors each.

They are the processes of `serve`, started with its settings, over a database and a broker of their own; nothing in
them knows that it is simulated but nova's fake driver.  Loopback only.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import msgspec

from cloudseed.cli import control, launching, processes
from cloudseed.cli.processes import CONTROL_UID, Process
from cloudseed.cli.roles import CONTROL, parts_of
from cloudseed.cli.secrets import secrets_for
from cloudseed.cli.servers import postgres, rabbitmq
from cloudseed.cli.servers.postgres import PostgresServer
from cloudseed.cli.servers.rabbitmq import Broker
from cloudseed.cli.status import memory_mib
from cloudseed.kernel.config import Config, load, load_secrets, secrets_path, write_secrets
from cloudseed.kernel.postgres import schema

REPORT_INTERVAL_S, SERVICE_DOWN_S = 20.0, 120.0  # a thousand hosts: fifty words a second
_START_S = 180.0


class FleetFailed(RuntimeError):
    """The simulated cloud did not do what was asked of it; the text says what."""


class Fleet:
    """`hosts` pretended hypervisors in `processes` processes, on PostgreSQL and RabbitMQ (`engines`), or all in the
    control process on SQLite.  Entering it makes its directory, leaving it removes all that it started."""

    def __init__(self, *, hosts: int, processes: int, engines: bool) -> None:
        self.hosts = hosts
        self.processes = processes if engines else 1
        self._engines = engines
        self._directory = Path()
        self._config = Config()
        self._running: dict[str, Process] = {}
        self._broker: Broker | None = None
        self._database: PostgresServer | None = None
        self.started_at = 0.0

    @property
    def engines_name(self) -> str:
        return "PostgreSQL and RabbitMQ" if self._engines else "SQLite, within one process"

    @property
    def url(self) -> str:
        return self._config.public_url

    @property
    def password(self) -> str:
        """The admin's."""
        return load_secrets(self._config.state_path).passwords["admin"]

    def impossible(self) -> str | None:
        """Why this machine cannot do it; None when it can."""
        if self._engines and not rabbitmq.is_installed():
            return "RabbitMQ is not installed: install the package rabbitmq-server, or use --embedded"
        if self._engines and postgres.find_binaries() is None:
            return "PostgreSQL is not installed: install the package postgresql, or use --embedded"
        return None

    def __enter__(self) -> Fleet:
        self._directory = Path(tempfile.mkdtemp(prefix="cssim-"))
        self._directory.chmod(0o711)  # processes of other users must pass
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        state = self._directory / "state"
        processes.end_together([process for name, process in self._running.items() if name != "control"])
        control.stop(state)
        if self._broker is not None:
            rabbitmq.stop(self._broker.directory, at_once=True)
        if self._database is not None:
            self._database.stop(mode="immediate")
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self, tell: Callable[[str], None]) -> None:
        """Start everything; hosts report in some time after it returns.  Raises StartFailed."""
        self._config = self._settings()
        state, root = self._config.state_path, os.geteuid() == 0
        control.prepare(state, CONTROL_UID if root else os.geteuid())
        if root:
            launching.snapshot(state)
        if self._engines:
            self._start_broker(tell)
            self._start_database(tell)
        self.started_at = time.monotonic()
        known = control.start_control(self._config, processes.load(state), tell)
        assert known.control is not None
        self._running["control"] = known.control
        if self._engines:
            for number in range(1, self.processes + 1):
                tell(f"starting the hosts of process {number}")
                self._start_hosts(number)

    def _settings(self) -> Config:
        whole = "" if not self._engines else "control"
        return load(state=str(self._directory / "state"), port=rabbitmq.free_ports(1)[0], driver="fake", services=whole,
                    fake_hosts=self.hosts, record_flows=False, password_hash_rounds=4,
                    report_interval_s=REPORT_INTERVAL_S, service_down_s=SERVICE_DOWN_S)

    def _start_broker(self, tell: Callable[[str], None]) -> None:
        tell("starting RabbitMQ")
        port, mapper_port, node_port = rabbitmq.free_ports(3)
        self._broker = Broker(
            self._directory / "rabbitmq", port, mapper_port, node_port, secrets.token_urlsafe(18),
            memory_mib=256 + self.hosts)  # each has queues of its own
        rabbitmq.start(self._broker)
        rabbitmq.wait_ready(self._broker)
        self._config.broker = self._broker.url

    def _start_database(self, tell: Callable[[str], None]) -> None:
        tell("starting PostgreSQL")
        self._database = PostgresServer(self._directory / "postgresql", postgres.free_port(), secrets.token_urlsafe(18))
        self._database.start()
        self._config.database = self._database.url("simulated")
        asyncio.run(schema.upgrade(self._config.database, [name for name in CONTROL if name != "dashboard"]))

    def _start_hosts(self, number: int) -> None:
        """A process with its share of the hosts; the first one also pretends the wiring of all."""
        base, mine = divmod(self.hosts, self.processes)
        state, root = self._directory / f"hosts-{number}", os.geteuid() == 0
        uid = CONTROL_UID if root else os.geteuid()
        control.prepare(state, uid)
        parts = ["nova-compute"] + (["neutron-l2-agent", "neutron-dhcp-agent"] if number == 1 else [])
        config = msgspec.structs.replace(
            self._config, state=str(state), host=f"sim{number}", services=",".join(parts), database="",
            fake_hosts=base + (number <= mine), controller=self.url)
        known = secrets_for(load_secrets(self._config.state_path), parts_of(parts), self._config.broker)
        write_secrets(secrets_path(config), known, (uid, uid) if root else None)
        file = state / "run" / "config.json"
        launching.write_settings(file, config, uid if root else None)
        process = self._running[f"hosts {number}"] = launching.spawn(
            state, launching.source(self._config.state_path), "hosts",
            ["-m", "cloudseed.cli", "daemon", "--config", str(file)], uid if root else None, None)
        launching.wait(process, control.control_socket(state).exists, state / "logs" / "hosts.log", _START_S)

    def log_ends(self, lines: int = 25) -> str:
        """The last lines of what each process wrote."""
        found = []
        for log in sorted(self._directory.glob("*/logs/*.log")):
            written = log.read_text(errors="replace").splitlines()[-lines:]
            if written:
                found.append("\n".join([f"--- {log.parent.parent.name}/{log.name}", *written]))
        return "\n".join(found)

    def used(self) -> list[tuple[str, float, float]]:
        """Each process's name, memory (PSS, MiB) and processor time (s)."""
        found = [(name, process.pid) for name, process in self._running.items()]
        if self._broker is not None and (broker := rabbitmq.running(self._broker.directory)) is not None:
            found.append(("RabbitMQ", broker.server.pid))
        measured = [(name, memory_mib(pid), _cpu_s(pid)) for name, pid in found]
        if self._database is not None and (postmaster := self._database.pid) is not None:
            every = [postmaster, *_children(postmaster)]
            measured.append(("PostgreSQL", sum(map(memory_mib, every)), sum(map(_cpu_s, every))))
        return measured


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
