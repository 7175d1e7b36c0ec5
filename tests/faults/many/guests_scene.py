"""Three tiny guests on three hosts that ping one another and write volumes, for tests that harm the cloud below."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from bench.load import HEADERS, Customer, Outcome, Worker
from bench.pings import Guest, Guests, Pings, wait_status
from bench.written import Last, Written, told

from bench import harm, load
from cloudseed.cli.api import Api
from cloudseed.host.gate import PORT
from tests.faults.scene import COMPUTE
from tests.support.daemon import Daemon, wait_for

HOSTS = ["host-1", "host-2", "host-3"]
PATIENCE_S = 120.0  # other tests have the processors too
Undo = Callable[[], None] | None
_SEED = "guests-17"  # first one move, then two


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

    @functools.cached_property
    def orders(self) -> Orders:
        return Orders(self.cloud, self.guests.image)

    def harmed(self, what: str, do: Callable[[harm.Site], Undo], hold_s: float, *, ordered: bool = False) -> None:
        """Do it, mend it, and see that no ping was lost from before until after.  `ordered`: somebody makes a server
        meanwhile, moves and deletes it."""
        work = self.orders.at_work() if ordered else nullcontext()
        self.pings.settle()
        before, began = self.pings.now(), time.monotonic()
        with work as outcome:
            undo = do(self.site)
            try:
                time.sleep(hold_s)
            finally:
                self.site.mend(undo)
        self.pings.settle(more=10)
        heard = self.pings.since(before)
        orders = f"; done {dict(outcome.done)}, failed {dict(outcome.failed)}" if outcome is not None else ""
        print(f"{what}: {heard}, in {time.monotonic() - began:.1f} s{orders}", file=sys.stderr)
        assert heard.sent and not heard.wrong
        assert not self.watcher.wrong

    def guests_elsewhere(self, number: int) -> list[Guest]:
        """Those on other hosts."""
        return [one for one in self.guests.every if one.host != f"host-{number}"]

    def console(self, guest: Guest) -> Path:
        return self.cloud.state / "hosts" / guest.host / "machines" / guest.server_id / "console.log"

    def hosts_at_gate(self, number: int) -> set[str]:
        """Addresses of the hosts that are connected to this one's volumes, as the kernel says."""
        said = subprocess.run(["ip", "netns", "exec", self.site.place(number).namespace, "ss", "-tnH", "state",
                               "established", "sport", "=", f":{PORT}"], check=True, text=True, capture_output=True)
        return {line.split()[3].rpartition(":")[0] for line in said.stdout.splitlines()}

    def wait_host(self, number: int, state: str) -> None:
        def look() -> bool:
            service, = self.api.get(f"{COMPUTE}/os-services?binary=nova-compute&host=host-{number}")["services"]
            return bool(service["state"] == state)

        wait_for(look, PATIENCE_S, f"host-{number} to be {state}")


class Orders:
    """Somebody who makes a server, moves it and deletes it, again and again."""

    def __init__(self, cloud: Daemon, image: str) -> None:
        self._cloud = cloud
        self._scene = load.Scene(cloud.api, image, 128, disk_gib=0)

    def boot(self, name: str) -> str:
        return str(self._cloud.api.send("POST", f"{COMPUTE}/servers", self._scene.order(name))["server"]["id"])

    def remove(self, name: str, customer: Customer | None = None) -> None:
        """All of that name; nothing may be left over."""
        customer = customer or self._customer(Outcome())
        for left in customer.ask("GET", f"{COMPUTE}/servers?name={name}")["servers"]:
            customer.delete(left["id"])
        self._cloud.settle(PATIENCE_S)

    def _customer(self, outcome: Outcome) -> Customer:
        return Customer(lambda: Api(self._cloud.url, "admin", self._cloud.password, "admin", HEADERS), outcome)

    @contextmanager
    def at_work(self) -> Iterator[Outcome]:
        """While the body runs.  Then all that was ordered comes to rest, and is removed; nothing may be left over."""
        outcome = Outcome()
        customer = self._customer(outcome)
        worker = Worker("ordered", customer, self._scene, outcome, _SEED, ["live-migrate"])
        worker.start()
        try:
            yield outcome
        finally:
            worker.stop()
            worker.join()
        self.remove("ordered", customer)
        assert not outcome.wrong and outcome.done.total() + outcome.failed.total()


def make_volume(scene: Scene, **more: str) -> str:
    """An empty volume, on host-1; its id."""
    order = {"size": 1, "name": "written", **more}
    made = str(scene.api.send("POST", "/volume/v3/volumes", {"volume": order})["volume"]["id"])
    wait_for(lambda: scene.api.get(f"/volume/v3/volumes/{made}")["volume"]["status"] == "available",
             PATIENCE_S, "the volume to be there")
    return made


