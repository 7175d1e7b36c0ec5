"""`openstack server create` with a volume, on a real machine: its flow has all fifteen steps, marked in the diagram."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudseed.cli import openstack
from cloudseed.guest_images.tiny import build_tiny
from tests.support.daemon import Daemon, needs_root, wait_for

pytestmark = [pytest.mark.real, needs_root]


def test_a_boot_with_a_volume_has_all_fifteen_steps(tmp_path: Path) -> None:
    with Daemon() as cloud:
        api = cloud.api
        image = api.send("POST", "/image/v2/images", {
            "name": "tiny", "disk_format": "qcow2", "container_format": "bare", "visibility": "public"})
        with build_tiny(openstack.cache()).open("rb") as file:
            api.upload(f"/image/v2/images/{image['id']}/file", file)
        network = api.send("POST", "/networking/v2.0/networks", {"network": {"name": "n"}})["network"]
        api.send("POST", "/networking/v2.0/subnets", {"subnet": {
            "network_id": network["id"], "ip_version": 4, "cidr": "10.78.0.0/24"}})
        volume = api.send("POST", "/volume/v3/volumes", {"volume": {"size": 1, "name": "data"}})["volume"]["id"]
        wait_for(lambda: api.get(f"/volume/v3/volumes/{volume}")["volume"]["status"] == "available", 30,
                 "the volume to be available")
        done = cloud.client(
            "client", "server", "create", "--flavor", "c1", "--image", image["id"], "--network", network["id"],
            "--block-device", f"uuid={volume},source_type=volume,destination_type=volume,delete_on_termination=true",
            "with-a-volume")
        assert done.returncode == 0, done.stderr

        def active() -> bool:
            server = api.get("/compute/v2.1/servers/detail?name=^with-a-volume$")["servers"][0]
            assert server["status"] != "ERROR", server["fault"]
            return bool(server["status"] == "ACTIVE")

        wait_for(active, 90, "the server to be ACTIVE")
        picture = tmp_path / "flow.svg"
        text = cloud.cloudseed("flow", "last", "--steps", "--svg", str(picture)).stdout
        assert text.rstrip().endswith("15 of 15 steps"), text
        marks = [line for line in text.splitlines() if line.startswith("Note over")]
        assert sum(line.count("Step ") for line in marks) == 15, marks
        assert any(line.startswith("Note over nova-compute,cinder-api: Step 15") for line in marks), marks
        assert "Step 15: Request volume attachment" in picture.read_text()
        steps = json.loads(cloud.cloudseed("flow", "last", "--steps", "--json").stdout)
        assert [step["number"] for step in steps] == list(range(1, 16))
        assert all(step["exchange"] for step in steps), steps
        server = api.get("/compute/v2.1/servers/detail?name=^with-a-volume$")["servers"][0]
        api.send("DELETE", f"/compute/v2.1/servers/{server['id']}")
        wait_for(lambda: not api.get("/compute/v2.1/servers")["servers"], 60, "the server to be gone")
        wait_for(lambda: not api.get("/volume/v3/volumes")["volumes"], 60, "its volume to be gone")
        cloud.settle()
        assert json.loads(cloud.cloudseed("audit", "--json").stdout)["violations"] == []
