"""Memory of an idle cloud, and the time from `up` to the first token."""

from __future__ import annotations

import asyncio
import sys
import time

from bench.client import Client
from bench.cloud import BenchCloud
from bench.measure import Program, median
from cloudseed.cli.status import memory_mib

DESCRIPTION = """PSS of all our processes some seconds after `up`, and seconds from typing `cloudseed up` to the
first token on a machine where everything is installed: with an empty state directory, and with the one it left."""


def main(argv: list[str]) -> int:
    program = Program("idle", DESCRIPTION)
    add = program.parser.add_argument
    add("--starts", type=int, default=3, metavar="N", help="starts again (default %(default)s)")
    add("--settle", type=float, default=10.0, metavar="S", help="seconds before memory is read (default %(default)s)")
    chosen = program.parse(argv)
    with BenchCloud("auto") as cloud:
        first, _ = _start(cloud)
        program.tell(f"first start to first token {first:.2f} s")
        starts, spent = [], list[float]()
        for _ in range(chosen.starts):
            cloud.down()
            starts.append(_start(cloud))
            spent.append(cloud.cpu_seconds())
            program.tell(f"start to first token {starts[-1][0]:.2f} s (the command {starts[-1][1]:.2f} s)")
        time.sleep(chosen.settle)  # what is measured is a cloud that nobody asks anything
        memory = {name: memory_mib(pid) for name, pid in cloud.pids().items()}
        for name, mib in memory.items():
            program.tell(f"{name} {mib:.1f} MiB")
    figures = {
        "idle_pss_mib": sum(memory.values()),
        **{f"idle_pss_{name}_mib": mib for name, mib in memory.items()},
        "first_start_to_token_s": first,
        "start_to_token_s": median([total for total, _ in starts]),
        "start_control_cpu_s": median(spent),
        "up_command_s": median([command for _, command in starts]),
    }
    return program.finish({name: round(value, 2) for name, value in figures.items()})


def _start(cloud: BenchCloud) -> tuple[float, float]:
    """Seconds to the first token, and of the command alone."""

    async def token() -> None:
        async with Client(cloud.port) as client:
            await client.login("admin", cloud.password)

    began = time.monotonic()
    command = cloud.up()
    asyncio.run(token())
    return time.monotonic() - began, command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
