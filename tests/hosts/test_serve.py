"""A control machine and hosts as processes of their own, joined by a broker and HTTP alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cloudseed.cli.servers.rabbitmq import Broker
from tests.support.broker import broker
from tests.support.daemon import wait_for
from tests.support.serving import Serving

__all__ = ["broker"]


@pytest.fixture
def cloud(broker: Broker) -> Iterator[Serving]:
    with Serving(broker.url) as cloud:
        cloud.start("control", "control")
        cloud.start("h1", "compute,network,storage")
        yield cloud


def alive(cloud: Serving) -> dict[str, bool]:
    """What the four lists say, by part and host."""
    api = cloud.api
    found = {f"{s['binary']} {s['host']}": s["state"] == "up" for s in api.get("/compute/v2.1/os-services")["services"]}
    found |= {f"{a['binary']} {a['host']}": a["alive"] for a in api.get("/networking/v2.0/agents")["agents"]}
    project = api.get("/identity/v3/auth/projects")["projects"][0]["id"]
    found |= {f"{s['binary']} {s['host']}": s["state"] == "up"
              for s in api.get(f"/volume/v3/{project}/os-services")["services"]}
    return found


def make_server(cloud: Serving, name: str) -> Any:
    api = cloud.api
    networks = api.get("/networking/v2.0/networks?name=net")["networks"]
    if not networks:
        networks = [api.send("POST", "/networking/v2.0/networks", {"network": {"name": "net"}})["network"]]
        api.send("POST", "/networking/v2.0/subnets", {"subnet": {
            "network_id": networks[0]["id"], "ip_version": 4, "cidr": "10.9.0.0/24"}})
    volume = api.send("POST", "/volume/v3/volumes", {"volume": {"size": 1, "name": name}})["volume"]
    wait_for(lambda: api.get(f"/volume/v3/volumes/{volume['id']}")["volume"]["status"] == "available", 30, "a volume")
    flavor = api.get("/compute/v2.1/flavors")["flavors"][0]["id"]
    image = api.send("POST", "/image/v2/images", {"name": name, "disk_format": "raw", "container_format": "bare"})
    return volume, flavor, image, networks[0]["id"]


def test_a_boot_across_machines(cloud: Serving) -> None:
    up = wait_for(lambda: (found := alive(cloud)) and len(found) == 9 and all(found.values()) and found, 20, "all parts")
    assert {name for name in up if name.endswith(" h1")} == {
        "nova-compute h1", "neutron-l2-agent h1", "neutron-dhcp-agent h1", "neutron-l3-agent h1", "cinder-volume h1",
        "cinder-backup h1"}
    print(make_server(cloud, "vm"))
