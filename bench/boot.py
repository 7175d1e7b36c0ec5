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
from cloudseed.cli import openstack, processes
from cloudseed.cli.api import Api
from cloudseed.guest_images.tiny import build_tiny
from cloudseed.host.paths import StatePaths, namespace_name, tap_name

DESCRIPTION = """Seconds from `POST /servers` until the guest answers on its network, beside the same tiny image
under bare QEMU (our command line, a fresh overlay of the same image, a port of the same bridge that DHCP knows
already), in turns.  Needs root."""

_NETWORKING, _COMPUTE = "/networking/v2.0", "/compute/v2.1"


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
    """A network, an image and a wired port in a cloud; boots on them."""

    def __init__(self, cloud: BenchCloud, image: Path, scratch: Path) -> None:
        self._cloud = cloud
        self._scratch = scratch
        self._api = api = cloud.api()
        self._image = self._upload(image)
        network = api.send("POST", f"{_NETWORKING}/networks", {"network": {"name": "bench"}})["network"]
        subnet = {"network_id": network["id"], "ip_version": 4, "cidr": "10.93.0.0/24"}
        api.send("POST", f"{_NETWORKING}/subnets", {"subnet": subnet})
        self._network = str(network["id"])
        self._group = self._open_group()
        self._namespace = namespace_name(processes.load(cloud.state).name, self._network)
        self._port = self._wired_port(api)

    def _upload(self, path: Path) -> str:
        record = {"name": "tiny", "disk_format": "qcow2", "container_format": "bare"}
        image = self._api.send("POST", "/image/v2/images", record)
        with path.open("rb") as file:
            self._api.upload(f"/image/v2/images/{image['id']}/file", file)
        return str(image["id"])

    def _open_group(self) -> str:
        made = self._api.send("POST", f"{_NETWORKING}/security-groups", {"security_group": {"name": "bench"}})
        group = made["security_group"]["id"]
        rule = {"security_group_id": group, "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
        self._api.send("POST", f"{_NETWORKING}/security-group-rules", {"security_group_rule": rule})
        return str(group)

    def _wired_port(self, api: Api) -> dict[str, Any]:
        """A port for bare QEMU, as nova would ask for it, with its tap in place."""
        wish = {
            "network_id": self._network,
            "security_groups": [self._group],
            "binding:host_id": "localhost",
            "device_owner": "compute:nova",
            "device_id": "bench",
        }
        port: dict[str, Any] = api.send("POST", f"{_NETWORKING}/ports", {"port": wish})["port"]
        _wait("the port's wiring", lambda: self._is_wired(port))
        return port

    def _is_wired(self, port: dict[str, Any]) -> bool:
        """Its tap is there, and DHCP knows it."""
        hosts = StatePaths(self._cloud.state).network(self._network) / "hosts"
        known = hosts.exists() and port["mac_address"] in hosts.read_text()
        return known and tap_name(port["id"]) in _links(self._namespace)

    def _order(self) -> str:
        server = {
            "name": "bench",
            "flavorRef": "c1",
            "imageRef": self._image,
            "networks": [{"uuid": self._network}],
            "security_groups": [{"name": self._group}],
        }
        return str(self._api.send("POST", f"{_COMPUTE}/servers", {"server": server})["server"]["id"])

    def _address(self, server_id: str) -> str:
        """As soon as its port has one."""
        found: list[str] = []

        def look() -> bool:
            ports = self._api.get(f"{_NETWORKING}/ports?device_id={server_id}")["ports"]
            found.extend(fixed["ip_address"] for port in ports for fixed in port["fixed_ips"])
            return bool(found)

        _wait("the server's address", look)
        return found[0]

    def _status(self, server_id: str) -> dict[str, Any]:
        server: dict[str, Any] = self._api.get(f"{_COMPUTE}/servers/{server_id}")["server"]
        if server["status"] == "ERROR":
            raise RuntimeError(f"the server failed: {server.get('fault')}")
        return server

    def _delete(self, server_id: str) -> None:
        self._api.send("DELETE", f"{_COMPUTE}/servers/{server_id}")
        _wait("the server's end", lambda: not self._api.get(f"{_COMPUTE}/servers")["servers"])

    def warm_up(self) -> guest.Template:
        """One boot that is not measured; what it was started with."""
        server_id = self._order()
        guest.wait_for_answer(self._namespace, self._address(server_id))
        _wait("ACTIVE", lambda: self._status(server_id)["status"] == "ACTIVE")
        template = guest.template_of(self._cloud.state, server_id)
        self._delete(server_id)
        return template

    def server(self) -> tuple[guest.Answers, dict[str, float]]:
        """Order a server; seconds until it answers, and until our parts of the way were done."""
        guest.forget_neighbours(self._namespace)
        began, began_wall = time.monotonic(), time.time()
        server_id = self._order()
        accepted = time.monotonic()
        answers = guest.wait_for_answer(self._namespace, self._address(server_id))
        _wait("ACTIVE", lambda: self._status(server_id)["status"] == "ACTIVE")
        qemu = guest.started_at(self._cloud.state, server_id) - began_wall
        self._delete(server_id)
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


def _wait(what: str, condition: Any, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
