"""`cloudseed serve`: some of a cloud's services or roles in one process, in the foreground, on one machine of many.

As root it starts the privileged host process where the roles need one, gives the services to an unprivileged user,
and looks after both until SIGTERM.  Guests and their networks outlive them.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from cloudseed.cli import certificates, console_scripts, control, launching, processes, serve_checks
from cloudseed.cli.launching import StartFailed
from cloudseed.cli.openstack import cache
from cloudseed.cli.processes import CONTROL_UID, Process
from cloudseed.cli.roles import CONTROL, NAMES
from cloudseed.kernel.config import (
    Config,
    ConfigError,
    load_with_sources,
    read_secrets,
    secrets_path,
    write_secrets,
)

DESCRIPTION = f"""Run services or roles of a cloud in this process until SIGTERM.

roles: control (every API, conductor, schedulers), compute (machines, their networks, DHCP and metadata), network
(routers), storage (volumes and backups).  Also by name: {", ".join(NAMES[4:])}.

Settings come from the file, then CLOUDSEED_* in the environment, then flags.  docs/operations.md shows an
installation on three machines.

exit codes: 0 ended by SIGTERM, 1 it could not start or broke, 2 wrong settings"""
_LOOK_S = 1.0


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="cloudseed serve", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    parser.add_argument("--services", metavar="NAMES", help="roles or services, by comma")
    parser.add_argument("--state", metavar="DIR", help="where this machine keeps its data")
    parser.add_argument("--host", metavar="NAME", help="this machine's name among the hosts")
    parser.add_argument("--address", help="where the API listens (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="the API's port (default 8080)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting")
    parser.add_argument("--check", action="store_true", help="check the settings, and start nothing")
    chosen = parser.parse_args(argv)
    try:
        flags: dict[str, object] = {name: getattr(chosen, name)
                                    for name in ("services", "state", "host", "address", "port")}
        for item in chosen.set:
            name, equals, value = item.partition("=")
            if not equals or name not in Config.__struct_fields__:
                raise ConfigError(f"--set {item}: it must be NAME=VALUE with a setting's name")
            flags[name] = value
        config, sources = load_with_sources(chosen.config, **flags)
        parts = serve_checks.check(config, sources)
    except ConfigError as exc:
        print(f"cloudseed: {exc}", file=sys.stderr)
        return 2
    if chosen.check:
        print(f"the settings are right; here run {', '.join(parts)}")
        return 0
    try:
        return _supervise(config, parts) if os.geteuid() == 0 else _here(config)
    except (StartFailed, OSError) as exc:
        print(f"cloudseed: it did not start: {exc}", file=sys.stderr)
        return 1


def _here(config: Config) -> int:
    from cloudseed.cli import daemon

    control.prepare(config.state_path, os.geteuid())
    return daemon.run_config(config)


def _supervise(config: Config, parts: list[str]) -> int:
    """The services as an unprivileged user, and beside them the host process, which is started again if it ends."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    log, state = logging.getLogger("cloudseed"), config.state_path
    needs_host = config.driver != "fake" and any(part not in CONTROL for part in parts)
    control.prepare(state, CONTROL_UID)
    launching.snapshot(state)
    if "nova" in parts:
        console_scripts.ensure(state, cache(), lambda text: None)
    tls: dict[str, str] = {}
    if config.secrets_file or config.controller:
        known = read_secrets(secrets_path(config))
        tls, known.tls = known.tls, {}
        config.secrets_file = ""  # this user's copy
        write_secrets(secrets_path(config), known, (CONTROL_UID, CONTROL_UID))
    certificates.lay(config, tls, control="nova" in parts)
    if needs_host:
        control.start_host(config)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    child = _start_services(config)
    try:
        while child.poll() is None and not stopping.wait(_LOOK_S):
            known_host = processes.load(state).host
            if needs_host and not (known_host is not None and known_host.alive()):
                log.error("the host process has ended; it is started again")
                try:
                    control.start_host(config)
                except (StartFailed, OSError) as exc:
                    log.error("it did not start, will try again: %s", exc)
    finally:
        if child.poll() is None:
            child.terminate()
        try:
            code = child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
        if needs_host:
            processes.end(processes.load(state).host)
    return 0 if stopping.is_set() and code == 0 else 1


def _start_services(config: Config) -> subprocess.Popen[bytes]:
    state = config.state_path
    settings = state / "run" / "config.json"
    launching.write_settings(settings, config, CONTROL_UID)
    env = {**os.environ, "PYTHONPATH": str(launching.source(state)), "HOME": str(config.data_path),
           "MALLOC_ARENA_MAX": "2"}
    child = subprocess.Popen(
        [sys.executable, "-m", "cloudseed.cli", "daemon", "--config", str(settings)], stdin=subprocess.DEVNULL, cwd="/",
        env=env, user=CONTROL_UID, group=CONTROL_UID, extra_groups=[], umask=0o077, start_new_session=True)
    known = processes.load(state)
    known.control = Process(child.pid, processes.start_time(child.pid))
    known.url, known.name, known.uid = config.public_url, config.name, CONTROL_UID
    processes.save(state, known)
    return child

