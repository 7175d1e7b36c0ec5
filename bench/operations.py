"""Operations a second, latencies, and our CPU seconds an operation: one process, SQLite, the fake driver."""

from __future__ import annotations

import asyncio
import sys

from bench.client import Client
from bench.cloud import BenchCloud
from bench.measure import Meter, Program, Row
from bench.sections import Bench, identity, images, networks, placement, servers

DESCRIPTION = """Operations of every service against a cloud of its own, at concurrency 1 and 8: operations a second,
p50, p99, and the CPU milliseconds that one cost the control process (background work of that time too)."""

# placement comes last: its thousands of providers would be candidates for servers too
SECTIONS = ("identity", "images", "networks", "servers", "placement")


def main(argv: list[str]) -> int:
    program = Program("operations", DESCRIPTION)
    add = program.parser.add_argument
    add("--only", default=",".join(SECTIONS), metavar="LIST", help="sections by comma (default: %(default)s)")
    add("--repeat", type=int, default=100, metavar="N", help="repetitions of a cheap request (default %(default)s)")
    add("--images", type=int, default=200, metavar="N", help="images in the list (default %(default)s)")
    add("--image-mib", type=int, default=32, metavar="N", help="size of an upload (default %(default)s)")
    add("--ports", type=int, default=200, metavar="N", help="ports in the list (default %(default)s)")
    add("--servers", type=int, default=100, metavar="N", help="servers in the list (default %(default)s)")
    add("--providers", default="200,10000", metavar="LIST", help="how many providers (default %(default)s)")
    add("--hash-rounds", type=int, default=12, metavar="N", help="bcrypt's cost (default %(default)s, keystone's)")
    chosen = program.parse(argv)
    only = [name for name in chosen.only.split(",") if name]
    if unknown := set(only) - set(SECTIONS):
        program.parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")

    async def measure(cloud: BenchCloud) -> tuple[dict[str, float], list[Row]]:
        figures: dict[str, float] = {}
        async with Client(cloud.port) as client:
            await client.login("admin", cloud.password)
            bench = Bench(
                cloud,
                client,
                Meter(cloud, program.tell),
                repeat=chosen.repeat,
                images=chosen.images,
                image_mib=chosen.image_mib,
                ports=chosen.ports,
                servers=chosen.servers,
                providers=tuple(int(text) for text in chosen.providers.split(",")),
            )
            if "identity" in only:
                figures |= await identity.run(bench, chosen.hash_rounds)
                program.tell("  " + ", ".join(f"{name} {value:g}" for name, value in figures.items()))
            for name, section in (
                ("images", images),
                ("networks", networks),
                ("servers", servers),
                ("placement", placement),
            ):
                if name in only:
                    figures |= await section.run(bench) or {}
            return figures, bench.meter.rows

    with BenchCloud("fake", password_hash_rounds=chosen.hash_rounds) as cloud:
        cloud.up()
        cloud.lift_quotas()
        return program.finish(*asyncio.run(measure(cloud)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
