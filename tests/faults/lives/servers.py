"""A server's chapters (boot, stop, start, delete), an image's upload, and what neutron does in one transaction."""

from __future__ import annotations

import http.client
import io
import urllib.error
from types import SimpleNamespace
from typing import Any

import cloudseed.neutron.networks
import cloudseed.neutron.ports  # noqa: F401 - both declare their points
from cloudseed.glance.uploads import Operations
from cloudseed.kernel.operations import OperationType, faults
from cloudseed.nova.conductor import Conductor
from tests.faults.scene import BYTES, IMAGE, NETWORK, Scene
from tests.support.operations import forward_points

_nobody: Any = SimpleNamespace(conductor_session=None, engine=SimpleNamespace(register=lambda *types: None))
NOVA: dict[str, OperationType] = {kind.kind: kind for kind in Conductor(_nobody).types}
UPLOAD = Operations(_nobody).upload
NEUTRON = [point for point in faults.declared() if point.partition(":")[0].startswith(("network_", "port_"))]
DROPPED = (ConnectionError, http.client.HTTPException, urllib.error.URLError)


def distinct_points(kind: OperationType) -> list[str]:
    """The points that leave different things behind: before a step is the same as the one before it recorded."""
    first = f"{kind.kind}:{kind.steps[0].name}:before"
    return [point for point in forward_points(kind) if not point.endswith(":before") or point == first]


