"""Real guests on volumes, and what is plugged into running ones: through the unmodified client, and seen from inside.

No guest is reached from outside its router's namespace, so nothing depends on the machine's own network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.cli import openstack
from cloudseed.guest_images.tiny import build_tiny
from cloudseed.host.paths import router_namespace
from tests.support.daemon import Daemon, needs_root, wait_for
from tests.support.person import Person

pytestmark = [needs_root, pytest.mark.real]
NEW = ("--os-compute-api-version", "2.96", "--os-volume-api-version", "3.70")
FROZEN = "/run/guest-agent/frozen"  # made by the tiny guest's agent when it freezes, empty once all is thawed


class Town:
    """A cloud with a network of both address families, its router, and an image whose guests have the agent."""

    def __init__(self, cloud: Daemon, home: Path) -> None:
        self.cloud, self.me = cloud, Person(cloud, home)
        self.run("network", "create", "home")
        self.run("subnet", "create", "--network", "home", "--subnet-range", "10.20.30.0/24", "home4")
        self.run("subnet", "create", "--network", "home", "--ip-version", "6", "--ipv6-ra-mode", "slaac",
                 "--ipv6-address-mode", "slaac", "--subnet-range", "fd00:20:30::/64", "home6")
        router = self.run("router", "create", "door", "--json")["id"]
        for subnet in ("home4", "home6"):
            self.run("router", "add", "subnet", "door", subnet)
        self.door = router_namespace(cloud.config.name, router)
        self.run("security", "group", "create", "open")
        for family, icmp in (("IPv4", "icmp"), ("IPv6", "ipv6-icmp")):
            self.run("security", "group", "rule", "create", "--ethertype", family, "--protocol", icmp, "open")
            self.run("security", "group", "rule", "create", "--ethertype", family, "--protocol", "tcp", "--dst-port",
                     "22", "open")
        self.run("keypair", "create", "--public-key", f"{self.me.key}.pub", "me")
        image = build_tiny(openstack.cache(), lambda text: None)
        for name, *properties in (("tiny", "hw_qemu_guest_agent=yes", "os_require_quiesce=yes"),
                                  ("rescuer", "hw_rescue_device=disk", "hw_rescue_bus=virtio")):
            self.run("image", "create", "--disk-format", "qcow2", "--container-format", "bare", "--file", str(image),
                     *(word for text in properties for word in ("--property", text)), name)

    def run(self, *words: str) -> Any:
        return self.me.run(*NEW, *words)

    def refused(self, *words: str) -> str:
        """What a command says that does not succeed."""
        done = self.cloud.openstack(*NEW, *words)
        assert done.returncode != 0, f"openstack {' '.join(words)}: {done.stdout}"
        return done.stderr

    def boot(self, name: str, *words: str) -> None:
        self.run("server", "create", "--flavor", "c1", "--network", "home", "--security-group", "open", "--key-name",
                 "me", *words, name)
        self.status("server", name, "active")  # which shows the fault of one that fails

    def addresses(self, server: str) -> dict[int, str]:
        """The server's addresses by IP version."""
        found = self.run("server", "show", server, "--json")["addresses"]["home"]
        return {6 if ":" in address else 4: address for address in found}

    def inside(self, server: str, script: str, version: int = 4) -> str:
        return self.me.ssh(self.addresses(server)[version], script, namespace=self.door)

    def status(self, kind: str, name: str, status: str) -> Any:
        return self.me.wait(f"{kind}", name, status, 90)

    def why(self, server: str, action: str) -> str:
        """How the newest such action of the server's failed, once it is over."""
        def look() -> str | None:
            events = self.run("server", "event", "list", server, "--json")
            newest = next(event for event in events if event["Action"] == action)
            parts = self.run("server", "event", "show", server, newest["Request ID"], "--json")["events"]
            return parts[0]["details"] or None if parts and parts[0]["finish_time"] else None

        found: str = wait_for(look, 60, f"{action} to fail")
        return found


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Daemon(driver="qemu") as cloud:
        yield Town(cloud, tmp_path_factory.mktemp("person"))


