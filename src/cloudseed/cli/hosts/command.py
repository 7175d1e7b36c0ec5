"""`cloudseed host`: one host of a cloud of many: who they are, kill one, start it again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
from rich.console import Console

from cloudseed.cli import options, processes
from cloudseed.cli.hosts import shape, start, stop, topology
from cloudseed.cli.launching import StartFailed
from cloudseed.cli.processes import Process
from cloudseed.kernel.config import Config

DESCRIPTION = """The hosts of a cloud that `up --hosts N` made.

  list         each host, its address, and which of its processes run
  kill NAME    end every process of the host at once, its machines too, and take its network away: as a power cut
  start NAME   give it power again: its network, its host process and its agent process

exit codes: 0 done, 1 there is no such host or it did not start"""


def run(argv: list[str]) -> int:
    parser = options.parser("host", DESCRIPTION)
    parser.add_argument("action", choices=("list", "kill", "start"))
    parser.add_argument("name", nargs="?", default="", metavar="NAME")
    chosen = parser.parse_args(argv)
    if chosen.action == "list":
        return _list(chosen.state, as_json=chosen.json)
    if os.geteuid() != 0:
        print("cloudseed: only root may do this", file=sys.stderr)
        return 1
    try:
        made, host = stop.find(chosen.state, chosen.name)
        known = processes.load(chosen.state)
        if chosen.action == "kill":
            stop.kill(host, known)
        else:
            topology.build_host(made, host)
            start.start_hosts(settings(chosen.state, made), made, [host], known, lambda text: None)
    except (LookupError, StartFailed) as exc:
        print(f"cloudseed: {exc.args[0]}", file=sys.stderr)
        return 1
    return 0


def settings(state: Path, made: shape.Shape) -> Config:
    """The settings that the cloud was started with."""
    found = msgspec.json.decode((state / "run" / "config.json").read_bytes(), type=Config)
    found.hosts = made.count
    return found


def _list(state: Path, *, as_json: bool) -> int:
    made = shape.load(state)
    if made is None:
        print(f"cloudseed: the cloud in {state} has no hosts of its own (up --hosts makes them)", file=sys.stderr)
        return 1
    known = processes.load(state)
    rows = []
    for host in made.places(state):
        pair = known.hosts.get(host.name, processes.HostProcesses())
        rows.append({"name": host.name, "address": host.address, "namespace": host.namespace,
                     "host_process": _pid(pair.host), "agent_process": _pid(pair.agent)})
    if as_json:
        sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
        return 0
    out = Console(highlight=False)
    for row in rows:
        runs = ", ".join(f"{kind} process {row[f'{kind}_process'] or 'ended'}" for kind in ("host", "agent"))
        out.print(f"{row['name']:<8} {row['address']:<16} {row['namespace']:<10} {runs}")
    return 0


def _pid(process: Process | None) -> int | None:
    return process.pid if process is not None and process.alive() else None
