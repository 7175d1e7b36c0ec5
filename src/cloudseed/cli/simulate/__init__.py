"""`cloudseed simulate`: a cloud of thousands of pretended hypervisors, and how it bears its load."""

from __future__ import annotations

import argparse
import asyncio
import sys

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cloudseed.cli.launching import StartFailed
from cloudseed.cli.simulate.fleet import Fleet, FleetFailed
from cloudseed.cli.simulate.orders import Measured, measure

__all__ = ["run"]

DESCRIPTION = """Start a cloud of its own in a temporary directory, with pretended hypervisors (the fake driver) on
PostgreSQL and RabbitMQ, boot servers on it, list and show them, delete some, and print what that took.  All of it is
removed at the end.

exit codes: 0 measured, 1 the cloud did not start or a server failed, 2 wrong options, 3 this machine cannot do it"""


def run(argv: list[str]) -> int:
    chosen = _options(argv)
    console = Console(stderr=True, highlight=False)
    fleet = Fleet(hosts=chosen.hosts, processes=chosen.processes, engines=not chosen.embedded)
    if (reason := fleet.impossible()) is not None:
        print(f"cloudseed simulate: {reason}", file=sys.stderr)
        return 3
    try:
        with fleet, console.status("starting ...") as status:
            def tell(text: str) -> None:
                status.update(text + " ...")

            try:
                fleet.start(tell)
                found = asyncio.run(measure(fleet, chosen.servers, chosen.concurrency, tell))
            except FleetFailed as exc:
                raise FleetFailed(f"{exc}\n{fleet.log_ends()}") from exc
    except (StartFailed, FleetFailed) as exc:
        console.print(f"[red]the simulation failed:[/] {escape(str(exc))}")
        return 1
    if chosen.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        _print(found)
    return 1 if found.failed else 0


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cloudseed simulate", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--hosts", type=int, default=1000, metavar="N", help="pretended hypervisors (default %(default)s)")
    add("--servers", type=int, default=10_000, metavar="N", help="servers to boot (default %(default)s)")
    add("--processes", type=int, default=2, metavar="N", help="processes that the hosts share (default %(default)s)")
    add("--concurrency", type=int, default=20, metavar="N", help="orders at once (default %(default)s)")
    add("--embedded", action="store_true", help="one process on SQLite instead, for comparison")
    add("--json", action="store_true", help="print JSON for scripts")
    chosen = parser.parse_args(argv)
    for name in ("hosts", "servers", "processes", "concurrency"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name} must be 1 or more")
    if chosen.processes > chosen.hosts:
        parser.error("--processes must not be more than --hosts")
    return chosen


def _print(found: Measured) -> None:
    out = Console(highlight=False)
    out.print(f"{found.hosts} hosts in {found.processes} process(es), {found.servers} servers, "
              f"{found.concurrency} orders at once, on {found.engines}")
    out.print(f"hosts reported in after {found.hosts_ready_s:.0f} s; {found.boots_per_minute:.0f} boots a minute; "
              f"{found.deletes_per_minute:.0f} deletes a minute; {found.failed} failed")
    table = Table("operation", "times", "p50 ms", "p99 ms")
    for row in found.latencies:
        table.add_row(row.operation, str(row.count), f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}")
    out.print(table)
    memory = Table("process", "MiB (PSS)", "CPU s")
    for use in found.processes_used:
        memory.add_row(use.name, f"{use.memory_mib:.0f}", f"{use.cpu_s:.0f}")
    out.print(memory)
