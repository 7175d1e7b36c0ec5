"""The tiny image as its user sees it: booted for real, on a network of the test's own."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.guest_images.machine import Machine, card, config_drive, network, overlay

pytestmark = pytest.mark.real

USER_DATA = b"#!/bin/sh\necho user data ran as $(id -un)\necho once >>/root/runs\n"


def test_guest_with_a_config_drive_lives_a_whole_life(tiny_image: Path, key: Path, tmp_path: Path) -> None:
    """Boot, DHCP, login prompt, SSH, hot-plug, reboot with its files, and a clean end at the power button."""
    metadata = {
        "uuid": "7a0c9d8e-0000-4000-8000-000000000001",
        "hostname": "made-by-nova.novalocal",
        "public_keys": {"my/key": Path(f"{key}.pub").read_text()},
        "admin_pass": 'pass "word" \\ $1',
    }
    drive = config_drive(
        tmp_path / "config.iso", {"meta_data.json": json.dumps(metadata).encode(), "user_data": USER_DATA}
    )
    disk = overlay(tiny_image, tmp_path / "disk.qcow2", "2G")
    extra = tmp_path / "extra.raw"
    extra.write_bytes(bytes(32 << 20))
    arguments = [
        "-drive", f"file={disk},format=qcow2,if=virtio",
        "-drive", f"file={drive},format=raw,if=virtio,readonly=on",
    ]  # fmt: skip
    with network(tmp_path / "net") as net, Machine(net, tmp_path, arguments) as machine:
        machine.wait_for("made-by-nova login: ", 90)
        assert "cloudseed: eth0 10.77.0.10/24 by DHCP from 10.77.0.1" in machine.console
        machine.wait_for("user data ran as root")
        machine.wait_for("cloudseed: user data ended with status 0")

        assert machine.ssh(key, "id -un; hostname") == "cirros\nmade-by-nova\n"
        routes = machine.ssh(
            key, "ip route; cat /sys/class/net/eth0/mtu /etc/resolv.conf; sudo id -u; sudo sh -c 'echo $0 $1' a 'b c'"
        )
        assert "default via 10.77.0.1 " in routes
        assert "10.99.0.0/16 via 10.77.0.9 " in routes
        assert "\n1400\nnameserver 10.77.0.53\n0\na b c\n" in routes
        subprocess.run(net.command("ping", "-c1", "-W5", "10.77.0.10"), check=True, capture_output=True)
        size = int(machine.ssh(key, "df -k / | awk 'END { print $2 }'"))
        assert size > 1_800_000, "the root file system did not grow to the disk"

        machine.qmp("netdev_add", type="tap", id="net1", ifname="tap1", script="no", downscript="no")
        machine.qmp("device_add", **card(1))
        machine.wait_for("cloudseed: eth1 10.77.0.11/24 by DHCP from 10.77.0.1", 30)
        machine.qmp(
            "blockdev-add",
            **{"node-name": "extra", "driver": "raw", "file": {"driver": "file", "filename": str(extra)}},
        )
        machine.qmp("device_add", driver="virtio-blk-pci", drive="extra", id="extra")
        machine.ssh(
            key,
            "for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/vdc ] && break; sleep 1; done;"
            "sudo mkfs.ext4 -q /dev/vdc && sudo mount /dev/vdc /mnt &&"
            " echo kept | sudo tee /mnt/file && sudo umount /mnt",
        )
        machine.qmp("device_del", id="nic1")
        disks = machine.ssh(key, "lsblk -lb --nodeps -n -o NAME,SIZE,TYPE; sudo blkid -t LABEL=config-2 -o device")
        assert [line.split() for line in disks.splitlines()] == [
            ["vda", str(2 << 30), "disk"], ["vdb", str(drive.stat().st_size), "disk"], ["vdc", str(32 << 20), "disk"],
            ["/dev/vdb"]]  # fmt: skip
        _login(machine, 'pass "word" \\ $1')

        machine.ssh(key, "echo written before >file; sync; sudo reboot")
        mark = len(machine.console)
        machine.wait_for("made-by-nova login: ", 90, since=mark)
        assert machine.ssh(key, "cat file; sudo cat /root/runs") == "written before\nonce\n"

        machine.qmp("system_powerdown")
        assert machine.process.wait(timeout=30) == 0


def test_guest_takes_its_keys_from_the_metadata_service(tiny_image: Path, key: Path, tmp_path: Path) -> None:
    """The same from http://169.254.169.254, on a SCSI disk; login at the console with the password that issue tells."""
    served = tmp_path / "web" / "openstack" / "latest"
    served.mkdir(parents=True)
    metadata = {
        "uuid": "7a0c9d8e-0000-4000-8000-000000000002",
        "hostname": "by-http",
        "public_keys": {"k": Path(f"{key}.pub").read_text()},
    }
    (served / "meta_data.json").write_text(json.dumps(metadata, indent=2))
    (served / "user_data").write_bytes(USER_DATA)
    disk = overlay(tiny_image, tmp_path / "disk.qcow2", "1G")
    arguments = [
        "-device", "virtio-scsi-pci", "-drive", f"file={disk},format=qcow2,if=none,id=root",
        "-device", "scsi-hd,drive=root",
    ]  # fmt: skip
    with network(tmp_path / "net") as net:
        net.serve(tmp_path / "web")
        with Machine(net, tmp_path, arguments, memory_mib=96) as machine:
            machine.wait_for(" login: ", 90)
            machine.wait_for("user data ran as root")
            assert machine.ssh(key, "hostname; grep -c . .ssh/authorized_keys") == "by-http\n1\n"
            assert json.loads(machine.ssh(key, "curl -s http://169.254.169.254/openstack/latest/meta_data.json"))
            _login(machine, "gocubsgo")


