"""A real kill -9 within what is ordered of a server that stands and of an image: each ends as it should.

As in `test_kills.py`, whose lives boot, stop and delete; here a server lives through everything else.  The reboot and
glance's operations die at every point that differs, the others after each step's effect: at all their points they
die within one process, in tests/nova/engine.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator

import pytest

from cloudseed.glance.uploads import Operations
from cloudseed.kernel.operations import OperationType
from tests.faults.scene import BYTES, IMAGE, Scene
from tests.faults.test_kills import NOVA, _nobody, distinct_points, ordered
from tests.support.daemon import Daemon

GLANCE = Operations(_nobody)


def effects(kind: OperationType) -> list[str]:
    return [f"{kind.kind}:{step.name}:after" for step in kind.steps]


# chapter -> the status that it begins in, the one that it ends in, its points
ACTIONS: dict[str, tuple[str, str, list[str]]] = {
    "reboot": ("ACTIVE", "ACTIVE", distinct_points(NOVA["nova.reboot"])),
    "pause": ("ACTIVE", "PAUSED", effects(NOVA["nova.pause"])),
    "unpause": ("PAUSED", "ACTIVE", effects(NOVA["nova.unpause"])),
    "suspend": ("ACTIVE", "SUSPENDED", effects(NOVA["nova.suspend"])),
    "resume": ("SUSPENDED", "ACTIVE", effects(NOVA["nova.resume"])),
    "createImage": ("ACTIVE", "ACTIVE", effects(NOVA["nova.snapshot"])),
    "rebuild": ("ACTIVE", "ACTIVE", effects(NOVA["nova.rebuild"])),
    "rescue": ("ACTIVE", "RESCUE", effects(NOVA["nova.rescue"])),
    "unrescue": ("RESCUE", "ACTIVE", effects(NOVA["nova.unrescue"])),
}
WAYS = {"PAUSED": ("pause", "unpause"), "SUSPENDED": ("suspend", "resume"), "RESCUE": ("rescue", "unrescue")}
CHAPTERS = {**{name: points for name, (_, _, points) in ACTIONS.items()},
            "import_": distinct_points(GLANCE.import_), "image_delete": distinct_points(GLANCE.delete)}
LIVES = [[(chapter, point) for chapter, point in zip(CHAPTERS, points, strict=True) if point]
         for points in itertools.zip_longest(*CHAPTERS.values())]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Daemon(driver="fake") as cloud:
        yield Scene(cloud)


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
        """The state that the chapter begins in; its own point is armed already, which other actions do not pass."""
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


@pytest.mark.parametrize("number", range(len(LIVES)), ids=lambda n: f"life-{n}")
def test_what_was_ordered_is_finished(scene: Scene, number: int) -> None:
    cloud, chapters = scene.cloud, LIVES[number]
    life = Life(scene, number)
    cloud.restart_armed(chapters[0][1])
    for index, (chapter, point) in enumerate(chapters):
        life.prepare(chapter)
        ordered(lambda _, name=chapter: life.order(name), point)  # type: ignore[misc]
        cloud.wait_killed(point)
        following = chapters[index + 1][1] if index + 1 < len(chapters) else ""
        cloud.start({"CLOUDSEED_KILL_AT": following})
        life.ends(chapter)
