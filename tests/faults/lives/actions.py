"""What is ordered of a server that stands, and imports and deletes of images."""

from __future__ import annotations

import io

from cloudseed.glance.uploads import Operations
from tests.faults.lives.servers import NOVA, _nobody, distinct_points
from tests.faults.scene import BYTES, IMAGE, Scene

GLANCE = Operations(_nobody)


# chapter -> the status that it begins in, the one that it ends in, its points
ACTIONS: dict[str, tuple[str, str, list[str]]] = {
    "reboot": ("ACTIVE", "ACTIVE", distinct_points(NOVA["nova.reboot"])),
    "pause": ("ACTIVE", "PAUSED", distinct_points(NOVA["nova.pause"])),
    "unpause": ("PAUSED", "ACTIVE", distinct_points(NOVA["nova.unpause"])),
    "suspend": ("ACTIVE", "SUSPENDED", distinct_points(NOVA["nova.suspend"])),
    "resume": ("SUSPENDED", "ACTIVE", distinct_points(NOVA["nova.resume"])),
    "createImage": ("ACTIVE", "ACTIVE", distinct_points(NOVA["nova.snapshot"])),
    "rebuild": ("ACTIVE", "ACTIVE", distinct_points(NOVA["nova.rebuild"])),
    "rescue": ("ACTIVE", "RESCUE", distinct_points(NOVA["nova.rescue"])),
    "unrescue": ("RESCUE", "ACTIVE", distinct_points(NOVA["nova.unrescue"])),
}
WAYS = {"PAUSED": ("pause", "unpause"), "SUSPENDED": ("suspend", "resume"), "RESCUE": ("rescue", "unrescue")}
CHAPTERS = {**{name: points for name, (_, _, points) in ACTIONS.items()},
            "import_": distinct_points(GLANCE.import_), "image_delete": distinct_points(GLANCE.delete)}


class Life:
    """One server, and one image a chapter of glance's."""

    def __init__(self, scene: Scene, number: int) -> None:
        self.scene = scene
        self.number = number
        self.server_id = scene.boot(f"acted-{number}")
        self.status = "ACTIVE"
        scene.wait_status(self.server_id, "ACTIVE")
        self.image_id = ""

    def prepare(self, chapter: str) -> None:
        """The state that the chapter begins in; nothing is armed to go off on the way there."""
        if chapter in ACTIONS:
            self._bring_to(ACTIONS[chapter][0])
        else:
            self.image_id = self.scene.new_image(f"{chapter}-{self.number}")
            kind = "stage" if chapter == "import_" else "file"
            self.scene.api.upload(f"{IMAGE}/images/{self.image_id}/{kind}", io.BytesIO(BYTES))

    def _bring_to(self, status: str) -> None:
        if self.status == status:
            return
        if self.status != "ACTIVE":
            self.scene.act(self.server_id, WAYS[self.status][1])
            self.scene.wait_status(self.server_id, "ACTIVE")
        if status != "ACTIVE":
            self.scene.act(self.server_id, WAYS[status][0])
            self.scene.wait_status(self.server_id, status)
        self.status = status

    def order(self, chapter: str) -> None:
        scene = self.scene
        match chapter:
            case "import_":
                scene.send("POST", f"{IMAGE}/images/{self.image_id}/import", {"method": {"name": "glance-direct"}})
            case "image_delete":
                scene.send("DELETE", f"{IMAGE}/images/{self.image_id}")
            case "reboot":
                scene.act(self.server_id, "reboot", {"type": "HARD"})
            case "createImage":
                scene.act(self.server_id, "createImage", {"name": f"shot-{self.number}"})
            case "rebuild":
                scene.act(self.server_id, "rebuild", {"imageRef": scene.image_id})
            case _:
                scene.act(self.server_id, chapter)

    def ends(self, chapter: str) -> None:
        """What must be after the restart."""
        scene = self.scene
        if chapter in ACTIONS:
            self.status = ACTIONS[chapter][1]
            scene.wait_status(self.server_id, self.status)
            assert len(scene.ports_of(self.server_id)) == 1
        if chapter == "createImage":
            (image,) = scene.find("images", f"shot-{self.number}")
            assert image["status"] == "active" and image["instance_uuid"] == self.server_id
        scene.cloud.settle()
        if chapter == "import_":
            image = scene.api.get(f"{IMAGE}/images/{self.image_id}")
            assert image["status"] == "active" and image["size"] == len(BYTES)
        elif chapter == "image_delete":
            assert scene.find("images", f"image_delete-{self.number}") == []
