"""A server from its order to its first answer on the network, beside the same guest under bare QEMU."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import guest
from bench.cloud import BenchCloud
from bench.measure import Program, median
from bench.tenant import NETWORKING, Tenant, wait
from cloudseed.cli import openstack
from cloudseed.cli.api import Api
from cloudseed.guest_images.tiny import build_tiny
from cloudseed.host.paths import StatePaths, tap_name

DESCRIPTION = """Seconds from `POST /servers` until the guest answers on its network, beside the same tiny image
under bare QEMU (our command line, a fresh overlay of the same image, a port of the same bridge that DHCP knows
already), in turns.  Needs root."""


def main(argv: list[str]) -> int:
    program = Program("boot", DESCRIPTION)
    add = program.parser.add_argument
    add("--rounds", type=int, default=4, metavar="N", help="boots of each (default %(default)s)")
    chosen = program.parse(argv)
    if os.geteuid() != 0:
        return program.impossible("real machines and network namespaces need root")
    image = build_tiny(openstack.cache(), program.tell)
    with BenchCloud("auto") as cloud, tempfile.TemporaryDirectory(prefix="csb-bare-") as scratch:
        cloud.up()
        bench = _Boots(cloud, image, Path(scratch))
        program.tell("a first boot, for the caches of both")
        template = bench.warm_up()
        ours, bare, details = list[guest.Answers](), list[guest.Answers](), dict[str, list[float]]()
        for number in range(chosen.rounds):
            for side in ("ours", "bare") if number % 2 else ("bare", "ours"):
                if side == "ours":
                    answers, parts = bench.server()
                    ours.append(answers)
                    for name, seconds in parts.items():
                        details.setdefault(name, []).append(seconds)
                else:
                    answers = bench.bare(template)
                    bare.append(answers)
                program.tell(f"{side}: answers after {answers.network:.2f} s, SSH after {answers.ssh:.2f} s")
    one, other = median([a.network for a in ours]), median([a.network for a in bare])
    figures = {
        "ours_s": one,
        "bare_s": other,
        "difference_s": one - other,
        "ratio": one / other,
        "ours_ssh_s": median([a.ssh for a in ours]),
        "bare_ssh_s": median([a.ssh for a in bare]),
        **{f"ours_{name}_s": median(seconds) for name, seconds in details.items()},
    }
    program.tell(f"ours {one:.2f} s, bare QEMU {other:.2f} s: {one - other:+.2f} s, {one / other:.2f} times")
    return program.finish({name: round(value, 3) for name, value in figures.items()})


class _Boots:
    """Boots on a network, and a wired port for bare QEMU."""

    def __init__(self, cloud: BenchCloud, image: Path, scratch: Path) -> None:
        self._cloud = cloud
        self._scratch = scratch
        self._tenant = tenant = Tenant(cloud, image)
        self._network, self._group, self._namespace = tenant.network, tenant.group, tenant.namespace
        self._port = self._wired_port(tenant.api)

    def _wired_port(self, api: Api) -> dict[str, Any]:
        """A port for bare QEMU, as nova would ask for it, with its tap in place."""
        wish = {
            "network_id": self._network,
            "security_groups": [self._group],
            "binding:host_id": "localhost",
            "device_owner": "compute:nova",
            "device_id": "bench",
        }
        port: dict[str, Any] = api.send("POST", f"{NETWORKING}/ports", {"port": wish})["port"]
        wait("the port's wiring", lambda: self._is_wired(port))
        return port

    def _is_wired(self, port: dict[str, Any]) -> bool:
        """Its tap is there, and DHCP knows it."""
        hosts = StatePaths(self._cloud.state).network(self._network) / "hosts"
        known = hosts.exists() and port["mac_address"] in hosts.read_text()
        return known and tap_name(port["id"]) in _links(self._namespace)

    def warm_up(self) -> guest.Template:
        """One boot that is not measured; what it was started with."""
        server_id = self._tenant.order()
        guest.wait_for_answer(self._namespace, self._tenant.address(server_id))
        self._tenant.wait_for_active(server_id)
        template = guest.template_of(self._cloud.state, server_id)
        self._tenant.delete(server_id)
        return template

    def server(self) -> tuple[guest.Answers, dict[str, float]]:
        """Order a server; seconds until it answers, and until our parts of the way were done."""
        guest.forget_neighbours(self._namespace)
        began, began_wall = time.monotonic(), time.time()
        server_id = self._tenant.order()
        accepted = time.monotonic()
        answers = guest.wait_for_answer(self._namespace, self._tenant.address(server_id))
        self._tenant.wait_for_active(server_id)
        qemu = guest.started_at(self._cloud.state, server_id) - began_wall
        self._tenant.delete(server_id)
        parts = {"accepted": accepted - began, "qemu_started": qemu}
        return guest.Answers(answers.network - began, answers.ssh - began), parts

    def bare(self, template: guest.Template) -> guest.Answers:
        """Start bare QEMU; seconds until it answers."""
        guest.forget_neighbours(self._namespace)
        port = self._port
        address = port["fixed_ips"][0]["ip_address"]
        with guest.bare_qemu(template, self._scratch, self._namespace, port["id"], port["mac_address"]) as began:
            answers = guest.wait_for_answer(self._namespace, address)
        return guest.Answers(answers.network - began, answers.ssh - began)


def _links(namespace: str) -> str:
    done = subprocess.run(["ip", "-n", namespace, "-o", "link"], capture_output=True, text=True, timeout=20)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
