"""RabbitMQ of a cloud on one machine: started from Debian's package, on private ports, without systemd.

What one `Broker` is lives in one directory that belongs to the account it runs as: its configuration, its users,
its messages, its log, and who its processes are.  A node of Erlang needs a port mapper (epmd); ours has one of
its own on a private port, so that neither another RabbitMQ of the machine nor a left-over daemon is involved.
Both listen on the addresses that are named and on no other.

RabbitMQ reads the user and the virtual host from a definitions file at each start: a broker that was emptied
comes back with both.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cloudseed.cli.processes import Process, end, start_time
from cloudseed.cli.servers import broker_health

ACCOUNT = "rabbitmq"
PROGRAMS = Path("/usr/lib/rabbitmq/bin")  # where Debian keeps the real ones; those in PATH want systemd or a login
START_TIMEOUT_S = 120.0
SLOW_S = 10.0  # one that is busy is not taken for broken before
_AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
# few threads: a broker of ours shares its processors with the guests
_ERLANG = "+S 1:1 +SDcpu 1:1 +A 4"


class BrokerError(RuntimeError):
    """RabbitMQ cannot run here; the text says why and what to do."""


@dataclass(frozen=True)
class Broker:
    """One broker: where it lives, where it listens, and who may use it."""

    directory: Path
    port: int
    mapper_port: int  # epmd's
    node_port: int  # of the Erlang node itself; loopback only
    password: str
    addresses: tuple[str, ...] = ("127.0.0.1",)
    user: str = "cloudseed"
    vhost: str = "cloudseed"
    memory_mib: int = 192  # above this it takes no more messages until some are gone

    @property
    def url(self) -> str:
        """For the setting `broker`, by its first address."""
        return self.url_at(self.addresses[0])

    def url_at(self, address: str) -> str:
        return f"amqp://{self.user}:{self.password}@{address}:{self.port}/{self.vhost}"


class Running(msgspec.Struct, frozen=True):
    """The processes of a broker that was started, and whether it has taken clients since."""

    mapper: Process
    server: Process
    was_ready: bool = False

    def alive(self) -> bool:
        return self.server.alive()


def is_installed() -> bool:
    return (PROGRAMS / "rabbitmq-server").exists() and shutil.which("epmd") is not None


def start(broker: Broker) -> Running:
    """Start what does not run yet, without waiting; see `wait_ready`.

    A broker that once took clients and does its work no more (see `broker_health`) is ended first.
    """
    if not is_installed():
        raise BrokerError("RabbitMQ is not installed: install the package rabbitmq-server.")
    found = running(broker.directory)
    if found is not None and found.alive():
        if not found.was_ready or broker_health.works(broker.url, SLOW_S):
            return found
        end(found.server, 0.0)
    _write_settings(broker)
    mapper = found.mapper if found is not None and found.mapper.alive() else _spawn(
        broker, ["epmd", "-port", str(broker.mapper_port), "-address", "127.0.0.1"], {})
    _wait_port(mapper, "127.0.0.1", broker.mapper_port, 10.0)
    server = _spawn(broker, [str(PROGRAMS / "rabbitmq-server")], _environment(broker))
    return _remember(broker.directory, Running(mapper, server))


def wait_ready(broker: Broker, timeout_s: float = START_TIMEOUT_S) -> None:
    """Until it greets a client on each of its addresses.  Raises BrokerError with the end of its log."""
    until = time.monotonic() + timeout_s
    for address in broker.addresses:
        while not _greets(address, broker.port):
            found = running(broker.directory)
            if found is None or not found.alive():
                raise BrokerError(f"RabbitMQ in {broker.directory} ended while it started: {_log_end(broker)}")
            if time.monotonic() > until:
                raise BrokerError(f"RabbitMQ in {broker.directory} did not answer on {address}:{broker.port} within "
                                  f"{timeout_s:g} s: {_log_end(broker)}")
            time.sleep(0.1)
    if (found := running(broker.directory)) is not None:
        _remember(broker.directory, msgspec.structs.replace(found, was_ready=True))


def running(directory: Path) -> Running | None:
    """What `start` started there, alive or not; None when nothing was."""
    try:
        return msgspec.json.decode(_record(directory).read_bytes(), type=Running)
    except (OSError, msgspec.DecodeError):
        return None


def stop(directory: Path, grace_s: float = 30.0, *, at_once: bool = False) -> bool:
    """End the broker that lives there, and its port mapper.  True when it ran.  `at_once`: killed, not asked."""
    found = running(directory)
    if found is None:
        return False
    was_alive = end(found.server, 0.0 if at_once else grace_s)
    end(found.mapper, 5.0)
    _record(directory).unlink(missing_ok=True)
    return was_alive


def empty(directory: Path) -> None:
    """Forget all queues and messages of a broker that does not run."""
    found = running(directory)
    if found is not None and found.alive():
        raise BrokerError(f"RabbitMQ in {directory} is running.")
    shutil.rmtree(directory / "data", ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def _record(directory: Path) -> Path:
    return directory / "processes.json"


def _remember(directory: Path, found: Running) -> Running:
    temporary = _record(directory).with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(found))
    temporary.rename(_record(directory))
    return found


def _log_end(broker: Broker) -> str:
    try:
        return (broker.directory / "output.log").read_text(errors="replace")[-600:].strip() or "it said nothing"
    except OSError as exc:
        return str(exc)


def _write_settings(broker: Broker) -> None:
    directory = broker.directory
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    salt = secrets.token_bytes(4)
    digest = base64.b64encode(salt + hashlib.sha256(salt + broker.password.encode()).digest()).decode()
    definitions = {
        "users": [{"name": broker.user, "password_hash": digest, "tags": "",
                   "hashing_algorithm": "rabbit_password_hashing_sha256"}],
        "vhosts": [{"name": broker.vhost}],
        "permissions": [{"user": broker.user, "vhost": broker.vhost,
                         "configure": ".*", "write": ".*", "read": ".*"}],
    }
    listeners = "".join(
        f"listeners.tcp.{number} = {'[' + address + ']' if ':' in address else address}:{broker.port}\n"
        for number, address in enumerate(broker.addresses, 1))
    settings = (
        f"{listeners}"
        f"load_definitions = {directory / 'definitions.json'}\n"
        f"vm_memory_high_watermark.absolute = {broker.memory_mib}MiB\n"
        "disk_free_limit.absolute = 64MB\n"
        "heartbeat = 10\n"
        "loopback_users = none\n"
        "log.file = false\n"
        "log.console = true\n"
        "log.console.level = warning\n"
        # the write-ahead log of the queues is written anew at this size; the default keeps 512 MiB of it
        "raft.wal_max_size_bytes = 16777216\n"
        # a handler may work as long as a copy of a volume takes; its message is acknowledged when it is done
        "consumer_timeout = 14400000\n"
    )
    files = {"definitions.json": json.dumps(definitions), "rabbitmq.conf": settings, "enabled_plugins": "[].\n",
             "output.log": ""}
    for name, text in files.items():
        path = directory / name
        path.unlink(missing_ok=True)  # never written through a link
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    if os.geteuid() == 0:
        account = pwd.getpwnam(ACCOUNT)
        for path in (directory, *(directory / name for name in files)):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def _environment(broker: Broker) -> dict[str, str]:
    directory = broker.directory
    return {
        # each broker of the machine is a node of its own name
        "RABBITMQ_NODENAME": f"cloudseed{broker.port}@localhost",
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "rabbitmq-env.conf"),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
        "RABBITMQ_DIST_PORT": str(broker.node_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_ERLANG} -kernel inet_dist_use_interface {{127,0,0,1}}",
        "ERL_CRASH_DUMP_BYTES": "0",
        # the launcher then becomes the server itself, so that the process that we know is the one to end
        "detached": "yes",
    }


def _spawn(broker: Broker, command: list[str], environment: dict[str, str]) -> Process:
    directory = broker.directory
    base = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LANG": "C.UTF-8",
            "HOME": str(directory),  # the node's secret cookie is kept there
            "ERL_EPMD_PORT": str(broker.mapper_port), "ERL_EPMD_ADDRESS": "127.0.0.1"}
    account = ACCOUNT if os.geteuid() == 0 else None
    with (directory / "output.log").open("ab") as log:
        child = subprocess.Popen(
            command, cwd=directory, env=base | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, umask=0o077, user=account, group=account,
            extra_groups=[] if account else None)
    child.returncode = 0  # it outlives this object, on purpose: without this, Popen warns of it
    return Process(child.pid, start_time(child.pid))


def _wait_port(process: Process, address: str, port: int, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection((address, port), 1.0).close()
            return
        except OSError as exc:
            if not process.alive() or time.monotonic() > until:
                raise BrokerError(f"The Erlang port mapper does not answer on {address}:{port}: {exc}") from exc
            time.sleep(0.02)


def _greets(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), 2.0) as connection:
            connection.settimeout(2.0)
            connection.sendall(_AMQP_HEADER)
            return connection.recv(1) == b"\x01"  # a method frame: Connection.Start
    except OSError:
        return False
