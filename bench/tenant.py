"""What a benchmark of real guests needs in its cloud: an image, a network, an open security group; servers on them."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.cloud import BenchCloud
from cloudseed.cli import processes
from cloudseed.host.paths import namespace_name

NETWORKING, COMPUTE, VOLUMES = "/networking/v2.0", "/compute/v2.1", "/volume/v3"


class Tenant:
    """The admin's project of a cloud that is up."""

    def __init__(self, cloud: BenchCloud, image: Path) -> None:
        self.api = api = cloud.api()
        self._image = self._upload(image)
        network = api.send("POST", f"{NETWORKING}/networks", {"network": {"name": "bench"}})["network"]
        subnet = {"network_id": network["id"], "ip_version": 4, "cidr": "10.93.0.0/24"}
        api.send("POST", f"{NETWORKING}/subnets", {"subnet": subnet})
        self.network = str(network["id"])
        self.group = self._open_group()
        self.namespace = namespace_name(processes.load(cloud.state).name, self.network)

    def _upload(self, path: Path) -> str:
        record = {"name": "tiny", "disk_format": "qcow2", "container_format": "bare"}
        image = self.api.send("POST", "/image/v2/images", record)
        with path.open("rb") as file:
            self.api.upload(f"/image/v2/images/{image['id']}/file", file)
        return str(image["id"])

    def _open_group(self) -> str:
        made = self.api.send("POST", f"{NETWORKING}/security-groups", {"security_group": {"name": "bench"}})
        group = made["security_group"]["id"]
        rule = {"security_group_id": group, "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
        self.api.send("POST", f"{NETWORKING}/security-group-rules", {"security_group_rule": rule})
        return str(group)

    def order(self, user_data: str = "") -> str:
        """A server of 256 MiB and one processor; its id.  It is on its way then."""
        server: dict[str, Any] = {
            "name": "bench",
            "flavorRef": "c1",
            "imageRef": self._image,
            "networks": [{"uuid": self.network}],
            "security_groups": [{"name": self.group}],
        }
        if user_data:
            server |= {"user_data": base64.b64encode(user_data.encode()).decode(), "config_drive": True}
        return str(self.api.send("POST", f"{COMPUTE}/servers", {"server": server})["server"]["id"])

    def address(self, server_id: str) -> str:
        """As soon as its port has one."""
        found: list[str] = []

        def look() -> bool:
            ports = self.api.get(f"{NETWORKING}/ports?device_id={server_id}")["ports"]
            found.extend(fixed["ip_address"] for port in ports for fixed in port["fixed_ips"])
            return bool(found)

        wait("the server's address", look)
        return found[0]

    def wait_for_active(self, server_id: str) -> None:
        """RuntimeError with the fault when the server fails."""

        def look() -> bool:
            server = self.api.get(f"{COMPUTE}/servers/{server_id}")["server"]
            if server["status"] == "ERROR":
                raise RuntimeError(f"the server failed: {server.get('fault')}")
            return bool(server["status"] == "ACTIVE")

        wait("ACTIVE", look)

    def attach_new_volume(self, server_id: str) -> str:
        """Make a volume of 1 GiB and attach it; its id once it is in use."""
        volume_id = str(self.api.send("POST", f"{VOLUMES}/volumes", {"volume": {"size": 1}})["volume"]["id"])

        def has(status: str) -> bool:
            now = self.api.get(f"{VOLUMES}/volumes/{volume_id}")["volume"]["status"]
            if now.startswith("error"):
                raise RuntimeError(f"volume {volume_id} is in {now}")
            return bool(now == status)

        wait("the volume", lambda: has("available"))
        attachment = {"volumeAttachment": {"volumeId": volume_id}}
        self.api.send("POST", f"{COMPUTE}/servers/{server_id}/os-volume_attachments", attachment)
        wait("the volume's attachment", lambda: has("in-use"))
        return volume_id

    def delete(self, server_id: str) -> None:
        """Until it is gone."""
        self.api.send("DELETE", f"{COMPUTE}/servers/{server_id}")
        wait("the server's end", lambda: not self.api.get(f"{COMPUTE}/servers")["servers"])


def wait(what: str, condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """RuntimeError when the condition does not come true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)
