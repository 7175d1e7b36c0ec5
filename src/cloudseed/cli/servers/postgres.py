"""A PostgreSQL server of our own: made in a directory, on a free port of loopback, without systemd.

    server = PostgresServer(directory, port, password)
    server.start()                          # made on the first start; returns when it takes connections
    server.url("nova")                      # postgresql://cloudseed:...@127.0.0.1:PORT/nova
    server.stop()

PostgreSQL refuses to run as root: then it runs as Debian's account `postgres`, which owns `directory`.  The server
lives on when we end: its process id is in its own `postmaster.pid`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

ACCOUNT = "postgres"
USER = "cloudseed"  # owns the databases
START_S = 60
STOP_S = 60
REAPED_S = 10


class ServerError(RuntimeError):
    """The server cannot be made, started or stopped; the text says why."""


def find_binaries() -> Path | None:
    """Where `initdb` and `postgres` are: the newest version that Debian's packages installed, or those in PATH."""
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if versions:
        return max(versions, key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0)
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found else None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class PostgresServer:
    """`fsync` False: for tests, whose data need not survive the machine."""

    def __init__(self, directory: Path, port: int, password: str, *, fsync: bool = True,
                 max_connections: int = 400) -> None:
        self.directory = directory
        self.port = port
        self.password = password
        self._fsync = fsync
        self._max_connections = max_connections
        binaries = find_binaries()
        if binaries is None:
            raise ServerError("PostgreSQL is not installed: apt install postgresql")
        self._binaries = binaries

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def pid(self) -> int | None:
        """The process id of the running server."""
        pid, name, state = self._recorded()
        # after a crash of the machine the number may be somebody else's; a killed one may wait to be reaped
        return pid if name == "postgres" and state not in "ZX" else None

    def _recorded(self) -> tuple[int, str, str]:
        """The process id that the server noted, and the name and the state (proc(5)) of the process that has it now;
        "" when none has."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            name, _, state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        except (OSError, ValueError):
            return 0, "", ""
        return pid, name.partition("(")[2], state.split()[0]

    def url(self, prefix: str) -> str:
        """What `database` is in the settings of the processes that use this server."""
        return f"postgresql://{USER}:{quote(self.password, safe='')}@127.0.0.1:{self.port}/{prefix}"

    def make(self) -> None:
        """Make the data directory unless it is there.  An interrupted attempt leaves nothing that counts as made."""
        if (self.data / "PG_VERSION").exists():
            return
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._own(self.directory)
        half = self.directory / "data.new"
        shutil.rmtree(half, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", dir=self.directory) as secret:
            secret.write(self.password)
            secret.flush()
            self._own(Path(secret.name))
            self._run("initdb", "-D", str(half), "-U", USER, "-E", "UTF8", "--locale=C", "-A", "scram-sha-256",
                      f"--pwfile={secret.name}", *([] if self._fsync else ["--no-sync"]))
        half.rename(self.data)

    def start(self) -> None:
        """Start it unless it runs; return when it takes connections."""
        self.make()
        if self.pid is not None:
            return
        self._wait_reaped()
        settings: dict[str, Any] = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
            "max_connections": self._max_connections, "shared_buffers": "64MB", "wal_writer_delay": "20ms",
            "max_wal_size": "512MB", "autovacuum_naptime": "15s", "fsync": "on" if self._fsync else "off",
            "full_page_writes": "on" if self._fsync else "off", "logging_collector": "off",
            "log_min_messages": "warning", "log_min_error_statement": "panic",
        }
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        try:
            self._run("pg_ctl", "-D", str(self.data), "-w", "-t", str(START_S), "-l", str(self.log), "-o", options,
                      "start")
        except ServerError as exc:
            tail = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
            raise ServerError(f"{exc}\n{tail}".strip()) from None

    def stop(self, *, mode: str = "fast") -> None:
        """Stop it if it runs; return when it has ended.  `immediate` leaves what a crash leaves."""
        if self.pid is not None:
            self._run("pg_ctl", "-D", str(self.data), "-w", "-t", str(STOP_S), "-m", mode, "stop")

    def _wait_reaped(self) -> None:
        """A server that was killed has its number until its parent takes notice, on a busy machine a moment later; till
        then another would not start beside it.  One that is never reaped: the new one says so."""
        until = time.monotonic() + REAPED_S
        while self._recorded()[2] == "Z" and time.monotonic() < until:
            time.sleep(0.02)

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            account = self._account()
            os.chown(path, account.pw_uid, account.pw_gid)

    @staticmethod
    def _account() -> pwd.struct_passwd:
        try:
            return pwd.getpwnam(ACCOUNT)
        except KeyError:
            raise ServerError(f"The account {ACCOUNT} is missing: apt install postgresql") from None

    def _run(self, program: str, *arguments: str) -> None:
        identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = self._account()
            identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        # its output goes to a file: a pipe would be inherited by the server, and we would wait for its end
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run([self._binaries / program, *arguments], stdout=said, stderr=said,
                                  stdin=subprocess.DEVNULL, cwd="/", start_new_session=True,
                                  env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, **identity)
            if done.returncode:
                said.seek(0)
                raise ServerError(f"{program} failed: {said.read().strip()[-2000:]}")
