"""What nova does with volumes, after which nova and cinder agree again."""

from __future__ import annotations

from typing import Any

from tests.faults.lives.servers import NOVA, distinct_points
from tests.faults.scene import COMPUTE, Scene
from tests.support.daemon import wait_for

VOLUME = "/volume/v3"
CHAPTERS: dict[str, list[str]] = {
    "attach": distinct_points(NOVA["nova.reserve_volumes"]) + distinct_points(NOVA["nova.attach_volume"]),
    "detach": distinct_points(NOVA["nova.detach_volume"]),
    "boot": [point for point in distinct_points(NOVA["nova.boot"]) if ":volumes:" in point],
    "delete": [point for point in distinct_points(NOVA["nova.delete"]) if ":volumes:" in point],
}


class Life:
    """One server with a volume that comes and goes, and servers that boot with volumes."""

    patience_s = 30.0

    def __init__(self, scene: Scene, number: int) -> None:
        self.scene, self.number = scene, number
        self.server_id = scene.boot(f"volumes-{number}")
        scene.wait_status(self.server_id, "ACTIVE")
        self.volume_id = self.new_volume()
        self.booted = ""
        self.made: list[str] = []  # volumes that a boot made, which go with their server

    def new_volume(self) -> str:
        made = self.scene.send("POST", f"{VOLUME}/volumes", {"volume": {"size": 1}})["volume"]["id"]
        self.until(made, "available")
        return str(made)

    def status(self, volume_id: str) -> str:
        return str(self.scene.api.get(f"{VOLUME}/volumes/{volume_id}")["volume"]["status"])

    def until(self, volume_id: str, status: str) -> None:
        wait_for(lambda: self.status(volume_id) == status, self.patience_s, f"volume {volume_id} to be {status}")

    def until_gone(self, *volume_ids: str) -> None:
        """Of its own volumes only: others may have theirs in the same cloud."""
        def left() -> set[str]:
            return {volume["id"] for volume in self.scene.api.get(f"{VOLUME}/volumes")["volumes"]} & {*volume_ids}

        wait_for(lambda: not left(), self.patience_s, f"volumes {volume_ids} to be gone")

    @property
    def path(self) -> str:
        return f"{COMPUTE}/servers/{self.server_id}/os-volume_attachments"

    def attached(self) -> list[Any]:
        found: list[Any] = self.scene.api.get(self.path)["volumeAttachments"]
        return found

    def until_none_attached(self) -> None:
        """Cinder's record goes first, nova's after it."""
        wait_for(lambda: not self.attached(), self.patience_s, "the server to have no volume")

    # ---- chapters

    def attach(self) -> None:
        self.scene.send("POST", self.path, {"volumeAttachment": {"volumeId": self.volume_id}})

    def attach_ends(self, point: str) -> None:
        """A reservation whose process died before the order is nobody's: the volume can be had again."""
        if "reserve_volumes" in point and ":order:after" not in point and ":order:recorded" not in point:
            self.until(self.volume_id, "available")
            self.until_none_attached()
            self.attach()
        self.until(self.volume_id, "in-use")
        wait_for(lambda: len(self.attached()) == 1, self.patience_s, "the server to have its volume")

    def detach(self) -> None:
        self.scene.send("DELETE", f"{self.path}/{self.volume_id}")

    def detach_ends(self, point: str) -> None:
        self.until(self.volume_id, "available")
        self.until_none_attached()

    def boot(self) -> None:
        self.scene.boot(f"booted-{self.number}", block_device_mapping_v2=[
            {"source_type": "image", "uuid": self.scene.image_id, "destination_type": "local", "boot_index": 0},
            {"source_type": "volume", "uuid": self.volume_id, "destination_type": "volume"},
            {"source_type": "blank", "volume_size": 1, "destination_type": "volume", "delete_on_termination": True}])

    def boot_ends(self, point: str) -> None:
        found = self.scene.api.get(f"{COMPUTE}/servers?name=^booted-{self.number}$")["servers"]
        self.booted = found[0]["id"]
        self.scene.wait_status(self.booted, "ACTIVE")
        volumes = self.scene.api.get(f"{COMPUTE}/servers/{self.booted}/os-volume_attachments")["volumeAttachments"]
        assert len(volumes) == 2 and {self.status(v["volumeId"]) for v in volumes} == {"in-use"}
        self.made = [v["volumeId"] for v in volumes if v["volumeId"] != self.volume_id]

    def delete(self) -> None:
        self.scene.send("DELETE", f"{COMPUTE}/servers/{self.booted}")

    def delete_ends(self, point: str) -> None:
        self.scene.wait_gone(self.booted)
        self.until(self.volume_id, "available")
        self.until_gone(*self.made)

    def end(self) -> None:
        for server_id in filter(None, (self.server_id, self.booted)):
            if self.scene.server(server_id) is not None:
                self.scene.send("DELETE", f"{COMPUTE}/servers/{server_id}")
                self.scene.wait_gone(server_id)
        self.until(self.volume_id, "available")
        self.scene.send("DELETE", f"{VOLUME}/volumes/{self.volume_id}")
        self.until_gone(self.volume_id, *self.made)
        self.scene.cloud.settle()
