"""What the fault tests order of a cloud: a flavor, an image and a network that are there, and servers on them."""

from __future__ import annotations

import io
from typing import Any

from cloudseed.cli.api import Api, ApiError
from tests.support.daemon import Daemon, wait_for

COMPUTE, NETWORK, IMAGE = "/compute/v2.1", "/networking/v2.0", "/image/v2"
BYTES = b"no image of anything" * 1000


class Scene:
    """One cloud with what a boot needs.  `api` stays valid over restarts, as tokens do."""

    def __init__(self, cloud: Daemon, image: io.IOBase | None = None, disk_format: str = "raw") -> None:
        self.cloud = cloud
        self.api: Api = cloud.api
        self.send(
            "PUT", f"{COMPUTE}/os-quota-class-sets/default",
            {"quota_class_set": {"instances": -1, "cores": -1, "ram": -1}},
        )  # fmt: skip
        flavor = {"name": "tiny", "ram": 256, "vcpus": 1, "disk": 1, "id": "tiny"}
        self.send("POST", f"{COMPUTE}/flavors", {"flavor": flavor})
        self.network_id: str = self.new_network("net")
        self.subnet_id = self.new_subnet(self.network_id, "10.66.0.0/23")
        self.image_id = self.new_image("image", disk_format)
        self.api.upload(f"{IMAGE}/images/{self.image_id}/file", image or io.BytesIO(BYTES))

    def send(self, method: str, path: str, body: Any = None) -> Any:
        return self.api.send(method, path, body)

    # ---- making

    def new_image(self, name: str, disk_format: str = "raw") -> str:
        body = {"name": name, "disk_format": disk_format, "container_format": "bare", "visibility": "public"}
        return str(self.send("POST", f"{IMAGE}/images", body)["id"])

    def new_network(self, name: str) -> str:
        return str(self.send("POST", f"{NETWORK}/networks", {"network": {"name": name}})["network"]["id"])

    def new_subnet(self, network_id: str, cidr: str, **more: Any) -> str:
        body = {"subnet": {"network_id": network_id, "ip_version": 4, "cidr": cidr, **more}}
        return str(self.send("POST", f"{NETWORK}/subnets", body)["subnet"]["id"])

    def boot(self, name: str, **more: Any) -> str:
        """Order a server; its id."""
        body = {"name": name, "flavorRef": "tiny", "imageRef": self.image_id,
                "networks": [{"uuid": self.network_id}], **more}
        return str(self.send("POST", f"{COMPUTE}/servers", {"server": body})["server"]["id"])

    def act(self, server_id: str, action: str, value: Any = None) -> None:
        self.send("POST", f"{COMPUTE}/servers/{server_id}/action", {action: value})

    def open_to_ping(self) -> None:
        """Let the project's default group take ICMP from anywhere."""
        groups = self.api.get(f"{NETWORK}/security-groups?name=default&project_id={self.project_id}")
        self.send("POST", f"{NETWORK}/security-group-rules", {"security_group_rule": {
            "security_group_id": groups["security_groups"][0]["id"], "direction": "ingress", "ethertype": "IPv4",
            "protocol": "icmp"}})

    # ---- looking

    def log(self, process: str) -> str:
        """What the `control` or the `host` process wrote."""
        return (self.cloud.state / "logs" / f"{process}.log").read_text(errors="replace")

    @property
    def project_id(self) -> str:
        return str(self.api.get(f"{NETWORK}/networks/{self.network_id}")["network"]["project_id"])

    def server(self, server_id: str) -> dict[str, Any] | None:
        """The server as its user sees it; None when there is none."""
        try:
            found: dict[str, Any] = self.api.get(f"{COMPUTE}/servers/{server_id}")["server"]
        except ApiError as exc:
            if ": 404 " in str(exc):
                return None
            raise
        return found

    def find(self, kind: str, name: str) -> list[dict[str, Any]]:
        """Networks, ports or images of that name."""
        root = IMAGE if kind == "images" else NETWORK
        found: list[dict[str, Any]] = self.api.get(f"{root}/{kind}?name={name}")[kind]
        return found

    def ports_of(self, server_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(f"{NETWORK}/ports?device_id={server_id}")["ports"]
        return found

    def wait_status(self, server_id: str, status: str, seconds: float = 30.0) -> dict[str, Any]:
        """The server once it has that status; another final one fails at once, with its fault."""
        def look() -> dict[str, Any] | None:
            server = self.server(server_id)
            assert server is not None, f"server {server_id} is gone"
            assert server["status"] != "ERROR" or status == "ERROR", server["fault"]
            return server if server["status"] == status and server["OS-EXT-STS:task_state"] is None else None

        found: dict[str, Any] = wait_for(look, seconds, f"server {server_id} to be {status}")
        return found

    def wait_gone(self, server_id: str, seconds: float = 30.0) -> None:
        wait_for(lambda: self.server(server_id) is None, seconds, f"server {server_id} to be gone")
