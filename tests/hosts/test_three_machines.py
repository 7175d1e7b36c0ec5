"""docs/installation.md in network namespaces: a controller and two hypervisors, each with `cloudseed serve` as root."""

from __future__ import annotations

import os
import secrets as random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cloudseed.cli import down, secrets
from cloudseed.cli.api import Api
from cloudseed.cli.servers import rabbitmq
from cloudseed.cli.servers.postgres import PostgresServer, find_binaries, free_port
from cloudseed.guest_images import build_tiny
from cloudseed.host import netns
from cloudseed.kernel.config import load_secrets
from tests.support.daemon import ROOT, needs_root, wait_for
from tests.support.serving import toml

T = TypeVar("T")
pytestmark = [pytest.mark.real, needs_root]
COMPUTE, NETWORK = "/compute/v2.1", "/networking/v2.0"
ADDRESSES = {"controller": "198.18.254.1", "hv1": "198.18.254.2", "hv2": "198.18.254.3"}


class Machines:
    """Network namespaces on one bridge, with no way out; the files of the controller's and the hosts' settings."""

    def __init__(self) -> None:
        self.mark = "t" + random.token_hex(2)
        self.root = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))
        self.root.chmod(0o711)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def namespace(self, name: str) -> str:
        return f"{self.mark}-{name}"

    def build(self) -> None:
        for name, address in ADDRESSES.items():
            _ip("netns", "add", self.namespace(name))
            _ip("-n", self.namespace(name), "link", "set", "lo", "up")
            if name == "controller":
                _ip("-n", self.namespace(name), "link", "add", "br0", "type", "bridge")
                _ip("-n", self.namespace(name), "link", "set", "br0", "up")
                _ip("-n", self.namespace(name), "address", "add", f"{address}/24", "dev", "br0")
                continue
            _ip("-n", self.namespace(name), "link", "add", "eth0", "type", "veth", "peer", "name", name,
                "netns", self.namespace("controller"))
            _ip("-n", self.namespace("controller"), "link", "set", name, "master", "br0", "up")
            _ip("-n", self.namespace(name), "link", "set", "eth0", "up")
            _ip("-n", self.namespace(name), "address", "add", f"{address}/24", "dev", "eth0")

    def within(self, name: str, work: Callable[[], T]) -> T:
        return netns.run(self.namespace(name), work)

    def state(self, name: str) -> Path:
        return self.root / name

    def settings(self, name: str, **values: Any) -> Path:
        file = self.root / f"{name}.toml"
        values = {"state": str(self.state(name)), "host": name, "name": f"{self.mark}{name[-1]}", **values}
        file.write_text("".join(f"{key} = {toml(value)}\n" for key, value in values.items()))
        file.chmod(0o600)
        return file

    def command(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.root / f"{name}.log").open("ab") as log:
            return self.within(name, lambda: subprocess.Popen(
                [sys.executable, "-m", "cloudseed.cli", *arguments], stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT / "src")}))

    def serve(self, name: str) -> None:
        process = self.processes[name] = self.command(name, "serve", "--config", str(self.root / f"{name}.toml"))
        socket = self.state(name) / "control" / "control.sock"
        wait_for(lambda: socket.exists() or process.poll() is not None, 120, f"{name} to be at work")
        assert process.poll() is None, self.log(name)

    def stop(self, name: str) -> int:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(errors="replace")[-5000:]

    def close(self) -> None:
        for name in reversed(list(self.processes)):
            print(f"--- {name}\n{self.log(name)}")
            self.stop(name)
        for name in ADDRESSES:
            if self.state(name).exists():
                self.within(name, lambda name=name: down.purge(self.state(name)))  # type: ignore[misc]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[Machines]:
    if find_binaries() is None or not rabbitmq.is_installed():
        pytest.skip("PostgreSQL and RabbitMQ are not installed")
    made = Machines()
    servers = made.root / "servers"
    servers.mkdir(mode=0o711)
    database = PostgresServer(servers / "postgres", free_port(), "DBSECRET", fsync=False)
    ports = rabbitmq.free_ports(3)
    broker = rabbitmq.Broker(servers / "rabbitmq", *ports, password="MQSECRET",
                             addresses=(ADDRESSES["controller"], "127.0.0.1"))
    try:
        made.build()
        shutil.chown((servers / "postgres").parent, 0, 0)
        made.within("controller", database.start)
        made.within("controller", lambda: rabbitmq.start(broker))
        made.within("controller", lambda: rabbitmq.wait_ready(broker))
        control = made.settings("controller", services="control", address=ADDRESSES["controller"],
                                database=database.url("cloudseed"), broker=broker.url, report_interval_s=2.0,
                                service_down_s=6.0, password_hash_rounds=4)
        assert made.command("controller", "migrate", "--config", str(control)).wait(120) == 0, made.log("controller")
        for name, roles in (("hv1", "compute,network,storage"), ("hv2", "compute,network")):
            assert secrets.run(["--config", str(control), "--for", name, "--services", roles, "--output",
                                str(made.root / f"{name}.json")]) == 0
            made.settings(name, services=roles, controller=f"http://{ADDRESSES['controller']}:8080",
                          secrets_file=str(made.root / f"{name}.json"), underlay_address=ADDRESSES[name],
                          report_interval_s=2.0, service_down_s=6.0, external_nat=False, cpu_allocation_ratio=16.0)
        yield made
    finally:
        made.close()
        rabbitmq.stop(broker.directory, at_once=True)
        database.stop()
        for name in ADDRESSES:
            subprocess.run(["ip", "netns", "delete", made.namespace(name)], capture_output=True)
        shutil.rmtree(made.root, ignore_errors=True)


