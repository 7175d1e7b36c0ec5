"""What recording of flows costs a request: the same requests to a cloud that records and to one that does not."""

from __future__ import annotations

import asyncio
import sys

from bench.client import Client
from bench.cloud import BenchCloud
from bench.measure import Program, median
from bench.sections.networks import BASE

DESCRIPTION = """The same requests, in turns, to a cloud that records flows and to one that does not: the ratio of
the CPU seconds of their control processes (the writing of the records included), for one cheap request (a token
validated), one that crosses services (a port made and removed), and one that lists."""

# how many of each in a round, in units of --repeat: cheap ones need more to be more than noise
CALLS = {"token validation": 4, "port create and delete": 1, "list of servers": 2}


def main(argv: list[str]) -> int:
    program = Program("flows", DESCRIPTION)
    add = program.parser.add_argument
    add("--rounds", type=int, default=30, metavar="N", help="rounds of both clouds (default %(default)s)")
    add(
        "--repeat",
        type=int,
        default=25,
        metavar="N",
        help="the least requests of a kind in a round (default %(default)s)",
    )
    chosen = program.parse(argv)
    with BenchCloud("fake", record_flows=True) as recording, BenchCloud("fake", record_flows=False) as silent:
        recording.up()
        silent.up()
        figures = asyncio.run(_measure(program, (recording, silent), chosen.rounds, chosen.repeat))
    return program.finish({name: round(value, 4) for name, value in figures.items()})


async def _measure(
    program: Program, clouds: tuple[BenchCloud, BenchCloud], rounds: int, repeat: int
) -> dict[str, float]:
    figures, sums = dict[str, float](), [0.0, 0.0]
    async with Client(clouds[0].port) as one, Client(clouds[1].port) as other:
        clients, networks = (one, other), []
        for client, cloud in zip(clients, clouds, strict=True):
            await client.login("admin", cloud.password)
            made = await client.request("POST", f"{BASE}/networks", {"network": {"name": "bench"}})
            networks.append(made.json()["network"]["id"])
        for name, weight in CALLS.items():
            count = repeat * weight
            cpu: tuple[list[float], list[float]] = ([], [])
            for turn in range(rounds + 1):
                for side in (0, 1) if turn % 2 else (1, 0):
                    spent = await _round(name, clouds[side], clients[side], networks[side], count)
                    if turn:  # the first round warms caches
                        cpu[side].append(spent)
            ratio = median([on / off for on, off in zip(*cpu, strict=True)])
            key = name.replace(" ", "_")
            figures[f"{key}_cpu_ms"] = median(cpu[0]) / count * 1e3
            figures[f"{key}_without_cpu_ms"] = median(cpu[1]) / count * 1e3
            figures[f"{key}_cost"] = ratio - 1
            sums[0] += median(cpu[0])
            sums[1] += median(cpu[1])
            program.tell(
                f"{name:<24} recorded {figures[f'{key}_cpu_ms']:.3f} ms, not recorded "
                f"{figures[f'{key}_without_cpu_ms']:.3f} ms of CPU a request: {100 * (ratio - 1):+.1f} %"
            )
    figures["recording_cost"] = sums[0] / sums[1] - 1
    program.tell(f"all of them {100 * figures['recording_cost']:+.1f} %")
    return figures


async def _round(name: str, cloud: BenchCloud, client: Client, network: str, repeat: int) -> float:
    """CPU seconds of the control process for `repeat` requests, and for the batch that writes their records."""
    before = cloud.cpu_seconds()
    for _ in range(repeat):
        match name:
            case "token validation":
                await client.get("/identity/v3/auth/tokens", {"X-Subject-Token": client.token})
            case "list of servers":
                await client.get("/compute/v2.1/servers")
            case _:
                port = await client.request("POST", f"{BASE}/ports", {"port": {"network_id": network}})
                await client.request("DELETE", f"{BASE}/ports/{port.json()['port']['id']}")
    cloud.flush()
    return cloud.cpu_seconds() - before


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
