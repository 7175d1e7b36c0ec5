"""What the kill matrix orders of a cloud of many hosts: the lives of the tests of one process, and moves.

A cell is one operation of a life of its own, which stands at one point while a process is killed.  Cells of one class
never take one another's points for long: whoever comes to a point first stands there, and another goes on to the next.
"""

from __future__ import annotations

from typing import Any, ClassVar

import cloudseed.neutron.routers  # noqa: F401 - it declares its points
from cloudseed.cli.api import ApiError
from cloudseed.kernel.operations import faults
from tests.faults.lives import actions, attachments, changes, servers, volumes
from tests.faults.lives.servers import DROPPED, NOVA, UPLOAD, distinct_points
from tests.faults.lives.site import PATIENCE_S, ManyLives
from tests.faults.many.test_lost_hosts import Cloud3
from tests.faults.scene import BYTES, COMPUTE, IMAGE, NETWORK
from tests.support.daemon import wait_for
from tests.support.operations import undo_points

STORAGE, HERE, THERE = 1, 2, 3  # where volumes are, where servers are made, where they are moved to
_VOLUME = "/volume/v3"
Points = dict[str, list[str]]


class Site3(ManyLives, Cloud3):
    """Of many hosts.  Servers are made on one known host, unless told."""

    def boot(self, name: str, **more: Any) -> str:
        return super().boot(name, **{"availability_zone": f"nova:host-{HERE}", **more})

    @property
    def connector(self) -> dict[str, str]:  # type: ignore[override]
        """Another host than that of the volumes, which says where it is."""
        return {"host": f"host-{HERE}", "ip": self.site.place(HERE).address}

    def kill(self, victim: str) -> None:
        self.site.kill(victim)

    def mend(self) -> None:
        self.site.mend(None)

    def storage(self, picture: Any) -> dict[str, Any]:
        found: dict[str, Any] = next(host for host in picture["hosts"] if host["name"] == f"host-{STORAGE}")
        return found

    def machines_wrong(self, picture: Any) -> list[str]:
        """Each server has one where it is, running or not as it is; one that waits for its confirmation also one where
        it was."""
        root = self.daemon.state / "hosts"
        found = {(path.stem, path.relative_to(root).parts[0]): '"started_at":null' not in _text(path)
                 for path in root.glob("*/**/nova-compute/*/machines/*.json")}
        servers = {(server["id"], server["host"]): server for server in picture["nova"]["servers"] if server["host"]}
        waiting = {server_id for (server_id, _), server in servers.items() if server["vm_state"] == "resized"}
        wrong = [f"on {host}: machine {server_id} of no server there" for server_id, host in found
                 if (server_id, host) not in servers and server_id not in waiting]
        for (server_id, host), server in servers.items():
            runs = server["vm_state"] in ("active", "paused", "rescued") or (
                server["vm_state"] == "resized" and server["power_state"] == 1)
            if (server_id, host) not in found:
                wrong += [f"on {host}: server {server_id} is {server['vm_state']} and has no machine"] * (
                    server["vm_state"] != "error")
            elif found[server_id, host] != runs and server["vm_state"] != "error":
                wrong.append(f"on {host}: server {server_id} is {server['vm_state']}, its machine runs: {not runs}")
        return wrong


def _text(path: Any) -> str:
    try:
        return str(path.read_text())
    except OSError:
        return ""