@contextmanager
def writes(scene: Scene, volume: str) -> Iterator[Written]:
    """Who writes it, from now on."""
    data = scene.cloud.state / "hosts" / "host-1" / "volumes" / volume / "data"
    with Written(data, len(scene.guests.every)) as written:
        yield written
    assert not written.wrong


def wait_written(written: Written, guest: Guest, after: Last) -> Last:
    """Until it wrote more."""
    wait_for(lambda: written.last(guest.number) != after, PATIENCE_S, f"guest {guest.number} to write its volume")
    return written.last(guest.number)


class Moving:
    """A guest that writes to a volume all the while, and leaves its host by evacuation."""

    def __init__(self, scene: Scene, number: int) -> None:
        self.scene, self.api, self.guest = scene, scene.api, scene.guests.on(f"host-{number}")
        self.number = number
        self.volume = make_volume(scene)
        self.api.send("POST", f"{COMPUTE}/servers/{self.guest.server_id}/os-volume_attachments", {
            "volumeAttachment": {"volumeId": self.volume}})

    def evacuate(self, written: Written, **more: str) -> str:
        """From its host, which is down, until it pings and writes elsewhere; which boot writes now."""
        first = written.last(self.guest.number)
        self.order(**more)
        return self.wait_elsewhere(written, first)

    def order(self, **more: str) -> None:
        """The evacuation, once the host is down."""
        self.scene.wait_host(self.number, "down")
        self.api.send("POST", f"{COMPUTE}/servers/{self.guest.server_id}/action", {
            "evacuate": {"onSharedStorage": False, **more}})

    def wait_elsewhere(self, written: Written, first: Last) -> str:
        """Until it pings and writes there, where it wrote `first` before; which boot writes now."""
        server_id, before = self.guest.server_id, self.guest.host
        wait_for(lambda: self.api.get(f"{COMPUTE}/servers/{server_id}")["server"]["OS-EXT-SRV-ATTR:host"] != before,
                 PATIENCE_S, "the server to be on another host")
        self.guest.host = wait_status(self.api, server_id, "ACTIVE")["OS-EXT-SRV-ATTR:host"]
        # a host that is cut off still sends to where the server was
        self.scene.pings.settle(among=self.scene.guests_elsewhere(self.number))
        wait_for(lambda: written.last(self.guest.number).boot != first.boot, PATIENCE_S,
                 "the evacuated guest to write")
        return written.last(self.guest.number).boot

    def wait_return(self) -> None:
        """The host is back, and has removed what is no longer its own."""
        self.scene.wait_host(self.number, "up")
        left = self.scene.cloud.state / "hosts" / f"host-{self.number}" / "machines" / self.guest.server_id
        wait_for(lambda: not left.exists(), PATIENCE_S, f"host-{self.number} to remove what is no longer its own")
        self.scene.cloud.settle(PATIENCE_S)
        self.scene.pings.settle(more=10)


def move(scene: Scene, guest: Guest, host: str) -> None:
    """By live migration, with its own disk."""
    path = f"{COMPUTE}/servers/{guest.server_id}"
    scene.api.send("POST", f"{path}/action", {
        "os-migrateLive": {"host": host, "block_migration": True, "disk_over_commit": False}})
    wait_for(lambda: scene.api.get(path)["server"]["OS-EXT-SRV-ATTR:host"] == host, PATIENCE_S,
             f"the server to be on {host}")
    guest.host = wait_status(scene.api, guest.server_id, "ACTIVE")["OS-EXT-SRV-ATTR:host"]


def read_of_one_another(scene: Scene, written: Written, one: Guest, other: Guest) -> None:
    """Until each told that it read what the other wrote from now on."""
    for reader, writer in ((one, other), (other, one)):
        now = wait_written(written, writer, written.last(writer.number))

        def look() -> bool:
            read = told(scene.console(reader))[0].get(writer.number)
            return read is not None and read.number >= now.number

        wait_for(look, PATIENCE_S, f"guest {reader.number} to read what guest {writer.number} wrote")


def detach(scene: Scene, guest: Guest, volume: str) -> None:
    path = f"{COMPUTE}/servers/{guest.server_id}/os-volume_attachments"
    scene.api.send("DELETE", f"{path}/{volume}")
    wait_for(lambda: not scene.api.get(path)["volumeAttachments"], PATIENCE_S, "the server to have no volume")
    wait_for(lambda: scene.api.get(f"/volume/v3/volumes/{volume}")["volume"]["status"] in ("available", "in-use"),
             PATIENCE_S, "the volume to be detached")
