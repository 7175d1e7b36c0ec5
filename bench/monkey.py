"""Harm at random under a steady load: kills, standstills, cut links, lost power; all is whole again in the end."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from typing import Any

from bench import harm
from bench.clocks import FAKETIME
from bench.cloud import BenchCloud, CloudFailed
from bench.data_plane import DataPlane
from bench.load import COMPUTE, HEADERS, VERBS, Customer, Outcome, Scene, Watch, Worker
from bench.measure import Program
from bench.operator import Operator
from bench.small_disks import REAL_MIB, SIZE_MIB, small_disks
from cloudseed.cli import control
from cloudseed.cli.api import Api
from cloudseed.cli.servers import postgres, rabbitmq
from cloudseed.kernel import control as kernel_control
from cloudseed.ledger import checks
from cloudseed.ledger.violations import operations

DESCRIPTION = """A cloud of `up --hosts N`, with the fake driver or real machines, under a steady load of servers that
are made, moved, stopped and deleted, while its processes are killed or stand still, links are cut, hosts lose their
power, some of them their servers too, messages come twice or never, writes fail, disks are full and clocks an hour
off, one after the other as a seed says.  The same seed does the same things in the same order.  In the end everything
is mended, and it counts as an error when a server does not come to rest, an answer was 500, or the audit is not clean.

