"""Starting a cloud of many hosts on this machine: what does not run is started, what is missing is mended.

In order: the namespaces and links, the database and the broker, the tables, the control process, and then all hosts
side by side, each with its host process before its agent process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from cloudseed.cli import certificates, control, launching, processes, secrets
from cloudseed.cli.hosts import servers, settings, shape, topology
from cloudseed.cli.hosts.places import MAX_HOSTS, Place
from cloudseed.cli.launching import StartFailed
from cloudseed.cli.processes import CONTROL_UID, HostProcesses, Process, Processes, host_socket
from cloudseed.cli.roles import parts_of
from cloudseed.cli.servers import postgres, rabbitmq
from cloudseed.host import authority
from cloudseed.host.errors import HostError
from cloudseed.host.paths import StatePaths
from cloudseed.kernel.config import Config, ConfigError, load_secrets, secrets_path, write_secrets

Progress = Callable[[str], None]
_START_S = 120.0  # all hosts at once, on a machine with few processors


def start(config: Config, progress: Progress, environment: dict[str, str] | None = None) -> Processes:
    """Start what does not run yet; return when every endpoint and every host answers.  Raises StartFailed."""
    if os.geteuid() != 0:
        raise StartFailed("hosts are network namespaces, which only root may make: sudo ./cloudseed up --hosts ...")
    state = config.state_path
    control.prepare(state, CONTROL_UID)
    for directory in (state, state / "hosts"):  # the database's, the broker's and the agents' users pass through
        directory.mkdir(mode=0o711, exist_ok=True)
        directory.chmod(0o711)
    try:
        made = shape.ensure(config)
        hosts = made.places(state)
        progress("joining the hosts")
        topology.build(made, hosts, nat=config.external_nat)
    except (ConfigError, HostError) as exc:
        raise StartFailed(str(exc)) from exc
    launching.snapshot(state)
    known = processes.load(state)
    _start_servers(config, made, known, progress)
    _certify_control(config, made)
    known = control.start_control(settings.of_control(config, made), known, progress, environment)
    start_hosts(config, made, hosts, known, progress, environment)
    return known


def start_hosts(config: Config, made: shape.Shape, hosts: list[Place], known: Processes, progress: Progress,
                environment: dict[str, str] | None = None) -> None:
    """Start these hosts' processes unless they run."""
    progress("starting the hosts")
    waiting: list[tuple[Process, Callable[[], bool], Path]] = []
    for host in hosts:
        pair = known.hosts.setdefault(host.name, HostProcesses())
        control.prepare(host.state, host.uid)
        if not (pair.host is not None and pair.host.alive() and host_socket(host.state).exists()):
            processes.end(pair.host)
            pair.host = _spawn_host(config, made, host, environment)
            processes.save(config.state_path, known)
        waiting.append((pair.host, host_socket(host.state).exists, host.state / "logs" / "host.log"))
    for process, ready, log in waiting:
        launching.wait(process, ready, log, _START_S)
    waiting.clear()
    for host in hosts:
        pair = known.hosts[host.name]
        socket = control.control_socket(host.state)
        running = pair.agent is not None and pair.agent.alive() and socket.exists()
        if pair.agent is None or not running or _shares(host) != made.count:
            processes.end(pair.agent)
            socket.unlink(missing_ok=True)
            pair.agent = _spawn_agent(config, made, host, environment)
            processes.save(config.state_path, known)
        waiting.append((pair.agent, socket.exists, host.state / "logs" / "agent.log"))
    for process, ready, log in waiting:
        launching.wait(process, ready, log, _START_S)


def _shares(host: Place) -> int:
    """Of how many hosts on this machine the host's agents were told that it is one: more may have come since."""
    try:
        told = msgspec.json.decode(_settings_file(host).read_bytes(), type=Config)
    except (OSError, msgspec.DecodeError):
        return 0
    return told.machine_shares


def _settings_file(host: Place) -> Path:
    return host.state / "run" / "config.json"


def start_host_process(config: Config, made: shape.Shape, host: Place, known: Processes) -> None:
    """Start one host's privileged process and wait for it: what `down --purge` removes by."""
    pair = known.hosts.setdefault(host.name, HostProcesses())
    if pair.host is None or not pair.host.alive():
        launching.snapshot(config.state_path)
        control.prepare(host.state, host.uid)  # perhaps its disk is gone, and what it made is not
        pair.host = _spawn_host(config, made, host, None)
        processes.save(config.state_path, known)
        launching.wait(pair.host, host_socket(host.state).exists, host.state / "logs" / "host.log", _START_S)


def _start_servers(config: Config, made: shape.Shape, known: Processes, progress: Progress) -> None:
    """The database with its tables, and the broker."""
    state = config.state_path
    progress("starting PostgreSQL and RabbitMQ")
    try:
        servers.begin(state, made, known)
        processes.save(state, known)
        servers.upgrade(made)
        servers.wait_ready(state, made)
    except (postgres.ServerError, rabbitmq.BrokerError) as exc:
        raise StartFailed(str(exc)) from exc


def _spawn_host(config: Config, made: shape.Shape, host: Place, environment: dict[str, str] | None) -> Process:
    host_socket(host.state).unlink(missing_ok=True)
    _certify(config, made, host)
    arguments = control.host_arguments(settings.of_host(config, made, host), host.uid)
    # as many as there may ever be: hosts that are added do not change what others have
    arguments += ["--number", str(host.number - 1), "--sharing", str(MAX_HOSTS)]
    program = launching.source(config.state_path)
    return launching.spawn(host.state, program, "host", arguments, None, environment, host.namespace)


def _certify_control(config: Config, made: shape.Shape) -> None:
    """The control process's certificate, with which it looks at consoles of hosts.  It may read it, and no more: root
    makes it, where the process cannot put anything in its place."""
    keys, tls = config.state_path / "authority", StatePaths(config.state_path).tls
    authority.make_authority(keys, made.name)
    if not authority.is_issued(keys, tls):
        authority.issue(keys, tls, "controller", [made.controller])
    certificates.let_control_read(tls)


def _certify(config: Config, made: shape.Shape, host: Place) -> None:
    """The host's certificate, by which other hosts know it; it keeps the one that it has."""
    keys, tls = config.state_path / "authority", StatePaths(host.state).tls
    authority.make_authority(keys, made.name)
    if not authority.is_issued(keys, tls):
        authority.issue(keys, tls, host.name, [host.address])


def _spawn_agent(config: Config, made: shape.Shape, host: Place, environment: dict[str, str] | None) -> Process:
    file, told = _settings_file(host), settings.of_host(config, made, host)
    launching.write_settings(file, told, host.uid)
    known = secrets.secrets_for(load_secrets(config.state_path), parts_of(told.services.split(",")), told.broker)
    write_secrets(secrets_path(told), known, (host.uid, host.uid))
    arguments = ["-m", "cloudseed.cli", "daemon", "--config", str(file)]
    program = launching.source(config.state_path)
    return launching.spawn(host.state, program, "agent", arguments, host.uid, environment, host.namespace)
