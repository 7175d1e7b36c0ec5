"""From outside to a shell in a guest: router, floating IP, key, a rule for SSH; real from end to end."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.cli import openstack, public_network
from cloudseed.guest_images import BuildError
from cloudseed.guest_images.tiny import build_tiny
from tests.faults.machines import traces
from tests.support.daemon import Daemon, needs_root, wait_for

pytestmark = [pytest.mark.real, needs_root]
NETWORK, COMPUTE = "/networking/v2.0", "/compute/v2.1"


@pytest.fixture
def outside() -> Iterator[str]:
    """A range of the test's own, of which no packet leaves this machine, whatever happens."""
    cidr = f"198.19.{secrets.randbelow(256)}.0/24"
    subprocess.run(["ip", "route", "add", "blackhole", cidr, "metric", "4000"], check=True)
    try:
        yield cidr
    finally:
        subprocess.run(["ip", "route", "del", "blackhole", cidr, "metric", "4000"], check=True)


def _run(*command: str, seconds: float = 20) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds)


def _image(cloud: Daemon) -> str:
    try:
        path = build_tiny(openstack.cache())
    except BuildError as exc:
        pytest.skip(f"there is no guest image: {exc}")
    record = {"name": "tiny", "disk_format": "qcow2", "container_format": "bare", "visibility": "public"}
    image = cloud.api.send("POST", "/image/v2/images", record)
    with path.open("rb") as file:
        cloud.api.upload(f"/image/v2/images/{image['id']}/file", file)
    return str(image["id"])


def test_ssh_by_a_floating_address(tmp_path: Path, outside: str) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("needs an SSH client (package openssh-client)")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    cloud = Daemon(external_cidr=outside)
    before = traces(cloud)
    with cloud:
        assert public_network.ensure(cloud.config) == outside
        assert public_network.ensure(cloud.config) is None
        api = cloud.api

        def make(path: str, kind: str, **values: Any) -> Any:
            return api.send("POST", f"{NETWORK}/{path}", {kind: values})[kind]

        public = api.get(f"{NETWORK}/networks?router:external=true")["networks"][0]
        network = make("networks", "network", name="inside")
        subnet = make("subnets", "subnet", network_id=network["id"], ip_version=4, cidr="10.77.0.0/24")
        group = make("security-groups", "security_group", name="ssh")
        for rule in ({"protocol": "icmp"}, {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}):
            make("security-group-rules", "security_group_rule", security_group_id=group["id"], direction="ingress",
                 **rule)
        router = make("routers", "router", name="r", external_gateway_info={"network_id": public["id"]})
        api.send("PUT", f"{NETWORK}/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
        public_key = key.with_suffix(".pub").read_text()
        api.send("POST", f"{COMPUTE}/os-keypairs", {"keypair": {"name": "k", "public_key": public_key}})
        flavor = next(f for f in api.get(f"{COMPUTE}/flavors/detail")["flavors"] if f["ram"] <= 256)
        server = api.send("POST", f"{COMPUTE}/servers", {"server": {
            "name": "inside", "flavorRef": flavor["id"], "imageRef": _image(cloud), "key_name": "k",
            "networks": [{"uuid": network["id"]}], "security_groups": [{"name": "ssh"}]}})["server"]

        def port() -> Any:
            return next(iter(api.get(f"{NETWORK}/ports?device_id={server['id']}")["ports"]), None)

        found = wait_for(port, 30, "the server's port")
        fip = make("floatingips", "floatingip", floating_network_id=public["id"], port_id=found["id"])
        address = fip["floating_ip_address"]
        wait_for(lambda: _run("ping", "-n", "-c", "1", "-W", "1", address).returncode == 0, 90, f"{address} to answer")
        ssh = ["ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
               "BatchMode=yes", "-o", "ConnectTimeout=10", f"cirros@{address}"]
        said = wait_for(lambda: (done := _run(*ssh, "hostname; ip -4 addr")).returncode == 0 and done.stdout, 60,
                        "a shell in the guest")
        assert said.startswith("inside\n") and found["fixed_ips"][0]["ip_address"] in said
        # the guest reaches the host by its router, and nothing beyond, since external_nat is off
        gateway = outside.replace(".0/24", ".1")
        assert _run(*ssh, f"ping -c 1 -W 2 {gateway}").returncode == 0
        assert api.get(f"{NETWORK}/floatingips/{fip['id']}")["floatingip"]["status"] == "ACTIVE"
        cloud.settle()

        # the cloud stops and comes back: the way in stays open all the while
        cloud.kill_host()
        cloud.stop_control()
        assert _run("ping", "-n", "-c", "1", "-W", "2", address).returncode == 0
        cloud.start()
        assert _run("ping", "-n", "-c", "1", "-W", "2", address).returncode == 0
        cloud.settle()
    assert traces(cloud) == before
