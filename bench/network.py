"""TCP between a guest and its host, beside the same guest on a plain bridge that no rule of ours guards."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import guest, plain
from bench.cloud import BenchCloud
from bench.measure import Program, median
from bench.shell import USER_DATA, Guest
from bench.tenant import Tenant
from cloudseed.cli import openstack
from cloudseed.guest_images.tiny import build_tiny

DESCRIPTION = """MiB/s of one TCP connection from the tiny guest to its host and back, in turns with a bare QEMU on a
tap and a bridge without any firewall.  A ratio is ours over bare, the median over the rounds.  Needs root."""

_DIRECTIONS = ("guest_to_host", "host_to_guest")


def main(argv: list[str]) -> int:
    program = Program("network", DESCRIPTION)
    add = program.parser.add_argument
    add("--rounds", type=int, default=7, metavar="N", help="measurements of each (default %(default)s)")
    add("--mib", type=int, default=32, metavar="N", help="that a round sends (default %(default)s)")
    chosen = program.parse(argv)
    if os.geteuid() != 0:
        return program.impossible("real machines and network namespaces need root")
    image = build_tiny(openstack.cache(), program.tell)
    took: dict[str, dict[str, list[float]]] = {name: {"ours": [], "bare": []} for name in _DIRECTIONS}
    with BenchCloud("auto") as cloud, tempfile.TemporaryDirectory(prefix="csb-bare-") as scratch:
        cloud.up()
        program.tell("a server, and bare QEMU")
        tenant = Tenant(cloud, image)
        server_id = tenant.order(USER_DATA.format(address=f"{plain.GUEST_ADDRESS}/{plain.PREFIX}"))
        ours = Guest(tenant.namespace, tenant.address(server_id))
        tenant.wait_for_active(server_id)
        template = guest.template_of(cloud.state, server_id)
        ours.wait()
        with plain.network(template.spec.nics[0].mtu) as namespace, plain.qemu(template, Path(scratch), namespace):
            bare = Guest(namespace, plain.GUEST_ADDRESS)
            bare.wait()
            for number in range(chosen.rounds):
                for name in _DIRECTIONS:
                    for side in ("ours", "bare") if number % 2 else ("bare", "ours"):
                        end = ours if side == "ours" else bare
                        work = end.receive if name == "guest_to_host" else end.send
                        took[name][side].append(chosen.mib / work(chosen.mib))
        tenant.delete(server_id)
    figures = dict[str, float]()
    for name, of in took.items():
        one, other = median(of["ours"]), median(of["bare"])
        ratio = median([a / b for a, b in zip(of["ours"], of["bare"], strict=True)])
        program.tell(f"{name:<14} ours {one:>7.1f} MiB/s  bare {other:>7.1f} MiB/s  ratio {ratio:.2f}")
        figures |= {f"{name}_mib_per_s": one, f"{name}_bare_mib_per_s": other, f"{name}_ratio": ratio}
    figures["least_ratio"] = min(figures[f"{name}_ratio"] for name in _DIRECTIONS)
    return program.finish({name: round(value, 3) for name, value in figures.items()})


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as exc:
        sys.exit(f"cloudseed bench network: {exc}: {exc.stderr}")
