"""One `openstack server create`, with a real machine, held against the recording of a real OpenStack.

`recording.txt` is that recording (55 exchanges, 31 kinds).  The services have just been restarted, so they have
no tokens of their own yet; image, network, group and key were made before, as in the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.cli import openstack
from cloudseed.guest_images.tiny import build_tiny
from cloudseed.kernel.flow import compare
from tests.support.daemon import Daemon, needs_root, wait_for

RECORDING = Path(__file__).with_name("recording.txt")
pytestmark = [pytest.mark.real, needs_root]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Daemon]:
    with Daemon() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def wanted(cloud: Daemon) -> dict[str, str]:
    """Image, network, group and key, made by requests of their own."""
    api, path = cloud.api, build_tiny(openstack.cache())
    image = api.send(
        "POST",
        "/image/v2/images",
        {"name": "tiny", "disk_format": "qcow2", "container_format": "bare", "visibility": "public"},
    )
    with path.open("rb") as file:
        api.upload(f"/image/v2/images/{image['id']}/file", file)
    network = api.send("POST", "/networking/v2.0/networks", {"network": {"name": "n"}})["network"]
    api.send(
        "POST",
        "/networking/v2.0/subnets",
        {"subnet": {"network_id": network["id"], "ip_version": 4, "cidr": "10.77.0.0/24"}},
    )
    group = api.send("POST", "/networking/v2.0/security-groups", {"security_group": {"name": "g"}})["security_group"]
    api.send("POST", "/compute/v2.1/os-keypairs", {"keypair": {"name": "k", "public_key": PUBLIC_KEY}})
    return {"image": image["id"], "network": network["id"], "group": group["id"]}


PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHC3Zr4Mk6fuQYXhYSgQXQ6vUNn1VgFVJTAyEFPY1Cbr test"


def boot(cloud: Daemon, wanted: dict[str, str], lock: str, name: str) -> list[Any]:
    """Restart the services, run the recording's command, wait for ACTIVE; the flow's exchanges."""
    cloud.stop_control()
    cloud.start()
    done = cloud.client(
        lock,
        "server",
        "create",
        "--flavor",
        "c1",
        "--image",
        wanted["image"],
        "--network",
        wanted["network"],
        "--security-group",
        wanted["group"],
        "--key-name",
        "k",
        name,
    )
    assert done.returncode == 0, done.stderr
    api = cloud.api
    wait_for(
        lambda: api.get(f"/compute/v2.1/servers/detail?name=^{name}$")["servers"][0]["status"] == "ACTIVE",
        60,
        "the server to be ACTIVE",
    )
    report = cloud.cloudseed("flow", "last", "--rpc")
    assert "POST /compute/v2.1/servers" in report.stdout
    return report.stdout.splitlines()


def test_the_recordings_own_client(cloud: Daemon, wanted: dict[str, str]) -> None:
    lines = boot(cloud, wanted, "client-recording", "first")
    verdict = cloud.cloudseed("flow", "last", "--compare", str(RECORDING), check=False)
    assert verdict.returncode == 0, verdict.stdout
    assert "31 of 31 kinds of exchange present, 0 out of order" in verdict.stdout
    # steps 10 to 12: the image is looked up, located, and downloaded from swift
    text = "\n".join(lines)
    assert f"nova-compute->>glance-api: GET /image/v2/images/{wanted['image']}" in text
    assert f"nova-compute->>glance-api: GET /image/v2/images/{wanted['image']}/file" in text
    assert "glance-api->>swift-proxy-server: GET /object-store/v1/AUTH_" in text


def test_the_current_client_and_the_hosts_cache(cloud: Daemon, wanted: dict[str, str]) -> None:
    lines = boot(cloud, wanted, "client", "second")
    verdict = cloud.cloudseed("flow", "last", "--compare", str(RECORDING), "--ignore-caller", "openstack", check=False)
    assert verdict.returncode == 0, verdict.stdout
    # the image is on the host already
    assert not [line for line in lines if line.endswith("/file") and "nova-compute" in line], "\n".join(lines)


def test_the_recording_itself_is_what_it_says() -> None:
    kinds = compare.parse_recording(RECORDING.read_text())
    assert len(kinds) == 55 and len(set(kinds)) == 31