class Cell:
    """One operation of `chapter` that is to stand at `point`.  `answer`: what its sender had instead of a success."""

    POINTS: ClassVar[Points]
    HOSTS: ClassVar[tuple[int, ...]] = (HERE,)  # which have a part in it
    life: Any

    def __init__(self, chapter: str, point: str, number: int) -> None:
        self.chapter, self.point, self.number = chapter, point, number
        self.answer: Exception | None = None
        self.died = False  # whether the process died that it stood in

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.chapter} at {self.point}"

    @classmethod
    def every(cls) -> list[tuple[type[Cell], str, str]]:
        return [(cls, chapter, point) for chapter, points in cls.POINTS.items() for point in points]

    @property
    def still(self) -> bool:
        """Whether only its whole process can stand there: within a transaction."""
        return self.point.endswith(":commit:before")

    @property
    def turn(self) -> int:
        """Cells of a lower one stand already when it is ordered: on its way it would take their points."""
        return 2 if self.still else 1

    def prepare(self, scene: ManyLives) -> None:
        raise NotImplementedError

    def order(self) -> None:
        """Send it; who answers may die meanwhile."""
        try:
            self.send()
        except DROPPED as exc:
            self.answer = exc
        except ApiError as exc:
            assert ": 500 " not in str(exc), exc
            self.answer = exc

    def send(self) -> None:
        getattr(self.life, self.chapter)(self.point)

    def ends(self) -> None:
        """What must be once nothing is under way."""
        getattr(self.life, f"{self.chapter}_ends")()

    def remove(self) -> None:
        server_id = self.life.server_id
        if server_id and self.life.scene.server(server_id) is not None:
            self.life.scene.send("DELETE", f"{COMPUTE}/servers/{server_id}")
            self.life.scene.wait_gone(server_id)


class Lifetime(Cell):
    """A server is made, stopped, started, deleted."""

    POINTS = {chapter: distinct_points(NOVA[f"nova.{chapter}"]) for chapter in ("boot", "stop", "start", "delete")}

    def prepare(self, scene: ManyLives) -> None:
        self.life = servers.Life(scene, self.number)
        if self.chapter == "start":
            self.life.server_id = scene.boot(f"life-{self.number}")
            scene.wait_status(self.life.server_id, "ACTIVE")
            scene.act(self.life.server_id, "os-stop")
            self.life.stopped = True
        self.life.prepare(self.chapter, self.point)

    def ends(self) -> None:
        getattr(self.life, f"{self.chapter}_ends")(self.point)


class InVain(Lifetime):
    """A boot that fails is undone."""

    POINTS = {"boot_in_vain": undo_points(NOVA["nova.boot"], "networks")}


class Upload(Lifetime):
    """The bytes of an image.  What was not stored is gone with the request that brought it, and can be sent again."""

    POINTS = {"upload": distinct_points(UPLOAD)}
    HOSTS = ()

    def ends(self) -> None:
        path = f"{IMAGE}/images/{self.life.there['image']}"
        if self.life.scene.api.get(path)["status"] == "queued":
            assert self.answer is not None, "it was said to be stored"
            self.life.upload(self.point)
        image = self.life.scene.api.get(path)
        assert image["status"] == "active" and image["size"] == len(BYTES)


class RefusedUpload(Lifetime):
    POINTS = {"refused_upload": undo_points(UPLOAD, "store")}
    HOSTS = ()


class Wire(Lifetime):
    """Networks and ports: one transaction each.  Who had no answer does not know whether it was done."""

    POINTS = {"neutron": servers.NEUTRON}

    def ends(self) -> None:
        if self.still and self.died:
            self.look(False)
            return
        if self.answer is None or not self.still:
            self.look(True)
            return
        try:
            self.look(True)
        except AssertionError:
            self.look(False)

    def look(self, done: bool) -> None:
        call = self.point.partition(":")[0]
        self.life.neutron_ends(f"{call}:commit:{'after' if done else 'before'}")