def test_three_machines(machines: Machines) -> None:
    for name in ADDRESSES:
        machines.serve(name)
    password = load_secrets(machines.state("controller")).passwords["admin"]

    def on_controller(work: Callable[[Api], T]) -> T:
        return machines.within("controller", lambda: work(
            Api(f"http://{ADDRESSES['controller']}:8080", "admin", password, "admin")))

    def up(api: Api) -> set[str]:
        found = api.get(f"{COMPUTE}/os-hypervisors/detail")["hypervisors"]
        agents = api.get(f"{NETWORK}/agents")["agents"]
        return {h["hypervisor_hostname"] for h in found if h["state"] == "up" and h["hypervisor_type"] == "QEMU"} & {
            agent["host"] for agent in agents if agent["alive"]}

    wait_for(lambda: on_controller(up) == {"hv1", "hv2"}, 30, "both hosts to be up")
    image = build_tiny(Path(os.environ.get("CLOUDSEED_CACHE") or "/var/cache/cloudseed"))

    def boot(api: Api) -> list[str]:
        made = api.send("POST", "/image/v2/images", {"name": "tiny", "disk_format": "qcow2",
                                                     "container_format": "bare"})["id"]
        with image.open("rb") as file:
            api.upload(f"/image/v2/images/{made}/file", file)
        api.send("POST", f"{COMPUTE}/flavors", {"flavor": {"name": "t", "id": "t", "ram": 128, "vcpus": 1, "disk": 1}})
        network = api.send("POST", f"{NETWORK}/networks", {"network": {"name": "net"}})["network"]["id"]
        api.send("POST", f"{NETWORK}/subnets", {"subnet": {"network_id": network, "ip_version": 4,
                                                           "cidr": "10.55.0.0/24"}})
        return [api.send("POST", f"{COMPUTE}/servers", {"server": {
            "name": host, "flavorRef": "t", "imageRef": made, "availability_zone": f"nova:{host}",
            "networks": [{"uuid": network}]}})["server"]["id"] for host in ("hv1", "hv2")]

    servers = on_controller(boot)

    def active(api: Api) -> bool:
        found = [api.get(f"{COMPUTE}/servers/{server_id}")["server"] for server_id in servers]
        assert all(server["status"] != "ERROR" for server in found), [server.get("fault") for server in found]
        return all(server["status"] == "ACTIVE" for server in found)

    wait_for(lambda: on_controller(active), 90, "both servers to be ACTIVE")
    # a host's programs end, its guest does not; the cloud says that the host is away, and finds the guest again
    guests = list((machines.state("hv2") / "machines").glob("*"))
    assert len(guests) == 1
    assert machines.stop("hv2") == 0
    wait_for(lambda: on_controller(up) == {"hv1"}, 15, "hv2 to be down")
    machines.serve("hv2")
    wait_for(lambda: on_controller(up) == {"hv1", "hv2"}, 30, "hv2 to be back")
    assert on_controller(active)
    on_controller(lambda api: [api.send("DELETE", f"{COMPUTE}/servers/{server_id}") for server_id in servers])
    wait_for(lambda: on_controller(lambda api: not api.get(f"{COMPUTE}/servers")["servers"]), 60,
             "the servers to be gone")