With real machines there is also a guest on each host that pings the others all the while, and every disk is watched:
a ping that is lost counts as an error (but to a host without power or link), and so do two that write one disk."""
SETTLE_S = 240.0


def main(argv: list[str]) -> int:
    program = Program("monkey", DESCRIPTION)
    add = program.parser.add_argument
    add("--seed", type=int, default=None, metavar="N", help="what decides everything (default: a new one, printed)")
    add("--minutes", type=float, default=2.0, metavar="M", help="how long there is harm (default %(default)s)")
    add("--hosts", type=int, default=3, metavar="N", help="how many hosts (default %(default)s)")
    add("--driver", choices=("fake", "qemu"), default="fake", help="nova's (default %(default)s)")
    add("--workers", type=int, default=None, metavar="N", help="servers at once (default 3; 1 with qemu)")
    add("--only", default="", metavar="LIST", help=f"kinds of harm by comma (default all: {', '.join(harm.KINDS)})")
    add("--verbs", default=",".join(VERBS), metavar="LIST", help="what servers go through (default %(default)s)")
    chosen = program.parse(argv)
    kinds = [name for name in chosen.only.split(",") if name]
    if unknown := set(kinds) - set(harm.KINDS):
        program.parser.error(f"no harm {', '.join(sorted(unknown))}; there are {', '.join(harm.KINDS)}")
    verbs = [name for name in chosen.verbs.split(",") if name]
    if not verbs or set(verbs) - set(VERBS):
        program.parser.error(f"--verbs {chosen.verbs}: there are {', '.join(VERBS)}")
    if os.geteuid() != 0:
        return program.impossible("hosts are network namespaces, which only root may make")
    if postgres.find_binaries() is None or not rabbitmq.is_installed():
        return program.impossible("a cloud of many hosts needs the packages postgresql and rabbitmq-server")
    seed = random.SystemRandom().randrange(1 << 32) if chosen.seed is None else chosen.seed
    program.tell(f"seed {seed}")
    real = chosen.driver == "qemu"
    kinds = kinds or list(harm.KINDS)
    if "clock" in kinds and FAKETIME is None:
        return program.impossible("clocks are shifted by the package faketime")
    turns = harm.plan(seed, chosen.minutes * 60, chosen.hosts, kinds)
    workers = chosen.workers if chosen.workers is not None else 1 if real else 3
    with ExitStack() as stack:
        cloud = stack.enter_context(BenchCloud(
            chosen.driver, hosts=chosen.hosts, password_hash_rounds=4, external_nat="false"))
        if "full-disk" in kinds:
            stack.enter_context(small_disks(cloud.state, [f"host-{number + 1}" for number in range(chosen.hosts)],
                                            REAL_MIB if real else SIZE_MIB))
        cloud.up()
        figures, wrong = run(cloud, turns, seed, workers, verbs, program.tell, real)
        if wrong:
            print(f"seed {seed}:", *wrong, *_ends_of_logs(cloud), sep="\n", file=sys.stderr)
    return program.finish(figures) or (1 if wrong else 0)


def run(cloud: BenchCloud, turns: list[harm.Turn], seed: int, workers: int, verbs: list[str],
        tell: Callable[[str], None], real: bool) -> tuple[dict[str, float], list[str]]:
    """Harm a running cloud, of real machines or not; the figures, and what was wrong."""
    cloud.lift_quotas()
    outcome = Outcome()

    def login() -> Api:
        return Api(cloud.url, "admin", cloud.password, "admin", HEADERS)

    customer = Customer(login, outcome)
    operator = Operator(Customer(login, outcome), outcome)
    site = harm.Site(cloud.state, cloud.port, cloud.up, operator.evacuate)
    _wait_hosts(customer, site.shape.count)
    plane = DataPlane(cloud, site, customer) if real else None
    scene = Scene(cloud.api(), plane.guests.image, 128, disk_gib=0) if plane is not None else Scene(cloud.api())
    load = [Worker(f"w{number}", Customer(login, outcome), scene, outcome, f"{seed}-{number}", verbs)
            for number in range(workers)]
    watch = Watch(login)
    began = time.monotonic()
    for thread in (watch, *load):
        thread.start()
    for turn in turns:
        time.sleep(turn.pause_s)
        tell(f"{time.monotonic() - began:6.1f} s  {turn}")
        with plane.harmed(turn) if plane is not None else nullcontext():
            undo = harm.KINDS[turn.kind].do(site, turn.host)
            time.sleep(turn.hold_s)
            site.mend(undo)
    for worker in load:
        worker.stop()
    for worker in load:
        worker.join()
    watch.stop()
    tell(f"{time.monotonic() - began:6.1f} s  all is mended")
    settled = time.monotonic()
    wrong = _settle(cloud, customer)
    if not wrong:
        for server in _servers(customer):
            customer.delete(server["id"])
        wrong = _settle(cloud, customer)
    if wrong:  # who was to be where
        wrong += [str(move) for move in customer.ask("GET", f"{COMPUTE}/os-migrations")["migrations"]
                  if move["status"] not in ("completed", "confirmed", "done")]
    wrong = [*outcome.wrong, *wrong]
    for status, count in operator.evacuated().items():
        outcome.count("evacuate", None if status == "done" else f"it ended in {status}", count)
    if plane is not None:
        plane.close()
        wrong += plane.wrong
    for name, counts in (("done", outcome.done), ("failed", outcome.failed)):
        for what, count in counts.most_common():
            tell(f"{name} {count:>5}  {what}")
    figures = {"seed": seed, "turns": len(turns), "done": outcome.done.total(), "failed": outcome.failed.total(),
               "wrong": len(wrong), "api_longest_silence_s": round(watch.longest_s, 1),
               "settled_s": round(time.monotonic() - settled, 1), "harm_s": round(settled - began, 1)}
    figures |= plane.figures() if plane is not None else {}
    return figures | {f"done_{verb.replace('-', '_')}": count for verb, count in sorted(outcome.done.items())}, wrong


def _wait_hosts(customer: Customer, count: int) -> None:
    until = time.monotonic() + SETTLE_S
    while True:
        found = customer.ask("GET", f"{COMPUTE}/os-services?binary=nova-compute")["services"]
        if sum(service["state"] == "up" for service in found) >= count:
            return
        if time.monotonic() > until:
            raise CloudFailed(f"of {count} hosts, up are: {found}")
        time.sleep(0.5)


def _servers(customer: Customer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = customer.ask("GET", f"{COMPUTE}/servers/detail?all_tenants=1")["servers"]
    return found


def _settle(cloud: BenchCloud, customer: Customer) -> list[str]:
    """Wait until every host is up, no operation is open, the audit is clean and every server has its machine; what is
    wrong when that never comes."""
    until = time.monotonic() + SETTLE_S
    while True:
        services = customer.ask("GET", f"{COMPUTE}/os-services?binary=nova-compute")["services"]
        wrong = [f"{service['host']} is down" for service in services if service["state"] != "up"]
        picture: checks.Picture = kernel_control.ask(control.control_socket(cloud.state), "ledger", timeout_s=120)
        wrong += [f"still open: {operation}" for _, operation in operations(picture)]
        wrong += [str(violation) for violation in checks.check(picture)]
        wrong += _machines_wrong(cloud, picture) if cloud.driver == "fake" else []
        if not wrong:
            return []
        if time.monotonic() > until:
            return wrong
        time.sleep(0.5)


def _machines_wrong(cloud: BenchCloud, picture: checks.Picture) -> list[str]:
    """The fake hypervisor's machines, which the ledger does not see: each server has one, on its host only."""
    found = sorted((path.stem, path.relative_to(cloud.state / "hosts").parts[0])
                   for path in cloud.state.glob("hosts/*/**/nova-compute/*/machines/*.json"))
    # of a failed server there may be none
    servers = {(server["id"], server["host"]): server["vm_state"] for server in picture["nova"]["servers"]
               if server["host"] is not None}
    wrong = [f"on {host}: machine {server_id} of no server there" for server_id, host in found
             if (server_id, host) not in servers]
    return wrong + [f"on {host}: server {server_id} is {state} and has no machine"
                    for (server_id, host), state in servers.items()
                    if state in ("active", "stopped") and (server_id, host) not in found]


def _ends_of_logs(cloud: BenchCloud) -> list[str]:
    logs = sorted([*cloud.state.glob("logs/*.log"), *cloud.state.glob("hosts/*/logs/*.log")])
    return [f"--- {log.relative_to(cloud.state)}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:])
            for log in logs]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