class Routers(Wire):
    """Routers and their legs."""

    POINTS = {"router": [point for point in faults.declared() if point.startswith("router_")]}

    def prepare(self, scene: ManyLives) -> None:
        self.scene, call = scene, self.point.partition(":")[0]
        self.name = f"{call}-{self.number}"
        self.network = scene.new_network(self.name)
        self.subnet = {"subnet_id": scene.new_subnet(self.network, "10.68.0.0/24")}
        self.router = ""
        if call != "router_create":
            self._create()
        if call == "router_interface_remove":
            self._leg("add")

    def _create(self) -> None:
        self.router = self.scene.send("POST", f"{NETWORK}/routers", {"router": {"name": self.name}})["router"]["id"]

    def _leg(self, what: str) -> None:
        self.scene.send("PUT", f"{NETWORK}/routers/{self.router}/{what}_router_interface", self.subnet)

    def send(self) -> None:
        match self.point.partition(":")[0]:
            case "router_create":
                self._create()
            case "router_update":
                self.scene.send("PUT", f"{NETWORK}/routers/{self.router}", {"router": {"description": "new"}})
            case "router_interface_add":
                self._leg("add")
            case "router_interface_remove":
                self._leg("remove")
            case "router_delete":
                self.scene.send("DELETE", f"{NETWORK}/routers/{self.router}")

    def look(self, done: bool) -> None:
        call, found = self.point.partition(":")[0], self.scene.find("routers", self.name)
        assert len(found) == (done if call == "router_create" else not (done and call == "router_delete"))
        legs = self.legs()
        assert len(legs) == {"router_interface_add": done, "router_interface_remove": not done}.get(call, 0)
        assert all(leg["status"] == "ACTIVE" or not found for leg in legs)
        if call == "router_update":
            assert (found[0]["description"] == "new") == done

    def legs(self) -> list[dict[str, Any]]:
        return [port for port in self.scene.api.get(f"{NETWORK}/ports?network_id={self.network}")["ports"]
                if port["device_owner"].startswith("network:router_")]

    def remove(self) -> None:
        for router in self.scene.find("routers", self.name):
            self.router = router["id"]
            if self.legs():
                self._leg("remove")
            self.scene.send("DELETE", f"{NETWORK}/routers/{self.router}")
        self.scene.send("DELETE", f"{NETWORK}/networks/{self.network}")


class Actions(Cell):
    """What is ordered of a server that stands, and imports and deletes of images."""

    POINTS = {chapter: distinct_points(NOVA[f"nova.{kind}"]) for chapter, kind in (
        ("reboot", "reboot"), ("pause", "pause"), ("unpause", "unpause"), ("suspend", "suspend"), ("resume", "resume"),
        ("createImage", "snapshot"), ("rebuild", "rebuild"), ("rescue", "rescue"), ("unrescue", "unrescue"))}

    def prepare(self, scene: ManyLives) -> None:
        self.life = actions.Life(scene, self.number)
        self.life.prepare(self.chapter)

    def send(self) -> None:
        self.life.order(self.chapter)

    def ends(self) -> None:
        self.life.ends(self.chapter)


class Images(Actions):
    POINTS = {chapter: points for chapter, points in actions.CHAPTERS.items()
              if chapter in ("import_", "image_delete")}
    HOSTS = ()


class Changes(Cell):
    """Interfaces, addresses, another flavor, the shelf."""

    POINTS = {chapter: distinct_points(NOVA[f"nova.{chapter}"]) for chapter in changes.CHAPTERS}

    def prepare(self, scene: ManyLives) -> None:
        self.life = changes.Life(scene, self.number)
        self.life.prepare(self.chapter)


class Attachments(Cell):
    """What nova does with volumes."""

    POINTS = attachments.CHAPTERS
    HOSTS = (HERE, STORAGE)

    @property
    def turn(self) -> int:
        """A boot with volumes reserves them, as an attachment does."""
        return 0 if self.chapter == "boot" else 1

    def prepare(self, scene: ManyLives) -> None:
        self.life = life = _AttachmentLife(scene, self.number)
        if self.chapter == "detach":
            life.attach()
            life.until(life.volume_id, "in-use")
        if self.chapter == "delete":
            life.boot()
            life.boot_ends("")

    def send(self) -> None:
        getattr(self.life, self.chapter)()

    def ends(self) -> None:
        """Who had no answer to a reservation does not know whether it was done; if not, the volume can be had again."""
        life = self.life
        if self.chapter == "attach" and self.answer is not None and life.status(life.volume_id) == "available":
            life.until_none_attached()
            life.attach()
        getattr(life, f"{self.chapter}_ends")("")

    def remove(self) -> None:
        self.life.end()


class _AttachmentLife(attachments.Life):
    patience_s = PATIENCE_S


class Volumes(Cell):
    """What cinder does with volumes."""

    POINTS = volumes.CHAPTERS
    HOSTS = (STORAGE,)

    def prepare(self, scene: ManyLives) -> None:
        self.life = _VolumeLife(scene, self.number)
        self.life.prepare(self.chapter)

    def send(self) -> None:
        getattr(self.life, self.chapter)()

    def remove(self) -> None:
        self.life.end()


