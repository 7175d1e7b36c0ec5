"""`cloudseed up`: start the cloud."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console

from cloudseed.cli import clouds_yaml, console_scripts, control, options, public_network
from cloudseed.cli.api import ApiError
from cloudseed.cli.hosts import shape
from cloudseed.cli.openstack import cache
from cloudseed.kernel.config import Config, load_secrets
from cloudseed.kernel.service_types import SERVICE_TYPES

DESCRIPTION = """Start the cloud on this machine and return when every endpoint answers.  Run it again at any time:
what runs already is left alone.  As root, servers are real virtual machines; without root everything but real
machines and networks works.

With --hosts N, as root, this machine becomes N hypervisor hosts, each with a network namespace, a host process and
an agent process of its own, on PostgreSQL and RabbitMQ; `cloudseed host` kills and starts one.

exit codes: 0 running, 1 it did not start, 2 wrong settings"""


def run(argv: list[str]) -> int:
    parser = options.parser("up", DESCRIPTION)
    options.add_settings(parser)
    parser.add_argument("--clouds-yaml", type=Path, metavar="FILE", help="where to write clouds.yaml")
    chosen = parser.parse_args(argv)
    return bring_up(options.settings(chosen), chosen.clouds_yaml, as_json=chosen.json)


def bring_up(config: Config, yaml_path: Path | None = None, *, as_json: bool = False, quiet: bool = False) -> int:
    """Start what does not run, write clouds.yaml, tell; the exit code."""
    console = Console(stderr=True)
    shape.remember(config)
    before, began = control.running(config.state_path), time.monotonic()
    try:
        with console.status("starting ...") as status:
            control.start(config, lambda text: status.update(text + " ..."))
    except control.StartFailed as exc:
        console.print(f"[red]the cloud did not start:[/] {exc}", highlight=False)
        return 1
    except PermissionError as exc:
        console.print(f"[red]{exc}[/]\nThe state directory is another user's: use that user, or --state DIR.")
        return 1
    where, uid, gid = clouds_yaml.default_path()
    where = yaml_path or where
    password = load_secrets(config.state_path).passwords["admin"]
    try:
        clouds_yaml.write(where, clouds_yaml.entry(config.public_url, password, config.region), (uid, gid))
    except (OSError, ValueError) as exc:
        console.print(f"[yellow]clouds.yaml was not written:[/] {exc}")
    public = None
    if os.geteuid() == 0 and config.driver != "fake":
        try:
            made = shape.load(config.state_path)
            public = public_network.ensure(config, made.provider if made is not None else None)
        except (ApiError, public_network.NoRange) as exc:
            console.print(f"[yellow]the network {public_network.NAME} was not made:[/] {exc}", highlight=False)
    endpoints = {kind: config.public_url + prefix for kind, (prefix, _) in SERVICE_TYPES.items()}
    if as_json:
        sys.stdout.write(
            msgspec.json.format(
                msgspec.json.encode(
                    {
                        "running": True,
                        "url": config.public_url,
                        "endpoints": endpoints,
                        "dashboard": f"{config.public_url}/dashboard/",
                        "clouds_yaml": str(where),
                        "cloud": clouds_yaml.CLOUD,
                        "state": config.state,
                    }
                ),
                indent=2,
            ).decode()
            + "\n"
        )
    elif not quiet:
        out = Console(highlight=False)
        took = f"in {time.monotonic() - began:.1f} s" if before is None else "already"
        out.print(f"[green]The cloud runs[/] ({took}; state in {config.state})")
        for kind, url in endpoints.items():
            out.print(f"  {kind:<13}{url}", soft_wrap=True)
        out.print(f"Dashboard: [bold]{config.public_url}/dashboard/[/]   (user admin; its password is in clouds.yaml)",
                  soft_wrap=True)
        out.print(f"clouds.yaml: {where} (cloud {clouds_yaml.CLOUD})", soft_wrap=True)
        if (missing := console_scripts.ensure(config.state_path, cache())) is not None:
            out.print(f"[yellow]Consoles have no pages in the browser yet:[/] {missing}", soft_wrap=True)
        if config.hosts:
            out.print(f"hosts: host-1 to host-{config.hosts}, each a network namespace {config.name}-h...")
        if public:
            out.print(f"floating IPs: network {public_network.NAME}, {public}")
        if os.geteuid() != 0:
            out.print("[yellow]Without root, servers are simulated.[/] For real ones: sudo ./cloudseed up")
        out.print("Next: [bold]./cloudseed openstack flavor list[/]   (or any client with OS_CLOUD=cloudseed)")
    return 0