class Life:
    """One round of chapters; each `<chapter>` orders, each `<chapter>_ends` says what must be after the restart."""

    def __init__(self, scene: Scene, number: int) -> None:
        self.scene = scene
        self.number = number
        self.server_id = ""
        self.there: dict[str, str] = {}

    def prepare(self, chapter: str, point: str) -> None:
        """What the chapter needs, made while nothing is armed."""
        scene = self.scene
        if chapter in ("stop", "start", "delete") and not self.server_id:
            self.server_id = scene.boot(f"life-{self.number}")
        if chapter in ("stop", "start", "delete"):
            server = scene.wait_status(self.server_id, "SHUTOFF" if chapter == "start" and self.stopped else "ACTIVE")
            if chapter == "start" and server["status"] == "ACTIVE":
                scene.act(self.server_id, "os-stop")
                scene.wait_status(self.server_id, "SHUTOFF")
        if chapter in ("upload", "refused_upload"):
            self.there["image"] = scene.new_image(f"{chapter}-{self.number}",
                                                  "raw" if chapter == "upload" else "qcow2")
        if chapter == "neutron":
            call = point.partition(":")[0]
            name = f"{call}-{self.number}"
            if call != "network_create":
                self.there["network"] = scene.network_id if call != "network_delete" else scene.new_network(name)
            if call in ("port_update", "port_delete"):
                self.there["port"] = scene.send("POST", f"{NETWORK}/ports", {"port": {
                    "network_id": scene.network_id, "name": name}})["port"]["id"]
        if chapter == "boot_in_vain":
            self.there["full"] = scene.new_network(f"full-{self.number}")
            scene.new_subnet(self.there["full"], "10.67.0.0/30", enable_dhcp=False)
            self.there["taken"] = scene.send("POST", f"{NETWORK}/ports", {"port": {
                "network_id": self.there["full"]}})["port"]["id"]

    stopped = False

    # ---- nova

    def boot(self, point: str) -> None:
        self.scene.boot(f"life-{self.number}")

    def boot_ends(self, point: str) -> None:
        found = self.scene.api.get(f"/compute/v2.1/servers?name=^life-{self.number}$")["servers"]
        assert len(found) == 1, found  # the order was recorded before the process could come to the point
        self.server_id = found[0]["id"]
        self.scene.wait_status(self.server_id, "ACTIVE")
        assert len(self.scene.ports_of(self.server_id)) == 1

    def stop(self, point: str) -> None:
        self.scene.act(self.server_id, "os-stop")

    def stop_ends(self, point: str) -> None:
        self.scene.wait_status(self.server_id, "SHUTOFF")
        self.stopped = True

    def start(self, point: str) -> None:
        self.scene.act(self.server_id, "os-start")

    def start_ends(self, point: str) -> None:
        self.scene.wait_status(self.server_id, "ACTIVE")
        self.stopped = False

    def delete(self, point: str) -> None:
        self.scene.send("DELETE", f"/compute/v2.1/servers/{self.server_id}")

    def delete_ends(self, point: str) -> None:
        self.scene.wait_gone(self.server_id)
        assert self.scene.ports_of(self.server_id) == []
        self.server_id = ""

    def boot_in_vain(self, point: str) -> None:
        """Its network has no address left, which only the step `networks` finds."""
        self.scene.boot(f"vain-{self.number}", networks=[{"uuid": self.there["full"]}])

    def boot_in_vain_ends(self, point: str) -> None:
        found = self.scene.api.get(f"/compute/v2.1/servers?name=^vain-{self.number}$")["servers"]
        server = self.scene.wait_status(found[0]["id"], "ERROR")
        assert "No more IP addresses available on network" in server["fault"]["message"]
        assert self.scene.ports_of(server["id"]) == []
        self.scene.send("DELETE", f"/compute/v2.1/servers/{server['id']}")
        self.scene.wait_gone(server["id"])
        self.scene.send("DELETE", f"{NETWORK}/ports/{self.there['taken']}")
        self.scene.send("DELETE", f"{NETWORK}/networks/{self.there['full']}")

    # ---- glance

    def upload(self, point: str) -> None:
        self.scene.api.upload(f"{IMAGE}/images/{self.there['image']}/file", io.BytesIO(BYTES))

    def upload_ends(self, point: str) -> None:
        """Bytes whose storing was not recorded are gone with the request that brought them."""
        self.scene.cloud.settle()
        image = self.scene.api.get(f"{IMAGE}/images/{self.there['image']}")
        if ":store:" in point and not point.endswith(":recorded"):
            assert image["status"] == "queued" and not image.get("size")
            self.upload(point)  # and nothing is in the way of another try
            image = self.scene.api.get(f"{IMAGE}/images/{self.there['image']}")
        assert image["status"] == "active" and image["size"] == len(BYTES)

    def refused_upload(self, point: str) -> None:
        self.scene.api.upload(f"{IMAGE}/images/{self.there['image']}/file", io.BytesIO(BYTES))  # no qcow2

    def refused_upload_ends(self, point: str) -> None:
        self.scene.cloud.settle()
        assert self.scene.api.get(f"{IMAGE}/images/{self.there['image']}")["status"] == "queued"

    # ---- neutron: one transaction each, so it is done or it never was

    def neutron(self, point: str) -> None:
        call = point.partition(":")[0]
        name, send = f"{call}-{self.number}", self.scene.send
        match call:
            case "network_create":
                send("POST", f"{NETWORK}/networks", {"network": {"name": name}})
            case "network_delete":
                send("DELETE", f"{NETWORK}/networks/{self.there['network']}")
            case "port_create":
                send("POST", f"{NETWORK}/ports", {"port": {"network_id": self.there["network"], "name": name}})
            case "port_update":
                send("PUT", f"{NETWORK}/ports/{self.there['port']}", {"port": {"name": f"{name}-new"}})
            case "port_delete":
                send("DELETE", f"{NETWORK}/ports/{self.there['port']}")
            case _:
                raise AssertionError(f"{call} has points but no chapter here")

    def neutron_ends(self, point: str) -> None:
        call, _, moment = point.partition(":")
        done = not moment.endswith(":before")
        kind = call.partition("_")[0] + "s"
        name = f"{call}-{self.number}" + ("-new" if call == "port_update" else "")
        there = len(self.scene.find(kind, name)) == 1
        assert there == (done != call.endswith("_delete")), point
        if kind == "ports" and done != call.endswith("_delete"):
            (port,) = self.scene.find(kind, name)
            assert len(port["fixed_ips"]) == 1
