"""A new user's first day, by the unmodified client alone: network, router, floating IP, SSH, a volume that moves to a
second machine made from a snapshot of the first, a console page; then everything deleted and nothing left behind.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from cloudseed.cli import openstack, public_network
from cloudseed.guest_images.tiny import build_tiny
from tests.faults.machines import traces
from tests.support.daemon import Daemon, needs_root, wait_for
from tests.support.person import Person
from tests.support.ranges import held_in_place

pytestmark = [needs_root, pytest.mark.real]
MOUNT = "/tmp/volume"


def test_a_first_day(tmp_path: Path) -> None:
    image = build_tiny(openstack.cache(), lambda text: None)
    cloud = Daemon(driver="qemu")
    before = traces(cloud)
    with cloud, ExitStack() as stack:
        me = Person(cloud, tmp_path)
        run = me.run
        public = public_network.ensure(cloud.config)
        assert public is not None
        # what is sent to an address that nobody holds stays on this machine
        stack.enter_context(held_in_place(public))
        # a network of one's own, and the way out
        run("network", "create", "home")
        run("subnet", "create", "--network", "home", "--subnet-range", "10.20.30.0/24", "home4")
        run("router", "create", "door")
        run("router", "set", "--external-gateway", "public", "door")
        run("router", "add", "subnet", "door", "home4")
        run("security", "group", "create", "ssh")
        run("security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "22", "ssh")
        run("keypair", "create", "--public-key", f"{me.key}.pub", "me")
        run("image", "create", "--disk-format", "qcow2", "--container-format", "bare", "--file", str(image), "tiny")
        # the first machine, reached from outside
        address = run("floating", "ip", "create", "public", "--json")["floating_ip_address"]
        machine = ("--flavor", "c1", "--network", "home", "--security-group", "ssh", "--key-name", "me")
        run("server", "create", "--image", "tiny", *machine, "--wait", "one")
        run("server", "add", "floating", "ip", "one", address)
        assert me.ssh(address, "hostname").strip() == "one"
        # a volume with data
        run("volume", "create", "--size", "1", "data")
        me.wait("volume", "data", "available", 30)
        run("server", "add", "volume", "one", "data")
        me.wait("volume", "data", "in-use", 30)
        disk = _new_disk(me, address)
        me.ssh(address, f"sudo mkfs.ext4 -q {disk} && sudo mkdir -p {MOUNT} && sudo mount {disk} {MOUNT}"
                        f" && echo kept | sudo tee {MOUNT}/note && echo mine > ~/root-note && sync")
        me.ssh(address, f"sudo umount {MOUNT}")
        # a second machine from a snapshot of the first, and the volume moved to it
        run("server", "image", "create", "--name", "copy", "--wait", "one")
        run("server", "remove", "volume", "one", "data")
        me.wait("volume", "data", "available", 60)
        run("server", "remove", "floating", "ip", "one", address)
        run("server", "create", "--image", "copy", *machine, "--wait", "two")
        run("server", "add", "floating", "ip", "two", address)
        assert me.ssh(address, "hostname; cat ~/root-note").split() == ["two", "mine"]
        run("server", "add", "volume", "two", "data")
        me.wait("volume", "data", "in-use", 30)
        disk = _new_disk(me, address)
        assert me.ssh(address, f"sudo mkdir -p {MOUNT} && sudo mount {disk} {MOUNT} && cat {MOUNT}/note") == "kept\n"
        me.ssh(address, f"sudo umount {MOUNT}")
        # its screen
        url = run("console", "url", "show", "--novnc", "two", "--json")["url"]
        page = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{content_type}", url], text=True,
                              capture_output=True, check=True).stdout
        assert page.startswith("200 text/html"), page
        # everything goes again
        for server in ("one", "two"):
            run("server", "delete", "--wait", server)
        run("volume", "delete", "data")
        run("floating", "ip", "delete", address)
        run("router", "remove", "subnet", "door", "home4")
        run("router", "unset", "--external-gateway", "door")
        for kind, name in (("router", "door"), ("network", "home"), ("image", "copy"), ("image", "tiny"),
                           ("security group", "ssh"), ("keypair", "me")):
            run(*kind.split(), "delete", name)
        cloud.settle()
        cloud.cloudseed("audit")
        cloud.cloudseed("down", "--purge", "--clouds-yaml", str(cloud.state.parent / "clouds.yaml"))
        after = traces(cloud)
        left = {kind: sorted(after[kind] - before[kind]) for kind in before}
        assert not any(left.values()), left
        assert not cloud.state.exists()


def _new_disk(me: Person, address: str) -> str:
    """The guest's disk that has neither partitions nor a file system in use: the volume."""
    def look() -> str | None:
        names = me.ssh(address, "ls /sys/block").split()
        found = [name for name in names if name.startswith(("vd", "sd")) and name not in ("vda", "sda")]
        return f"/dev/{found[0]}" if found else None

    found: str = wait_for(look, 20, "the volume to appear in the guest")
    return found