class _VolumeLife(volumes.Life):
    """Sees its own things only: there are many."""

    patience_s = PATIENCE_S

    def __init__(self, scene: ManyLives, number: int) -> None:
        super().__init__(scene.daemon, number)
        self._scene = scene
        self._mine: set[str] = set()

    def find(self, kind: str) -> dict[str, Any] | None:
        found = super().find(kind)
        self._mine |= {found["id"]} if found else set()
        return found

    def _connected(self) -> None:
        place = self.ids["attachment"]
        self._send("PUT", f"/attachments/{place}", {"attachment": {"connector": self._scene.connector}})
        self._send("POST", f"/attachments/{place}/action", {"os-complete": None})

    def end(self) -> None:
        """Nothing of it is left, whichever chapter it ended with."""
        volume = self.find("volume")
        if volume is not None:
            for attachment in self.api.get(f"{_VOLUME}/attachments/detail?volume_id={volume['id']}")["attachments"]:
                self._send("DELETE", f"/attachments/{attachment['id']}")
        for kind in ("backup", "snapshot", "volume"):
            found = self.find(kind)
            if found is not None:
                wait_for(lambda: self.find(kind)["status"] == "available",  # type: ignore[index]
                         PATIENCE_S, f"{kind} {self.name} to be at rest")
                self.api.send("DELETE", f"{_VOLUME}/{kind}s/{found['id']}")
                wait_for(lambda: self.find(kind) is None, PATIENCE_S, f"{kind} {self.name} to be gone")

    def settle(self) -> dict[str, Any]:
        picture: dict[str, Any] = self.cloud.ask("ledger")
        host = self._scene.storage(picture)

        def own(names: Any) -> Any:
            kept = [name for name in names if any(mine in name for mine in self._mine)]
            return {name: names[name] for name in kept} if isinstance(names, dict) else kept

        exports = {place: volume for place, volume in host["exports"].items() if volume in self._mine}
        kept = {name: own(host[name]) for name in ("volumes", "snapshots", "packs", "exporter_pids")}
        objects = [each for each in picture["swift"]["objects"] if own([each["name"]])]
        return {"host": {**kept, "exports": exports}, "swift": {"objects": objects}}


class Moves(Cell):
    """A server goes to another host, running and standing."""

    POINTS = {chapter: distinct_points(NOVA[f"nova.{chapter}"]) for chapter in ("live_migrate", "migrate")}
    HOSTS: ClassVar[tuple[int, ...]] = (HERE, THERE)
    ORDERS: ClassVar[dict[str, Any]] = {
        "live_migrate": {"os-migrateLive": {"host": f"host-{THERE}", "block_migration": "auto"}},
        "migrate": {"migrate": {"host": f"host-{THERE}"}},
        "evacuate": {"evacuate": {"host": f"host-{THERE}"}},
    }
    STATUS: ClassVar[dict[str, str]] = {"migrate": "VERIFY_RESIZE"}

    def prepare(self, scene: ManyLives) -> None:
        self.scene, self.life = scene, self
        self.server_id = scene.boot(f"moved-{self.number}")
        scene.wait_status(self.server_id, "ACTIVE")

    def send(self) -> None:
        self.scene.latest.send("POST", f"{COMPUTE}/servers/{self.server_id}/action", self.ORDERS[self.chapter])

    def ends(self) -> None:
        self.scene.wait_status(self.server_id, self.STATUS.get(self.chapter, "ACTIVE"))
        assert self.scene.host_of(self.server_id) == f"host-{THERE}", self.story()
        there = [f"host-{HERE}", f"host-{THERE}"] if self.chapter == "migrate" else [f"host-{THERE}"]
        wait_for(lambda: self.scene.machines(self.server_id) == there, PATIENCE_S,
                 f"the machine of {self.server_id} to be on {there} only")


    def story(self) -> list[Any]:
        """What was recorded of the move."""
        return [*self.scene.daemon.ask("explain", kind="server", name=self.server_id).items(), self.answer]


class Evacuations(Moves):
    """The host is without power; what is here is whom it comes back to."""

    POINTS = {"evacuate": distinct_points(NOVA["nova.evacuate"])}
    HOSTS = (THERE,)


CELLS: tuple[type[Cell], ...] = (Lifetime, Moves, Actions, Changes, Attachments, Volumes, Wire, Routers, Upload,
                                 RefusedUpload, InVain, Images, Evacuations)
