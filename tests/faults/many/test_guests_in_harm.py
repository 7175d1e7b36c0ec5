"""Guests on three hosts ping one another while everything but their hosts' power goes: none is lost.  Of a host that
loses its power or is cut off the server is evacuated, and what comes back destroys only what is no longer its own.
Nobody writes to a volume but those that may.

All the while a watcher looks at every disk and machine from outside: see bench/watcher.py.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import pytest
from bench.clocks import FAKETIME
from bench.pings import PREFIX, Guests, Pings, wait_status
from bench.written import Last, told

from bench import harm
from cloudseed.cli.api import Api
from cloudseed.cli.servers import postgres, rabbitmq
from tests.faults.many.guests_scene import (
    HOSTS,
    PATIENCE_S,
    Moving,
    Scene,
    Undo,
    all_of,
    detach,
    make_volume,
    move,
    read_of_one_another,
    wait_written,
    writes,
)
from tests.faults.scene import COMPUTE
from tests.support.daemon import Daemon, needs_root, wait_for
from tests.support.long import long
from tests.support.ranges import held_in_place

pytestmark = [needs_root, pytest.mark.real,
              pytest.mark.skipif(postgres.find_binaries() is None or not rabbitmq.is_installed(),
                                 reason="needs the packages postgresql and rabbitmq-server")]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """host-3 has a small disk."""
    with held_in_place(f"{PREFIX}0/24", "10.67.0.0/22"), Daemon(driver="qemu", hosts=3, small=["host-3"]) as cloud:
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
    scene.harmed(" and ".join(kinds), lambda site: all_of([harm.KINDS[kind].do(site, 0) for kind in kinds]), 5)


HARMS: dict[str, Callable[[harm.Site], Undo]] = {
    "at-once": lambda site: all_of([
        site.restart(["control", "host-2 agent"], harm.UNRULY_BUS | harm.FAILING_WRITES), site.set_clock(1),
        site.fill_disk(3)]),
    "bus": lambda site: site.restart(["control", *(f"{host} agent" for host in HOSTS)], harm.UNRULY_BUS),
    "writes": harm.Site.failing_writes,
    "disk": lambda site: site.fill_disk(3),
    "clocks": lambda site: all_of([site.shift_clock(1), site.shift_clock(2)]),
    "clocks-that-are-set": lambda site: all_of([site.set_clock(1), site.set_clock(2)]),
    "database": lambda site: site.freeze("postgres"),
}


@pytest.mark.skipif(FAKETIME is None, reason="needs the package faketime")
@pytest.mark.parametrize(("what", "hold_s"), [("at-once", 3), *(pytest.param(what, hold_s, marks=long)
                                              for what, hold_s in (("bus", 30), ("writes", 30), ("disk", 30),
                                                                   ("clocks", 30), ("clocks-that-are-set", 30),
                                                                   ("database", 5)))])
def test_orders_go_on_meanwhile(scene: Scene, what: str, hold_s: float) -> None:
    """A bus that brings messages twice, late, out of order or never; commits that fail; a full disk of host-3; clocks
    an hour off, of a host that is late and one that is early; a database that stalls."""
    scene.harmed(what, HARMS[what], hold_s, ordered=True)


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


@long
@pytest.mark.parametrize("what", ["controller", "broker", "api"])
def test_a_host_that_is_cut_off(scene: Scene, what: str) -> None:
    """For so long that it counts as down."""
    cuts = {"controller": harm.Site.cut_controller, "broker": harm.Site.cut_broker, "api": harm.Site.cut_api}
    scene.harmed(f"host-2 cut off from {what}", lambda site: cuts[what](site, 2), 16)
    scene.wait_host(2, "up")


@long
def test_ten_minutes_without_a_broker(scene: Scene) -> None:
    """A server that is ordered meanwhile is made afterwards."""
    ordered: list[str] = []

    def do(site: harm.Site) -> None:
        site.kill("rabbitmq")
        ordered.append(scene.orders.boot("meanwhile"))

    scene.harmed("ten minutes without a broker", do, 600)
    wait_status(scene.api, ordered[0], "ACTIVE")
    scene.orders.remove("meanwhile")


CUTS = {"controller": harm.Site.cut_controller, "all": harm.Site.unplug}


@long
@pytest.mark.parametrize("what", CUTS)
def test_a_host_that_has_volumes_is_cut_off(scene: Scene, what: str) -> None:
    """A guest elsewhere uses one of them, and its own guest another.  That one is evacuated: nobody can take the
    volume from it, so it keeps it until the host is back, and only then another machine gets it."""
    user, own, volume = scene.guests.on("host-2"), Moving(scene, 1), make_volume(scene)
    scene.api.send("POST", f"{COMPUTE}/servers/{user.server_id}/os-volume_attachments", {
        "volumeAttachment": {"volumeId": volume}})
    others = [one for one in scene.guests.every if one is not own.guest]
    with writes(scene, volume) as used, writes(scene, own.volume) as written:
        wait_written(used, user, Last("", 0))
        first = wait_written(written, own.guest, Last("", 0))
        scene.pings.settle()
        before = scene.pings.now()
        scene.watcher.may_run_twice.add(own.guest.server_id)
        undo = CUTS[what](scene.site, 1)
        try:
            own.order(host="host-3")
            time.sleep(10)
            was, last = used.last(user.number), written.last(own.guest.number)
            for _ in range(5):
                last = wait_written(written, own.guest, last)
                assert last.boot == first.boot
            went_on = used.last(user.number) != was
        finally:
            scene.site.mend(undo)
        second = own.wait_elsewhere(written, first)
        own.wait_return()
        heard = scene.pings.since(before, among=others)
        wait_written(used, user, used.last(user.number))
        _, failed = told(scene.console(user))
        assert not failed and written.last(own.guest.number).boot == second
        assert {volume, own.volume} <= scene.watcher.volumes_seen
    scene.watcher.may_run_twice.discard(own.guest.server_id)
    print(f"host-1, which has volumes, cut off from {what}: {heard} among the others; the guest with a volume of its "
          f"{'went on' if went_on else 'waited'}", file=sys.stderr)
    assert went_on == (what == "controller")
    for guest, one in ((user, volume), (own.guest, own.volume)):
        detach(scene, guest, one)
    move(scene, own.guest, "host-1")  # for the next test
    scene.cloud.settle(PATIENCE_S)
    assert heard.sent and not heard.wrong and not scene.watcher.wrong


def test_two_guests_write_one_volume(scene: Scene) -> None:
    """From two hosts, through the host that has it: each reads what the other wrote, while one of them moves, and
    when one has it no more the other goes on."""
    one, other = scene.guests.on("host-2"), scene.guests.on("host-3")
    scene.api.send("POST", "/volume/v3/types", {"volume_type": {
        "name": "many", "extra_specs": {"multiattach": "<is> True"}}})
    volume = make_volume(scene, volume_type="many")
    scene.watcher.shared.add(volume)
    latest = Api(scene.cloud.url, "admin", scene.cloud.password, "admin", {"OpenStack-API-Version": "compute 2.90"})
    with writes(scene, volume) as written:
        for guest in (one, other):
            latest.send("POST", f"{COMPUTE}/servers/{guest.server_id}/os-volume_attachments", {
                "volumeAttachment": {"volumeId": volume}})
        for guest in (one, other):
            wait_written(written, guest, written.last(guest.number))
        read_of_one_another(scene, written, one, other)
        assert len(scene.hosts_at_gate(1)) == 2

        before, was = scene.pings.now(), written.last(one.number)
        move(scene, other, "host-2")
        assert written.last(one.number).number > was.number + 1  # it wrote meanwhile
        read_of_one_another(scene, written, one, other)
        scene.pings.settle()
        heard = scene.pings.since(before, among=[guest for guest in scene.guests.every if guest is not other])
        print(f"one of two that write a volume moved: {heard} among the others", file=sys.stderr)

        detach(scene, other, volume)
        last, going = written.last(other.number), written.last(one.number)
        for _ in range(5):
            going = wait_written(written, one, going)
        assert written.last(other.number) == last
        _, failed = told(scene.console(one))
        assert not failed
        detach(scene, one, volume)
    scene.api.send("DELETE", f"/volume/v3/volumes/{volume}")
    scene.cloud.settle(PATIENCE_S)
    assert heard.sent and not heard.wrong
    assert not scene.watcher.wrong




@pytest.mark.parametrize("what", ["controller", pytest.param("all", marks=long)])
def test_a_server_is_evacuated_from_a_host_that_is_cut_off(scene: Scene, what: str) -> None:
    """Its guest there runs on, under the same address, with a volume that it may write no more."""
    moving = Moving(scene, 2)
    with writes(scene, moving.volume) as written:
        wait_written(written, moving.guest, Last("", 0))
        kept = [one for one in scene.guests.every if one.host == "host-2" and one is not moving.guest]
        others = scene.guests_elsewhere(2) if what == "all" else [
            one for one in scene.guests.every if one is not moving.guest]
        scene.pings.settle()
        before = scene.pings.now()
        scene.watcher.may_run_twice.add(moving.guest.server_id)
        undo = CUTS[what](scene.site, 2)
        try:
            # the next test needs somebody on host-3
            second = moving.evacuate(written, host="host-1" if len(scene.guests_elsewhere(3)) < 3 else "host-3")
            elsewhere, twice = scene.guests_elsewhere(2), scene.pings.now()
            wait_for(lambda: moving.guest.server_id in scene.watcher.ran_twice, PATIENCE_S,
                     "the guest to run on both hosts")
            scene.pings.settle(more=10, among=elsewhere)
            both = scene.pings.since(twice, among=elsewhere)
        finally:
            scene.site.mend(undo)
        moving.wait_return()
        scene.watcher.may_run_twice.discard(moving.guest.server_id)
        heard, after = scene.pings.since(before, among=others), scene.pings.now()
        wait_written(written, moving.guest, written.last(moving.guest.number))
        scene.pings.settle(more=10)
        healed = scene.pings.since(after)
        assert written.last(moving.guest.number).boot == second and moving.volume in scene.watcher.volumes_seen
    detach(scene, moving.guest, moving.volume)
    print(f"host-2 cut off from {what}, evacuated, healed: {heard} among the others; to the new machine while the old "
          f"one ran: {both}; after: {healed}; on host-2 stayed {len(kept)}", file=sys.stderr)
    for one in (heard, both, healed):
        assert one.sent and not one.wrong
    assert not scene.watcher.wrong


def test_a_host_without_power_is_evacuated_and_returns(scene: Scene) -> None:
    """Only who runs for the cloud writes the volume."""
    moving = Moving(scene, 3)
    with writes(scene, moving.volume) as written:
        wait_written(written, moving.guest, Last("", 0))
        scene.pings.settle()
        before = scene.pings.now()
        others = scene.guests_elsewhere(3)
        scene.site.power_off(3)
        second, moved = moving.evacuate(written), scene.pings.now()
        scene.site.mend(None)
        moving.wait_return()
        assert written.last(moving.guest.number).boot == second and moving.volume in scene.watcher.volumes_seen
    heard, after = scene.pings.since(before, among=others), scene.pings.since(moved)
    print(f"a host lost its power: {heard} among the others; it returned: {after}", file=sys.stderr)
    assert heard.sent and not heard.wrong and after.sent and not after.wrong
    assert not scene.watcher.wrong
