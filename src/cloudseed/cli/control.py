"""Starting and stopping a cloud's processes: what `up`, `down`, `demo` and the tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from cloudseed.cli import console_scripts, launching, processes
from cloudseed.cli.launching import StartFailed
from cloudseed.cli.openstack import cache
from cloudseed.cli.processes import CONTROL_UID, Processes, host_socket
from cloudseed.kernel import control
from cloudseed.kernel.config import Config, data_directory

__all__ = ["StartFailed", "control_socket", "running", "start", "start_control", "start_host", "stop", "stop_control"]

Progress = Callable[[str], None]


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
    if config.hosts:
        from cloudseed.cli.hosts import start as many  # it stands on this module

        return many.start(config, progress, environment)
    uid = CONTROL_UID if os.geteuid() == 0 else os.geteuid()
    prepare(config.state_path, uid)
    return start_control(config, start_host(config, progress, environment), progress, environment)


def start_control(
    config: Config, known: Processes, progress: Progress, environment: dict[str, str] | None = None,
    command: str = "daemon"
) -> Processes:
    """Start the control process unless it runs and answers."""
    state, root = config.state_path, os.geteuid() == 0
    uid = CONTROL_UID if root else os.geteuid()
    if not (known.control is not None and known.control.alive() and running(state)):
        console_scripts.ensure(state, cache(), progress)  # `up` says so when there are none
        progress("starting the services")
        processes.end(known.control)
        control_socket(state).unlink(missing_ok=True)
        settings = state / "run" / "config.json"
        launching.write_settings(settings, config, uid if root else None)
        known.control = launching.spawn(
            state,
            launching.source(state),
            "control",
            ["-m", "cloudseed.cli", command, "--config", str(settings)],
            uid if root else None,
            environment,
        )
        known.url, known.name, known.uid = config.public_url, config.name, uid
        processes.save(state, known)
        launching.wait(known.control, lambda: running(state) is not None, state / "logs" / "control.log", 90)
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
    launching.snapshot(state)
    if not (known.host is not None and known.host.alive() and host_socket(state).exists()):
        progress("starting the host process")
        host_socket(state).unlink(missing_ok=True)
        known.host = launching.spawn(
            state,
            launching.source(state),
            "host",
            host_arguments(config, uid),
            None,
            environment,
        )
        processes.save(state, known)
        launching.wait(known.host, host_socket(state).exists, state / "logs" / "host.log", 20)
    return known


def host_arguments(config: Config, uid: int) -> list[str]:
    """What Python is told to be the host process of this machine, for the control or agent process `uid`."""
    state = str(config.state_path)
    more = ["--external-nat"] if config.external_nat else []
    for flag, value in (("--underlay", config.underlay_address), ("--provider-interface", config.provider_interface)):
        more += [flag, value] if value else []
    return ["-m", "cloudseed.host", "--state", state, "--socket", str(host_socket(config.state_path)), "--uid",
            str(uid), "--gid", str(uid), "--name", config.name, *more]  # fmt: skip


def stop(state: Path) -> bool:
    """Stop every process of the cloud; guests and their networks run on.  True when something ran.

    First who asks, then who is asked."""
    known = processes.load(state)
    agents, hosts = [pair.agent for pair in known.hosts.values()], [pair.host for pair in known.hosts.values()]
    ran = processes.end_together(agents)
    ran |= processes.end(known.control)
    ran |= processes.end_together([known.host, *hosts])
    if known.servers:
        from cloudseed.cli.hosts import servers, shape

        servers.stop(state, shape.load(state))
    return ran


def stop_control(state: Path) -> bool:
    """Stop the services only."""
    return processes.end(processes.load(state).control)


def prepare(state: Path, uid: int) -> None:
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
