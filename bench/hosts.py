"""A cloud of many hosts on one machine: its memory and its start, as ratios against a cloud of one process."""

from __future__ import annotations

import sys
import time

from bench.cloud import BenchCloud
from bench.measure import Program
from cloudseed.cli import processes
from cloudseed.cli.status import tree_mib

DESCRIPTION = """PSS of all processes, those of PostgreSQL and RabbitMQ too, some seconds after `up --hosts N`, and the
seconds that the command took, first with an empty state directory and then with the one it left; the same of a cloud
of one process, and what many hosts cost beside it."""


def main(argv: list[str]) -> int:
    program = Program("hosts", DESCRIPTION)
    add = program.parser.add_argument
    add("--hosts", type=int, default=3, metavar="N", help="how many hosts (default %(default)s)")
    add("--settle", type=float, default=10.0, metavar="S", help="seconds before memory is read (default %(default)s)")
    add("--driver", default="auto", help="nova's driver (default %(default)s)")
    chosen = program.parse(argv)
    figures: dict[str, float] = {}
    for name, settings in (("embedded", {}), ("hosts", {"hosts": chosen.hosts})):
        with BenchCloud(chosen.driver, **settings) as cloud:
            figures[f"{name}_first_up_s"] = cloud.up()
            time.sleep(chosen.settle)
            memory = {process: tree_mib(found.pid) for process, found in processes.every(processes.load(cloud.state))}
            figures[f"{name}_pss_mib"] = sum(memory.values())
            cloud.down()
            figures[f"{name}_up_again_s"] = cloud.up()
        for process, mib in memory.items():
            program.tell(f"{name}: {process} {mib:.1f} MiB")
            figures[f"{name}_pss_{process.replace(' ', '_').replace('-', '_')}_mib"] = mib
    for what in ("pss_mib", "first_up_s", "up_again_s"):
        figures[f"ratio_{what.rpartition('_')[0]}"] = figures[f"hosts_{what}"] / figures[f"embedded_{what}"]
    return program.finish({name: round(value, 2) for name, value in figures.items()})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
