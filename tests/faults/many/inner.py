"""The life of a real guest on two hosts, whose agents and host processes die in the middle of their own work.

    life = Life(scene, 1)
    for chapter in CHAPTERS:
        scene.deaths.arm(...)
        life.pass_through(chapter)

Who died is started again at once, as a machine's service manager does; the work is asked for again and comes to the
next point, where somebody dies again, until nobody is left to die and all is done.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from cloudseed.cli import openstack, processes
from cloudseed.cli.api import Api, ApiError
from cloudseed.cli.hosts import shape, start
from cloudseed.cli.launching import StartFailed
from cloudseed.guest_images.tiny import build_tiny
from cloudseed.kernel.config import Config, load_secrets
from tests.faults.lives.servers import DROPPED
from tests.faults.scene import COMPUTE, IMAGE, NETWORK, Scene
from tests.support.daemon import Daemon, wait_for
from tests.support.deaths import Deaths

PATIENCE_S = 240.0
HERE, THERE = "host-2", "host-1"  # where servers are made, where they move to and volumes are
_VOLUME = "/volume/v3"
_STARTS = 10  # a host process may be told to die in its start


def revive(cloud: Daemon) -> int:
    """Start every process of a host that died; how many hosts had one."""
    known, made = processes.load(cloud.state), shape.load(cloud.state)
    dead = [name for name, pair in known.hosts.items()
            if not all(process is not None and _alive(process) for process in (pair.host, pair.agent))]
    if not dead:
        return 0
    assert made is not None
    config = msgspec.json.decode((cloud.state / "run" / "config.json").read_bytes(), type=Config)
    hosts = [place for place in made.places(cloud.state) if place.name in dead]
    for tries in reversed(range(_STARTS)):
        try:
            start.start_hosts(config, made, hosts, processes.load(cloud.state), lambda text: None, cloud.environment)
            break
        except StartFailed:
            if not tries:
                raise
    return len(dead)


class Guests(Scene):
    """Two hosts with what a boot needs."""

    def __init__(self, cloud: Daemon, deaths: Deaths) -> None:
        path = build_tiny(openstack.cache())
        with path.open("rb") as file:
            super().__init__(cloud, file, "qcow2" if path.suffix == ".qcow2" else "raw")
        self.deaths = deaths
        self.send("POST", f"{COMPUTE}/flavors", {"flavor": {
            "name": "other", "ram": 288, "vcpus": 1, "disk": 1, "id": "other"}})
        self.latest = Api(cloud.url, "admin", load_secrets(cloud.state).passwords["admin"], "admin",
                          {"OpenStack-API-Version": "compute 2.90"})
        self.heal()

    def heal(self) -> None:
        """Nobody is to die, and all that did is up."""
        self.deaths.disarm()
        revive(self.cloud)
        for name in (HERE, THERE):
            wait_for(lambda name=name: self.is_up(name), PATIENCE_S, f"{name} to be up")  # type: ignore[misc]

    def is_up(self, host: str) -> bool:
        services = self.api.get(f"{COMPUTE}/os-services?binary=nova-compute&host={host}")["services"]
        agents = self.api.get(f"{NETWORK}/agents?host={host}")["agents"]
        return bool(services and services[0]["state"] == "up" and agents and all(each["alive"] for each in agents))

    def machines(self) -> dict[str, list[str]]:
        """Which hosts run a QEMU of each server, by what they themselves find."""
        found: dict[str, list[str]] = {}
        for host in self.cloud.ask("ledger")["hosts"]:
            for server_id in host["machine_pids"]:
                found.setdefault(server_id, []).append(host["name"])
        return found

    def settle(self, runs: dict[str, list[str]]) -> None:
        """Until nothing is under way, the audit is clean and exactly these machines run there."""
        self.cloud.settle(PATIENCE_S)
        wait_for(lambda: self.machines() == runs, PATIENCE_S, f"machines {runs}; there are {self.machines()}")


def _alive(process: processes.Process) -> bool:
    processes.reap(process.pid)
    return process.alive()


class Life:
    """One server, from its boot to its end.  Each chapter is `order`ed, and is over when what it says holds."""

    def __init__(self, scene: Guests, number: int) -> None:
        self.scene, self.number = scene, number
        self.server_id = self.volume_id = self.network_id = self.image_id = ""
        self.runs: list[str] = []  # hosts
        self.refused: list[str] = []
        self.given_up: dict[int, str] = {}  # migration -> chapter

    def prepare(self, chapter: str) -> None:
        """What the chapter needs that is no part of it."""
        getattr(self, f"before_{chapter}", lambda: None)()

    def pass_through(self, chapter: str, patience_s: float = PATIENCE_S) -> list[str]:
        """Order it, start whoever dies, until it is over and all is well.  At which points somebody died."""
        began, revived = time.monotonic(), 0
        sender = threading.Thread(target=self._order, args=(getattr(self, chapter),), daemon=True)
        sender.start()
        is_over: Callable[[], bool] = getattr(self, f"{chapter}_is_over")
        while True:
            revived += revive(self.scene.cloud)
            assert not self.refused, self.refused
            if not sender.is_alive() and is_over():
                break
            if time.monotonic() - began > patience_s:
                pytest.fail(f"{chapter} of {self.server_id} is not over after deaths at {self.scene.deaths.died()}: "
                            f"{self.scene.cloud.ask('explain', kind='server', name=self.server_id)}")
            time.sleep(0.1)
        died, missed = self.scene.deaths.died(), self.scene.deaths.disarm()
        revive(self.scene.cloud)
        over = time.monotonic()
        self.scene.settle({self.server_id: self.runs} if self.runs else {})
        given_up = list(self.given_up.values()).count(chapter)
        print(f"{chapter}: {len(died)} deaths, given up and ordered again {given_up} times, {revived} revivals in "
              f"{over - began:.1f} s, at rest after {time.monotonic() - over:.1f} s more; nobody came to {missed}",
              file=sys.stderr)
        return died

    def _order(self, send: Callable[[], Any]) -> None:
        try:
            send()
        except DROPPED as exc:
            self.refused.append(repr(exc))
        except ApiError as exc:
            self.refused.append(str(exc))

    def _server(self) -> dict[str, Any]:
        server = self.scene.server(self.server_id)
        assert server is not None, f"server {self.server_id} is gone"
        assert server["status"] != "ERROR", server["fault"]
        return server

    def _is(self, status: str, host: str = "") -> bool:
        server = self._server()
        return bool(server["status"] == status and server["OS-EXT-STS:task_state"] is None
                    and host in ("", server["OS-EXT-SRV-ATTR:host"]))

    def _act(self, action: str, value: Any = None) -> None:
        self.scene.latest.send("POST", f"{COMPUTE}/servers/{self.server_id}/action", {action: value})

    # ---- boot, delete

    def before_boot(self) -> None:
        """An image and a network that no host has yet."""
        self.network_id = self.scene.new_network(f"inner-{self.number}")
        self.scene.new_subnet(self.network_id, "10.66.0.0/23")
        self.image_id = self.scene.new_image(f"inner-{self.number}", "qcow2")
        with build_tiny(openstack.cache()).open("rb") as file:
            self.scene.api.upload(f"{IMAGE}/images/{self.image_id}/file", file)

    def boot(self) -> None:
        self.runs = [HERE]
        self.server_id = self.scene.boot(
            f"inner-{self.number}", availability_zone=f"nova:{HERE}", config_drive=True, imageRef=self.image_id,
            networks=[{"uuid": self.network_id}])

    def boot_is_over(self) -> bool:
        return self._is("ACTIVE", HERE)

    def delete(self) -> None:
        self.runs = []
        self.scene.send("DELETE", f"{COMPUTE}/servers/{self.server_id}")

    def delete_is_over(self) -> bool:
        return self.scene.server(self.server_id) is None

    # ---- power

    def stop(self) -> None:
        self.runs = []
        self._act("os-stop")

    def stop_is_over(self) -> bool:
        return self._is("SHUTOFF")

    def start(self) -> None:
        self.runs = [str(self._server()["OS-EXT-SRV-ATTR:host"])]
        self._act("os-start")

    def start_is_over(self) -> bool:
        return self._is("ACTIVE")

    def suspend(self) -> None:
        self.runs = []
        self._act("suspend")

    def suspend_is_over(self) -> bool:
        return self._is("SUSPENDED")

    def resume(self) -> None:
        self.runs = [str(self._server()["OS-EXT-SRV-ATTR:host"])]
        self._act("resume")

    resume_is_over = start_is_over

    # ---- devices, which the guest must let go of

    def before_attach_port(self) -> None:
        path = f"{COMPUTE}/servers/{self.server_id}/action"
        wait_for(lambda: "login:" in self.scene.send("POST", path, {"os-getConsoleOutput": {}})["output"],
                 PATIENCE_S, "the guest to be up")

    def before_attach_volume(self) -> None:
        self.before_attach_port()
        if not self.volume_id:
            made = self.scene.send("POST", f"{_VOLUME}/volumes", {"volume": {"size": 1, "name": f"v{self.number}"}})
            self.volume_id = made["volume"]["id"]
            wait_for(lambda: self._volume() == "available", PATIENCE_S, "the volume")

    def _volume(self) -> str:
        return str(self.scene.api.get(f"{_VOLUME}/volumes/{self.volume_id}")["volume"]["status"])

    def attach_volume(self) -> None:
        self.scene.send("POST", f"{COMPUTE}/servers/{self.server_id}/os-volume_attachments", {
            "volumeAttachment": {"volumeId": self.volume_id}})

    def attach_volume_is_over(self) -> bool:
        return self._volume() == "in-use"

    def detach_volume(self) -> None:
        self.scene.send("DELETE", f"{COMPUTE}/servers/{self.server_id}/os-volume_attachments/{self.volume_id}")

    def detach_volume_is_over(self) -> bool:
        assert self._volume() != "error_detaching"
        return self._volume() == "available"

    def attach_port(self) -> None:
        self.scene.send("POST", f"{COMPUTE}/servers/{self.server_id}/os-interface", {
            "interfaceAttachment": {"net_id": self.network_id}})

    def attach_port_is_over(self) -> bool:
        ports = self.scene.ports_of(self.server_id)
        return len(ports) == 2 and all(port["status"] == "ACTIVE" for port in ports) and self._is("ACTIVE")

    def detach_port(self) -> None:
        port, = self.scene.ports_of(self.server_id)[1:]
        self.scene.send("DELETE", f"{COMPUTE}/servers/{self.server_id}/os-interface/{port['id']}")

    def detach_port_is_over(self) -> bool:
        return len(self.scene.ports_of(self.server_id)) == 1

    # ---- copies, moves

    def snapshot(self) -> None:
        self._act("createImage", {"name": f"copy-{self.number}"})

    def snapshot_is_over(self) -> bool:
        image, = self.scene.find("images", f"copy-{self.number}")
        assert image["status"] not in ("killed", "deleted")
        if image["status"] != "active" or not self._is("ACTIVE"):
            return False
        self.scene.send("DELETE", f"{IMAGE}/images/{image['id']}")
        return True

    def live_migrate(self) -> None:
        self.runs = [THERE]
        self._act("os-migrateLive", {"host": THERE, "block_migration": "auto"})

    def live_migrate_is_over(self) -> bool:
        return self._is("ACTIVE", THERE) or self._again("live_migrate", HERE)

    def migrate(self) -> None:
        self.runs = [HERE]
        self._act("migrate", {"host": HERE})

    def migrate_is_over(self) -> bool:
        return self._is("VERIFY_RESIZE", HERE) or self._again("migrate", THERE)

    def confirm(self) -> None:
        self._act("confirmResize")

    def confirm_is_over(self) -> bool:
        return self._is("ACTIVE", HERE)

    def resize(self) -> None:
        self._act("resize", {"flavorRef": "other"})

    def resize_is_over(self) -> bool:
        if not self._is("VERIFY_RESIZE"):
            return self._again("resize", HERE)
        self.runs = [str(self._server()["OS-EXT-SRV-ATTR:host"])]
        return True

    def revert(self) -> None:
        self.runs = [HERE]
        self._act("revertResize")

    revert_is_over = confirm_is_over

    def _again(self, chapter: str, stays: str) -> bool:
        """A move that was given up, since the ways between two host processes ended with one of them, leaves the server
        where it was; it is ordered again."""
        moves = self.scene.latest.get(f"{COMPUTE}/os-migrations?instance_uuid={self.server_id}")["migrations"]
        last = max(moves, key=lambda move: int(move["id"]), default=None)
        if last is not None and last["id"] not in self.given_up and last["status"] in ("error", "failed") \
                and self._is("ACTIVE", stays):
            self.given_up[last["id"]] = chapter
            getattr(self, chapter)()
        return False

    def end(self) -> None:
        if self.volume_id:
            self.scene.send("DELETE", f"{_VOLUME}/volumes/{self.volume_id}")
            self.volume_id = ""
        self.scene.send("DELETE", f"{NETWORK}/networks/{self.network_id}")
        self.scene.send("DELETE", f"{IMAGE}/images/{self.image_id}")


# between a boot and a delete
STORIES = {
    "life": (),
    "volume": ("attach_volume", "detach_volume"),
    "port": ("attach_port", "detach_port"),
    "copies": ("snapshot", "suspend", "resume", "stop", "start"),
    "live migration": ("live_migrate",),
    "cold migration": ("live_migrate", "migrate", "confirm"),
    "resize": ("resize", "revert"),
}
