"""Guests on three hosts ping one another while everything but their hosts' power goes: none is lost.  Of a host that
loses its power the server is evacuated, and what comes back destroys only what is no longer its own.

All the while a watcher looks at every disk and machine from outside: see bench/watcher.py.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import pytest
from bench.pings import PREFIX, Guests, Pings, wait_status

from bench import harm
from cloudseed.cli.servers import postgres, rabbitmq
from tests.faults.scene import COMPUTE
from tests.support.daemon import Daemon, needs_root, wait_for
from tests.support.long import long
from tests.support.ranges import held_in_place

pytestmark = [needs_root, pytest.mark.real,
              pytest.mark.skipif(postgres.find_binaries() is None or not rabbitmq.is_installed(),
                                 reason="needs the packages postgresql and rabbitmq-server")]
HOSTS = ["host-1", "host-2", "host-3"]
PATIENCE_S = 120.0  # other tests have the processors too
Undo = Callable[[], None] | None


def all_of(undo: list[Undo]) -> Undo:
    """What mends each of these."""
    def mend() -> None:
        for one in undo:
            if one is not None:
                one()

    return mend


class Scene:
    """A cloud of three hosts with a guest on each."""

    def __init__(self, cloud: Daemon, guests: Guests, pings: Pings) -> None:
        self.cloud, self.guests, self.pings, self.watcher = cloud, guests, pings, cloud.watcher
        self.api = cloud.api
        self.site = harm.Site(cloud.state, cloud.config.port, cloud.start)

    def harmed(self, what: str, do: Callable[[harm.Site], Undo], hold_s: float) -> None:
        """Do it, mend it, and see that no ping was lost from before until after."""
        self.pings.settle()
        before, began = self.pings.now(), time.monotonic()
        undo = do(self.site)
        try:
            time.sleep(hold_s)
        finally:
            self.site.mend(undo)
        self.pings.settle(more=10)
        heard = self.pings.since(before)
        print(f"{what}: {heard}, in {time.monotonic() - began:.1f} s", file=sys.stderr)
        assert heard.sent and not heard.wrong
        assert not self.watcher.wrong

    def wait_host(self, number: int, state: str) -> None:
        def look() -> bool:
            service, = self.api.get(f"{COMPUTE}/os-services?binary=nova-compute&host=host-{number}")["services"]
            return bool(service["state"] == state)

        wait_for(look, PATIENCE_S, f"host-{number} to be {state}")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with held_in_place(f"{PREFIX}0/24"), Daemon(driver="qemu", hosts=3) as cloud:
        guests = Guests(cloud.api, HOSTS)
        for guest in guests.every:
            wait_status(cloud.api, guest.server_id, "ACTIVE")
        with Pings(cloud.state, guests) as pings:
            yield Scene(cloud, guests, pings)
        assert cloud.watcher.looks and cloud.watcher.machines_seen >= {guest.server_id for guest in guests.every}


SERVICES, PARTS = ["control", "database", "broker"], ["agent", "host"]


@pytest.mark.parametrize("kinds", [
    pytest.param(["empty-broker", "kill-database", "kill-control"], id="killed"),
    pytest.param(["freeze-broker", "freeze-database", "freeze-control"], id="frozen"),
    *(pytest.param([f"{way}-{one}"], id=f"{one}-{way}", marks=long) for way in ("kill", "freeze") for one in SERVICES)])
def test_the_machine_of_the_services(scene: Scene, kinds: list[str]) -> None:
    """All that runs there at once, and each alone.  The broker comes back empty."""
    scene.harmed(" and ".join(kinds), lambda site: all_of([harm.KINDS[kind].do(site, 0) for kind in kinds]), 3)


@pytest.mark.parametrize("way", ["kill", "freeze"])
@pytest.mark.parametrize("parts", [
    pytest.param(PARTS, id="all"), *(pytest.param([part], id=part, marks=long) for part in PARTS)])
def test_the_processes_of_hosts(scene: Scene, parts: list[str], way: str) -> None:
    """One after the other, so that in the end all are away at once."""
    def each(site: harm.Site) -> Undo:
        undo: list[Undo] = []
        for name in (f"host-{number} {part}" for number in (1, 2, 3) for part in parts):
            if way == "freeze":
                undo.append(site.freeze(name))
            else:
                site.kill(name)
            time.sleep(0.3)
        return all_of(undo)

    scene.harmed(f"{way} every host's {' and '.join(parts)} process", each, 3)


@pytest.mark.parametrize(("what", "hold_s"), [
    ("controller", 16), pytest.param("broker", 16, marks=long), pytest.param("api", 16, marks=long)])
def test_a_host_that_is_cut_off(scene: Scene, what: str, hold_s: float) -> None:
    """For so long that it counts as down."""
    cuts = {"controller": harm.Site.cut_controller, "broker": harm.Site.cut_broker, "api": harm.Site.cut_api}
    scene.harmed(f"host-2 cut off from {what}", lambda site: cuts[what](site, 2), hold_s)
    scene.wait_host(2, "up")


class Moving:
    """A guest that writes to a volume all the while, and leaves its host by evacuation."""

    def __init__(self, scene: Scene, number: int) -> None:
        self.scene, self.api, self.guest = scene, scene.api, scene.guests.on(f"host-{number}")
        self.number = number
        volume = self.api.send("POST", "/volume/v3/volumes", {"volume": {"size": 1, "name": "written"}})["volume"]
        self.volume = str(volume["id"])
        wait_for(lambda: self.api.get(f"/volume/v3/volumes/{self.volume}")["volume"]["status"] == "available",
                 PATIENCE_S, "the volume to be there")
        self.api.send("POST", f"{COMPUTE}/servers/{self.guest.server_id}/os-volume_attachments", {
            "volumeAttachment": {"volumeId": self.volume}})
        self.first = wait_for(self.writer, PATIENCE_S, "the guest to write to its volume")

    def writer(self) -> str:
        """Which boot of the guest wrote last."""
        data = self.scene.cloud.state / "hosts" / "host-1" / "volumes" / self.volume / "data"
        with data.open("rb") as file:
            return file.read(36).strip(b"\0").decode()

    def evacuate(self) -> str:
        """From its host, which is down, until it pings and writes elsewhere; which boot writes now."""
        server_id, before = self.guest.server_id, self.guest.host
        self.scene.wait_host(self.number, "down")
        self.api.send("POST", f"{COMPUTE}/servers/{server_id}/action", {"evacuate": {"onSharedStorage": False}})
        wait_for(lambda: self.api.get(f"{COMPUTE}/servers/{server_id}")["server"]["OS-EXT-SRV-ATTR:host"] != before,
                 PATIENCE_S, "the server to be on another host")
        self.guest.host = wait_status(self.api, server_id, "ACTIVE")["OS-EXT-SRV-ATTR:host"]
        # a host that is cut off still sends to where the server was
        self.scene.pings.settle(among=[one for one in self.scene.guests.every if one.host != before])
        return str(wait_for(lambda: (now := self.writer()) != self.first and now, PATIENCE_S,
                            "the evacuated guest to write"))

    def wait_return(self) -> None:
        """The host is back, and has removed what is no longer its own."""
        self.scene.wait_host(self.number, "up")
        left = self.scene.cloud.state / "hosts" / f"host-{self.number}" / "machines" / self.guest.server_id
        wait_for(lambda: not left.exists(), PATIENCE_S, f"host-{self.number} to remove what is no longer its own")
        self.scene.cloud.settle(PATIENCE_S)
        self.scene.pings.settle(more=10)


def test_a_host_without_power_is_evacuated_and_returns(scene: Scene) -> None:
    """Only who runs for the cloud writes the volume."""
    moving = Moving(scene, 3)
    scene.pings.settle()
    before = scene.pings.now()
    scene.site.power_off(3)
    second, moved = moving.evacuate(), scene.pings.now()
    scene.site.mend(None)
    moving.wait_return()
    assert moving.writer() == second and moving.volume in scene.watcher.volumes_seen
    others = [one for one in scene.guests.every if one is not moving.guest]
    heard, after = scene.pings.since(before, among=others), scene.pings.since(moved)
    print(f"a host lost its power: {heard} among the others; it returned: {after}", file=sys.stderr)
    assert heard.sent and not heard.wrong and after.sent and not after.wrong
    assert not scene.watcher.wrong
