"""`cloudseed down`: stop the cloud, or remove every trace of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import msgspec
from rich.console import Console

from cloudseed.cli import clouds_yaml, control, options, processes
from cloudseed.cli.hosts import shape, stop
from cloudseed.cli.processes import host_socket
from cloudseed.host.client import HostClient
from cloudseed.kernel import config

DESCRIPTION = """Stop the cloud's services.  Guests and their networks run on, and `up` manages them again.
With --purge, everything goes: guests, networks, data, and this cloud's entry in clouds.yaml; the machine is as
it was before, but for installed packages and the cache of downloads.

exit codes: 0 stopped (or was not running), 1 something could not be removed"""


def run(argv: list[str]) -> int:
    parser = options.parser("down", DESCRIPTION)
    parser.add_argument("--purge", action="store_true", help="remove guests, networks and all data")
    parser.add_argument("--clouds-yaml", type=Path, metavar="FILE", help="the clouds.yaml that up wrote")
    chosen = parser.parse_args(argv)
    state: Path = chosen.state
    console = Console(stderr=True, highlight=False)
    try:
        with console.status("stopping ..."):
            ran = purge(state, chosen.clouds_yaml) if chosen.purge else control.stop(state)
    except (OSError, RuntimeError) as exc:
        console.print(f"[red]not everything could be removed:[/] {exc}")
        return 1
    if chosen.json:
        sys.stdout.write(msgspec.json.encode({"stopped": ran, "purged": chosen.purge}).decode() + "\n")
    else:
        Console(highlight=False).print(
            "The cloud and all its data are gone."
            if chosen.purge
            else "The cloud is stopped."
            if ran
            else "The cloud was not running."
        )
    return 0


def purge(state: Path, yaml_path: Path | None = None) -> bool:
    """Stop everything and remove everything.  The host process removes what it made, then is stopped itself."""
    if not state.exists():
        return False
    known = processes.load(state)
    ran = any(process.alive() for _, process in processes.every(known))
    if (made := shape.load(state)) is not None and os.geteuid() == 0:
        stop.purge(config.load(state=str(state), name=made.name, hosts=made.count), made)
    elif os.geteuid() == 0 and (state / "run" / "config.json").exists():
        processes.end(known.control)
        if known.host is None or not known.host.alive():
            settings = msgspec.json.decode((state / "run" / "config.json").read_bytes(), type=config.Config)
            known = control.start_host(settings)  # guests may have outlived it
        asyncio.run(_purge_host(host_socket(state)))
    control.stop(state)
    where, uid, gid = clouds_yaml.default_path()
    try:
        clouds_yaml.write(yaml_path or where, None, (uid, gid))
    except ValueError:
        pass
    shutil.rmtree(state)
    return ran


async def _purge_host(socket: Path) -> None:
    client = HostClient(socket)
    try:
        await client.purge()
    finally:
        await client.close()
