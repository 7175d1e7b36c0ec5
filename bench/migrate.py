"""Live migration of a guest that answers pings and writes to its disk: how long it is silent, and what it lost."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cloud import BenchCloud
from bench.measure import Program, median
from cloudseed.cli import openstack
from cloudseed.cli.api import Api
from cloudseed.cli.demo_login import USER
from cloudseed.guest_images.tiny import build_tiny
from cloudseed.host import binaries

DESCRIPTION = """Two hosts on this machine (`up --hosts 2`), a router, and a guest behind a floating address that
appends numbers to a file and syncs each of them.  It is migrated live between the hosts, its local disk with it, while
it is pinged twenty times a second.  Printed: the longest time without an answer during each migration, the same while
nothing is moved, how long a migration took, and whether a number is missing in the file."""
_RANGE, _EVERY_S, _PATIENCE_S = "10.95.0.0/24", 0.05, 180.0
_COMPUTE, _NETWORKING = "/compute/v2.1", "/networking/v2.0"
_WRITER = "(trap '' HUP; i=0; while :; do i=$((i+1)); echo $i >>numbers; sync; done) >/dev/null 2>&1 </dev/null &"
_CHECK = "awk 'NR != $1 {bad = 1} END {print NR, bad + 0}' numbers"


def main(argv: list[str]) -> int:
    program = Program("migrate", DESCRIPTION)
    add = program.parser.add_argument
    add("--rounds", type=int, default=4, metavar="N", help="migrations (default %(default)s)")
    add("--still", type=float, default=10.0, metavar="S", help="seconds without one, to compare (default %(default)s)")
    chosen = program.parse(argv)
    try:
        binaries.find("qemu-system-x86_64")
    except Exception as exc:
        return program.impossible(str(exc))
    with BenchCloud("qemu", hosts=2) as cloud, tempfile.TemporaryDirectory(prefix="csb-") as directory:
        program.tell("starting two hosts")
        cloud.up()
        guest = _Guest(cloud, Path(directory))
        guest.make(program.tell)
        with _Pings(guest.address) as pings:
            began = time.time()
            time.sleep(chosen.still)
            still = pings.longest_silence(began, time.time())
            program.tell(f"nothing moves: {still:.2f} s without an answer at the longest")
            silences, took = list[float](), list[float]()
            for number in range(chosen.rounds):
                began = time.time()
                where = guest.migrate()
                ended = time.time()
                time.sleep(1.0)
                silences.append(pings.longest_silence(began, ended + 1.0))
                took.append(ended - began)
                program.tell(f"migration {number + 1}, to {where}: silent for {silences[-1]:.2f} s, "
                             f"took {took[-1]:.1f} s")
        lines, bad = guest.written()
    program.tell(f"the guest wrote {lines} numbers, {'one is missing' if bad else 'none is missing'}")
    figures = {
        "silence_median_s": median(silences), "silence_longest_s": max(silences), "silence_still_s": still,
        "silence_ratio": median(silences) / still if still else 0.0, "migration_median_s": median(took),
        "numbers_written": float(lines), "numbers_missing": float(bad),
    }  # fmt: skip
    code = program.finish({name: round(value, 3) for name, value in figures.items()})
    return 1 if bad else code


class _Guest:
    """A tiny guest with a floating address and a login."""

    def __init__(self, cloud: BenchCloud, directory: Path) -> None:
        self._cloud = cloud
        self._key = directory / "key"
        self.address = ""
        self._id = ""

    def make(self, tell: Callable[[str], None]) -> None:
        """Until it writes."""
        api = self._cloud.api()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)], check=True)
        port = self._boot(api)
        external = api.get(f"{_NETWORKING}/networks?router:external=true")["networks"][0]["id"]
        wish = {"floatingip": {"floating_network_id": external, "port_id": port}}
        self.address = api.send("POST", f"{_NETWORKING}/floatingips", wish)["floatingip"]["floating_ip_address"]
        tell(f"waiting for the guest at {self.address}")
        until = time.monotonic() + _PATIENCE_S
        while (done := self._ssh(_WRITER)).returncode:
            if time.monotonic() > until:
                raise RuntimeError(f"the guest cannot be reached: {done.stderr}")
            time.sleep(1.0)
        if (done := self._ssh("sleep 1; test -s numbers; df numbers")).returncode:
            raise RuntimeError(f"the guest does not write: {done.stdout}{done.stderr}")

    def _boot(self, api: Api) -> str:
        """Its network, its router and itself, on the first host; its port's id."""
        network = api.send("POST", f"{_NETWORKING}/networks", {"network": {"name": "bench"}})["network"]["id"]
        subnet = api.send("POST", f"{_NETWORKING}/subnets", {"subnet": {
            "network_id": network, "ip_version": 4, "cidr": _RANGE}})["subnet"]["id"]
        external = api.get(f"{_NETWORKING}/networks?router:external=true")["networks"][0]["id"]
        router = api.send("POST", f"{_NETWORKING}/routers", {"router": {
            "name": "bench", "external_gateway_info": {"network_id": external}}})["router"]["id"]
        api.send("PUT", f"{_NETWORKING}/routers/{router}/add_router_interface", {"subnet_id": subnet})
        project = self._cloud.project_id()
        group = api.get(f"{_NETWORKING}/security-groups?name=default&project_id={project}")["security_groups"][0]["id"]
        for rule in ({"protocol": "icmp"}, {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}):
            api.send("POST", f"{_NETWORKING}/security-group-rules", {"security_group_rule": {
                "security_group_id": group, "direction": "ingress", **rule}})
        key = {"name": "bench", "public_key": self._key.with_suffix(".pub").read_text()}
        api.send("POST", f"{_COMPUTE}/os-keypairs", {"keypair": key})
        image = api.send("POST", "/image/v2/images", {
            "name": "tiny", "disk_format": "qcow2", "container_format": "bare"})["id"]
        with build_tiny(openstack.cache()).open("rb") as file:
            api.upload(f"/image/v2/images/{image}/file", file)
        flavor = api.send("POST", f"{_COMPUTE}/flavors", {"flavor": {
            "name": "bench", "vcpus": 1, "ram": 256, "disk": 1}})["flavor"]["id"]
        self._id = api.send("POST", f"{_COMPUTE}/servers", {"server": {
            "name": "bench", "imageRef": image, "flavorRef": flavor, "key_name": "bench",
            "availability_zone": "nova:host-1", "networks": [{"uuid": network}]}})["server"]["id"]
        self._settled(lambda server: server["status"] == "ACTIVE")
        return str(api.get(f"{_NETWORKING}/ports?device_id={self._id}")["ports"][0]["id"])

    def migrate(self) -> str:
        """To the other host; its name."""
        before = self._settled(lambda server: True)["OS-EXT-SRV-ATTR:host"]
        self._cloud.api().send("POST", f"{_COMPUTE}/servers/{self._id}/action", {
            "os-migrateLive": {"host": None, "block_migration": True, "disk_over_commit": False}})
        server = self._settled(lambda server: server["OS-EXT-SRV-ATTR:host"] != before
                               and server["OS-EXT-STS:task_state"] is None)
        return str(server["OS-EXT-SRV-ATTR:host"])

    def _settled(self, condition: Callable[[Any], bool]) -> Any:
        api, until = self._cloud.api(), time.monotonic() + _PATIENCE_S
        while not condition(server := api.get(f"{_COMPUTE}/servers/{self._id}")["server"]):
            if server["status"] == "ERROR" or time.monotonic() > until:
                raise RuntimeError(f"the server is {server['status']} ({server.get('fault')}) on "
                                   f"{server['OS-EXT-SRV-ATTR:host']}")
            time.sleep(0.05)
        return server

    def written(self) -> tuple[int, int]:
        """How many numbers its file has, and whether (1) one of them is not where it belongs."""
        done = self._ssh(_CHECK)
        if done.returncode:
            raise RuntimeError(f"the guest does not say what it wrote: {done.stderr}")
        lines, bad = done.stdout.split()
        return int(lines), int(bad)

    def _ssh(self, script: str) -> subprocess.CompletedProcess[str]:
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes",
                   "ConnectTimeout=10"]
        words = [word for option in options for word in ("-o", option)]
        return subprocess.run(["ssh", "-i", str(self._key), *words, f"{USER}@{self.address}", script], text=True,
                              capture_output=True, timeout=120)


class _Pings:
    """Asks an address many times a second, and remembers when it answered."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._file = tempfile.NamedTemporaryFile("w+")  # noqa: SIM115 -- closed at the end

    def __enter__(self) -> _Pings:
        command = ["ping", "-n", "-D", "-i", str(_EVERY_S), self._address]
        self._process = subprocess.Popen(command, stdout=self._file, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._file.close()

    def longest_silence(self, began: float, ended: float) -> float:
        """Seconds between two answers, at the longest, from one moment to another (Unix times)."""
        lines = Path(self._file.name).read_text().splitlines()
        answers = [float(line[1:line.index("]")]) for line in lines if line.startswith("[") and "time=" in line]
        inside = [began, *(moment for moment in answers if began <= moment <= ended), ended]
        return max(later - earlier for earlier, later in itertools.pairwise(inside))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
