"""One scheduling decision among ever more hosts: placement's candidates, filters, weighers and the claim."""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
import uuid
from typing import Any

import numpy as np
import sqlalchemy as sa

from bench.measure import Program, percentile
from cloudseed.cli.roles import builders
from cloudseed.kernel.config import Config
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import utcnow
from cloudseed.kernel.http.client import ServiceSession
from cloudseed.kernel.runtime import Environment, Runtime
from cloudseed.nova.compute.drivers.fake import FakeDriver
from cloudseed.nova.compute.publishing import Publisher
from cloudseed.nova.compute.resources import Resources
from cloudseed.nova.models import services
from cloudseed.nova.scheduler.request import Request

DESCRIPTION = """Hosts report in as nova-compute does, then servers are placed one after the other: each decision asks
placement for candidates, filters and weighs them and claims the best, in one process on SQLite.  The peer is the least
that anybody could do: one pass over three columns of as many hosts, in NumPy."""
_RESOURCES = {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}


def main(argv: list[str]) -> int:
    program = Program("decisions", DESCRIPTION)
    add = program.parser.add_argument
    add("--hosts", default="100,1000,10000", metavar="LIST", help="how many hosts (default %(default)s)")
    add("--decisions", type=int, default=100, metavar="N", help="decisions each time (default %(default)s)")
    chosen = program.parse(argv)
    sizes = sorted(int(text) for text in chosen.hosts.split(","))
    with tempfile.TemporaryDirectory(prefix="csb-") as directory:
        config = Config(state=directory, name="csb", driver="fake", password_hash_rounds=4, record_flows=False,
                        service_down_s=86400.0)
        figures = asyncio.run(_measure(config, sizes, chosen.decisions, program))
    return program.finish({name: round(value, 3) for name, value in figures.items()})


async def _measure(config: Config, sizes: list[int], decisions: int, program: Program) -> dict[str, float]:
    env = Environment(config)
    # no nova-compute: hosts that report every ten seconds are another measurement
    runtime = Runtime(env, builders(["keystone", "placement", "nova"]))
    await runtime.start(listen=False)
    session = env.session("nova-compute", "nova")
    nova = next(service.handle for service in runtime.services if service.name == "nova")
    figures: dict[str, float] = {}
    try:
        present = 0
        for size in sizes:
            began = time.monotonic()
            for number in range(present, size):
                await _report(env, session, number)
            present = size
            async with nova.db.write() as tx:
                await tx.execute(sa.update(services).values(last_seen_at=utcnow()))
            gc.collect()
            gc.freeze()
            program.tell(f"{size} hosts reported in ({time.monotonic() - began:.0f} s)")
            figures |= await _decide(nova.scheduler, size, decisions, program)
    finally:
        await runtime.stop()
    return figures


async def _report(env: Environment, session: ServiceSession, number: int) -> None:
    host, node = f"host-{number:05}", str(uuid.uuid4())
    facts = await FakeDriver(env.state / "machines", env.config).facts()
    await Publisher(env.bus("nova-compute"), host, node).report_host(Context(), facts)
    await Resources(session, env.config, node, host).report(Context(), facts)


async def _decide(scheduler: Any, size: int, decisions: int, program: Program) -> dict[str, float]:
    wall, cpu = list[float](), list[float]()
    for number in range(decisions + 5):
        wish = Request(server_id=str(uuid.uuid4()), project_id="p", user_id="u", resources=_RESOURCES)
        began, spent = time.perf_counter(), time.process_time()
        await scheduler._select_locked(Context(), wish)
        if number >= 5:  # the first ones read all that is new
            wall.append((time.perf_counter() - began) * 1e3)
            cpu.append((time.process_time() - spent) * 1e3)
    bare = _bare(size, decisions)
    p50, p99 = percentile(wall, 50), percentile(wall, 99)
    program.tell(f"{size:>6} hosts: p50 {p50:.2f} ms, p99 {p99:.2f} ms, CPU {percentile(cpu, 50):.2f} ms a decision; "
                 f"bare NumPy {bare:.3f} ms")
    return {f"decision_{size}_p50_ms": p50, f"decision_{size}_p99_ms": p99,
            f"decision_{size}_cpu_ms": percentile(cpu, 50), f"decision_{size}_bare_ms": bare,
            f"decision_{size}_ratio": p50 / bare}


def _bare(size: int, times: int) -> float:
    """The median of finding the host with the most memory among those with room, in milliseconds."""
    free = np.random.default_rng(1).integers(0, 1_000_000, (3, size))
    took = []
    for _ in range(times):
        began = time.perf_counter()
        fits = (free[0] >= 1) & (free[1] >= 512) & (free[2] >= 1)
        int(np.where(fits, free[1], -1).argmax())
        took.append((time.perf_counter() - began) * 1e3)
    return percentile(took, 50)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
