"""A real guest on a real network of the test's own: namespace, bridge, dnsmasq, taps, QEMU; all gone at the end."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycdlib

GATEWAY = "10.77.0.1"
METADATA = "169.254.169.254"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


class Network:
    """A namespace with a bridge and a DHCP server.  Card N has the MAC `fa:16:3e:77:00:0N`, address 10.77.0.1N."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = f"cst-{os.getpid()}-{os.urandom(2).hex()}"
        self.children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Network:
        ip("netns", "add", self.name)
        try:
            for words in (
                "link set lo up",
                "link add br0 type bridge",
                f"addr add {GATEWAY}/24 dev br0",
                f"addr add {METADATA}/32 dev br0",
                "link set br0 up",
            ):
                ip("-n", self.name, *words.split())
            for number in range(3):
                ip("-n", self.name, "tuntap", "add", f"tap{number}", "mode", "tap")
                ip("-n", self.name, "link", "set", f"tap{number}", "master", "br0", "up")
            hosts = self.directory / "hosts"
            hosts.write_text("".join(f"fa:16:3e:77:00:0{n},10.77.0.1{n},from-dhcp\n" for n in range(3)))
            self.start(
                "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=br0",
                "--bind-interfaces",
                "--dhcp-range=10.77.0.0,static,255.255.255.0,1h", f"--dhcp-hostsfile={hosts}", "--dhcp-authoritative",
                "--no-ping", f"--dhcp-leasefile={self.directory}/leases", "--pid-file", "--user=root",
                "--dhcp-option=option:mtu,1400", "--dhcp-option=option:dns-server,10.77.0.53",
                f"--dhcp-option=option:classless-static-route,0.0.0.0/0,{GATEWAY},{METADATA}/32,{GATEWAY},10.99.0.0/16,10.77.0.9",
            )  # fmt: skip
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        ip("netns", "delete", self.name)

    def command(self, *argv: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *argv]

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """A process inside, ended with the network."""
        child = subprocess.Popen(self.command(*argv), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.children.append(child)
        return child

    def serve(self, directory: Path) -> None:
        """A web server at the metadata address."""
        self.start(sys.executable, "-W", "ignore", "-m", "http.server", "-b", METADATA, "-d", str(directory), "80")


def netdev(number: int) -> str:
    return f"tap,id=net{number},ifname=tap{number},script=no,downscript=no"


def card(number: int) -> dict[str, str]:
    return {
        "driver": "virtio-net-pci",
        "netdev": f"net{number}",
        "id": f"nic{number}",
        "mac": f"fa:16:3e:77:00:0{number}",
    }


class Machine:
    """A QEMU process in a network's namespace.  `console` is all that came over its serial line so far."""

    def __init__(self, network: Network, directory: Path, arguments: list[str], memory_mib: int = 128) -> None:
        self.console = ""
        self.network = network
        self._sockets = {name: socket.socketpair() for name in ("serial", "qmp")}
        argv = [
            "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", str(memory_mib), "-nodefaults",
            "-no-user-config", "-display", "none", "-vga", "std",
            "-netdev", netdev(0), "-device", ",".join(f"{k}={v}".removeprefix("driver=") for k, v in card(0).items()),
            "-device", "virtio-rng-pci",
        ]  # fmt: skip
        for name, (_, theirs) in self._sockets.items():
            argv += ["-chardev", f"socket,id={name},fd={theirs.fileno()}"]
        argv += ["-serial", "chardev:serial", "-mon", "chardev=qmp,mode=control", *arguments]
        theirs = [pair[1] for pair in self._sockets.values()]
        self.process = subprocess.Popen(
            network.command(*argv), stdin=subprocess.DEVNULL, pass_fds=[end.fileno() for end in theirs]
        )
        for end in theirs:
            end.close()
        self._serial, self._qmp = (self._sockets[name][0] for name in ("serial", "qmp"))
        self._qmp.settimeout(10)
        self._qmp_lines = self._qmp.makefile("r")
        self.qmp("qmp_capabilities")

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._qmp_lines.close()
        self._serial.close()
        self._qmp.close()

    def qmp(self, execute: str, **arguments: Any) -> Any:
        self._qmp.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
        for line in self._qmp_lines:
            answer = json.loads(line)
            assert "error" not in answer, answer
            if "return" in answer:
                return answer["return"]
        raise AssertionError("QEMU closed its monitor")

    def wait_for(self, text: str, timeout_s: float = 60, since: int = 0) -> int:
        """Wait until the console shows the text after position `since`; the position behind it."""
        deadline = time.monotonic() + timeout_s
        while (at := self.console.find(text, since)) < 0:
            self._serial.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self._serial.recv(65536)
            except TimeoutError:
                data = b""
            if not data:
                raise AssertionError(f"the console did not show {text!r} within {timeout_s:.0f} s:\n{self.console}")
            self.console += data.decode(errors="replace")
        return at + len(text)

    def type(self, text: str) -> None:
        self._serial.sendall(text.encode())

    def ssh(self, key: Path, command: str, address: str = "10.77.0.10", timeout_s: float = 60) -> str:
        """Run a command as cirros over SSH, trying again while the server is not there yet."""
        options = (
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "BatchMode=yes",
            "ConnectTimeout=20",
            "LogLevel=ERROR",
        )
        argv = self.network.command(
            "ssh", "-i", str(key), *(word for o in options for word in ("-o", o)), f"cirros@{address}", command
        )
        deadline = time.monotonic() + timeout_s
        while True:
            done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout_s)
            if done.returncode != 255 or time.monotonic() > deadline:
                assert done.returncode == 0, (
                    f"{command}: {done.returncode}: {done.stdout} {done.stderr}\n{self.console}"
                )
                return done.stdout
            time.sleep(0.3)


@contextlib.contextmanager
def network(directory: Path) -> Iterator[Network]:
    directory.mkdir(parents=True, exist_ok=True)
    with Network(directory) as made:
        yield made


def overlay(image: Path, target: Path, size: str) -> Path:
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image), str(target), size],
        check=True,
        timeout=20,
    )
    return target


def config_drive(target: Path, files: dict[str, bytes]) -> Path:
    """An ISO 9660 file system as nova makes it: label config-2, the names in Joliet and Rock Ridge."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=4, vol_ident="config-2", joliet=3, rock_ridge="1.09")
    for directory in ("openstack", "openstack/latest"):
        iso.add_directory(f"/{directory}", rr_name=directory.rpartition("/")[2], joliet_path=f"/{directory}")
    for name, content in files.items():
        path = f"/openstack/latest/{name}"
        iso.add_fp(io.BytesIO(content), len(content), path, rr_name=name, joliet_path=path)
    iso.write(str(target))
    iso.close()
    return target