def test_a_server_whose_disk_is_a_volume(town: Town) -> None:
    run, image = town.run, town.run("image", "show", "tiny", "--json")["id"]
    town.boot("house", "--block-device", f"uuid={image},source_type=image,destination_type=volume,volume_size=1,"
              "boot_index=0,delete_on_termination=true",
              "--block-device", "source_type=blank,destination_type=volume,volume_size=1,delete_on_termination=false")
    volumes = {volume["volume_id"] if "volume_id" in volume else volume["id"]: volume["delete_on_termination"]
               for volume in run("server", "show", "house", "--json")["volumes_attached"]}
    (root,), (other,) = ([v for v, ends in volumes.items() if ends is wanted] for wanted in (True, False))
    assert town.inside("house", f"echo mine | sudo tee /root/note; sync; test -e {FROZEN} || echo never").split() \
        == ["mine", "never"]
    # an image of it: its guest stands still meanwhile, and goes on
    run("server", "image", "create", "--name", "photo", "--wait", "house")
    thawed = f"test -e {FROZEN} && test ! -s {FROZEN} && sudo touch /root/after && echo thawed"
    wait_for(lambda: town.inside("house", f"{{ {thawed}; }} || true").strip() == "thawed", 60, "the guest to go on")
    mapping = json.loads(run("image", "show", "photo", "--json")["properties"]["block_device_mapping"])
    assert [bool(device["snapshot_id"]) for device in mapping] == [True, True]
    # put away: nobody has its volumes; and back
    run("server", "shelve", "--wait", "house")
    town.status("server", "house", "shelved_offloaded")
    assert {run("volume", "show", volume, "--json")["status"] for volume in volumes} == {"reserved"}
    run("server", "unshelve", "--wait", "house")
    assert town.inside("house", "sudo cat /root/note").strip() == "mine"
    # rescued with its volumes in their places
    assert "Cannot rescue a volume-backed instance" in town.refused("server", "rescue", "--image", "tiny", "house")
    run("server", "rescue", "--image", "rescuer", "house")
    town.status("server", "house", "rescue")
    assert town.inside("house", "ls /sys/block; cat /sys/block/vda/serial").split() == [
        "vda", "vdb", "vdc", root[:20]]
    run("server", "unrescue", "house")
    town.status("server", "house", "active")
    assert town.inside("house", "sudo cat /root/note; ls /sys/block").split() == ["mine", "vda", "vdb"]
    # another image on the same volume
    run("server", "rebuild", "--reimage-boot-volume", "--image", "rescuer", "--wait", "house")
    assert town.inside("house", "sudo cat /root/note 2>/dev/null || echo new; cat /sys/block/vda/serial").split() \
        == ["new", root[:20]]
    # one volume ends with it, the other stays
    run("server", "delete", "--wait", "house")
    town.status("volume", other, "available")
    snapshots = run("volume", "snapshot", "list", "--json")
    assert len(snapshots) == 2 and {s["Status"] for s in snapshots} == {"available"}
    assert run("volume", "show", root, "--json")["status"] == "available"  # its snapshot keeps it


def test_what_is_plugged_into_two_running_guests(town: Town) -> None:
    run = town.run
    run("volume", "type", "create", "--property", "multiattach=<is> True", "many")
    run("volume", "create", "--size", "1", "--type", "many", "shared")
    for name in ("left", "right"):
        town.boot(name, "--image", "tiny")
    # IPv6: each makes its address of what the router says, and is reached by it
    other = town.addresses("right")[6]
    answers = f"n=0; until ping -6 -c 1 -W 2 {other} >/dev/null; do n=$((n+1)); [ $n -lt 40 ] || exit 1; done"
    assert town.inside("left", f"{answers}; ip -6 route | grep -c ^default", 6).strip() == "1"
    # one volume in both
    for name in ("left", "right"):
        run("server", "add", "volume", name, "shared")
    wait_for(lambda: len(run("volume", "show", "shared", "--json")["attachments"]) == 2, 30, "both to have the volume")
    disk = "until [ -b /dev/vdb ]; do usleep 100000; done"
    town.inside("left", f"{disk}; echo hello | sudo dd of=/dev/vdb bs=512 conv=sync,fsync 2>/dev/null")
    assert town.inside("right", f"{disk}; sudo head -c 5 /dev/vdb") == "hello"
    run("server", "remove", "volume", "left", "shared")
    wait_for(lambda: len(run("volume", "show", "shared", "--json")["attachments"]) == 1, 30, "one to let go")
    assert town.inside("right", "sudo dd if=/dev/vdb bs=512 iflag=direct count=1 2>/dev/null | head -c 5") == "hello"
    assert "vdb" not in town.inside("left", "ls /sys/block")
    # a paused guest cannot let go, and keeps what it has
    run("server", "pause", "right")
    town.status("server", "right", "paused")
    run("server", "remove", "volume", "right", "shared")
    assert "unpause it first" in town.why("right", "detach_volume")
    town.status("volume", "shared", "in-use")
    run("server", "unpause", "right")
    town.status("server", "right", "active")
    run("server", "remove", "volume", "right", "shared")
    town.status("volume", "shared", "available")
    # a port that is deleted behind nova's back leaves the guest
    run("network", "create", "side")
    run("subnet", "create", "--network", "side", "--subnet-range", "10.40.0.0/24", "side4")
    port = run("port", "create", "--network", "side", "aside", "--json")
    run("server", "add", "port", "left", "aside")
    cards = "ls /sys/class/net"
    wait_for(lambda: "eth1" in town.inside("left", cards), 30, "the card to be there")
    run("port", "delete", port["id"])
    wait_for(lambda: "eth1" not in town.inside("left", cards), 30, "the card to go")
    assert list(run("server", "show", "left", "--json")["addresses"]) == ["home"]
    for name in ("left", "right"):
        run("server", "delete", "--wait", name)
    town.cloud.settle()
    town.cloud.cloudseed("audit")