def _login(machine: Machine, password: str) -> None:
    """At the console, as cirros; the console is at its login prompt before and after."""
    machine.type("cirros\n")
    machine.wait_for("Password: ", since=machine.console.rfind("login: "))
    machine.type(f"{password}\n")
    at = machine.wait_for("$ ", since=machine.console.rfind("Password: "))
    machine.type("sudo id -u\n")
    machine.wait_for("\n0\r\n", since=at)
    machine.type("exit\n")
    machine.wait_for("login: ", since=len(machine.console))


def test_the_guest_agent_freezes_thaws_and_sets_passwords(tiny_image: Path, tmp_path: Path) -> None:
    """What nova asks of an agent before a snapshot, and for `openstack server set --password`."""
    disk = overlay(tiny_image, tmp_path / "disk.qcow2", "1G")
    path = tmp_path / "agent"
    arguments = [
        "-drive", f"file={disk},format=qcow2,if=virtio", "-device", "virtio-serial",
        "-chardev", f"socket,id=agent,path={path},server=on,wait=off",
        "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
    ]  # fmt: skip
    with network(tmp_path / "net") as net, Machine(net, tmp_path, arguments) as machine:
        machine.wait_for("login: ", 90)
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect(str(path))
            agent.settimeout(20)
            lines = agent.makefile("rb")

            def ask(execute: str, **arguments: Any) -> Any:
                agent.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
                return json.loads(lines.readline())

            agent.sendall(b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": 1234}}\n')
            assert lines.readline() == b'\xff{"return": 1234}\n'
            assert ask("guest-sync", id=77) == {"return": 77}
            assert ask("guest-ping") == {"return": {}}
            names = {command["name"] for command in ask("guest-info")["return"]["supported_commands"]}
            assert {"guest-fsfreeze-freeze", "guest-set-user-password"} <= names
            assert ask("guest-fsfreeze-status") == {"return": "thawed"}
            assert ask("guest-fsfreeze-freeze") == {"return": 1}
            assert ask("guest-fsfreeze-status") == {"return": "frozen"}
            assert ask("guest-fsfreeze-thaw") == {"return": 1}
            assert ask("guest-nonsense")["error"]["class"] == "CommandNotFound"
            secret = base64.b64encode(b"by the agent").decode()
            assert ask("guest-set-user-password", username="cirros", password=secret, crypted=False) == {"return": {}}
            assert "error" in ask("guest-set-user-password", username="nobody", password=secret, crypted=False)
            _login(machine, "by the agent")
            agent.sendall(b'{"execute": "guest-shutdown", "arguments": {"mode": "powerdown"}}\n')
            assert machine.process.wait(timeout=30) == 0


def test_guest_without_network_or_metadata_still_reaches_login(tiny_image: Path, tmp_path: Path) -> None:
    """Nobody answers: login comes all the same, and soon.  IDE, the bus that every firmware knows."""
    disk = overlay(tiny_image, tmp_path / "disk.qcow2", "64M")
    with network(tmp_path / "net") as net:
        net.children[0].kill()
        with Machine(net, tmp_path, ["-drive", f"file={disk},format=qcow2,if=ide"]) as machine:
            begin = time.monotonic()
            machine.wait_for("tiny login: ", 60)
            assert time.monotonic() - begin < 45
            assert "by DHCP" not in machine.console
