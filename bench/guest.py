"""A guest's first answer on its network, and the same guest under bare QEMU.

Bare QEMU gets the very command line that the host process made for a server of ours (its spec is taken from that
server), a fresh overlay of the same image, the same config drive, and a port of the same network that is wired and
known to DHCP before it starts: what is left is the least time that any cloud could need.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from cloudseed.host import binaries, links, netns, processes, qemu_command
from cloudseed.host.disks import read_header
from cloudseed.host.paths import StatePaths, tap_name
from cloudseed.host.records import ImageInfo, MachineSpec

_PATIENCE_S = 120.0
_TRY_S = 0.04
_SSH = 22


class Answers(NamedTuple):
    """When (time.monotonic) the guest first answered at all, and when its SSH server did."""

    network: float
    ssh: float


def wait_for_answer(namespace: str, address: str) -> Answers:
    """Knock at the guest's port 22 from its network's namespace.  A refusal is an answer: the guest is there."""

    def knock() -> Answers:
        # the kernel asks for an unknown neighbour once a second, which is no way to measure tenths
        Path(f"/proc/sys/net/ipv4/neigh/{links.BRIDGE}/retrans_time_ms").write_text("10")
        first, until = 0.0, time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            with socket.socket() as connection:
                connection.settimeout(_TRY_S)
                try:
                    connection.connect((address, _SSH))
                except ConnectionRefusedError:
                    first = first or time.monotonic()
                    time.sleep(0.01)
                except OSError:
                    time.sleep(0.005)
                else:
                    now = time.monotonic()
                    return Answers(first or now, now)
        raise RuntimeError(f"the guest at {address} did not answer within {_PATIENCE_S:g} s")

    return netns.run(namespace, knock)


def forget_neighbours(namespace: str) -> None:
    """An address that another guest had before is a stranger again."""
    subprocess.run(["ip", "-n", namespace, "neigh", "flush", "all"], check=True, capture_output=True, timeout=20)


class Template(NamedTuple):
    """What a server of ours was started with."""

    spec: MachineSpec
    accel: str
    config_drive: bytes
    backing: Path
    backing_format: str
    disk_bytes: int


def template_of(state: Path, server_id: str) -> Template:
    """Read it while the server runs."""
    paths = StatePaths(state)
    machine = paths.machine(server_id)
    spec = msgspec.json.decode(machine.spec.read_bytes(), type=MachineSpec)
    root = next(disk for disk in spec.disks if disk.kind == "overlay")
    size, backing = read_header(machine.disk(root.name))
    assert backing is not None, "the server's disk stands on no image"
    image = msgspec.json.decode(paths.image_info(Path(backing).name).read_bytes(), type=ImageInfo)
    pid = msgspec.json.decode(machine.pid.read_bytes())["pid"]
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    accel = argv[argv.index("-accel") + 1].partition(",")[0]
    drive = machine.config_drive.read_bytes() if machine.config_drive.exists() else b""
    return Template(spec, accel, drive, Path(backing), image.format, size)


def started_at(state: Path, server_id: str) -> float:
    """When the server's QEMU was started, Unix time."""
    record = processes.load(StatePaths(state).machine(server_id).pid)
    if record is None:
        raise RuntimeError(f"server {server_id} has no process")
    return processes.started_at(record)


@contextmanager
def bare_qemu(template: Template, directory: Path, namespace: str, port_id: str, mac_address: str) -> Iterator[float]:
    """Run the guest on that port; gives the moment (time.monotonic) before the process was started."""
    nic = msgspec.structs.replace(template.spec.nics[0], port_id=port_id, mac_address=mac_address)
    spec = msgspec.structs.replace(template.spec, nics=[nic])
    disk, drive = directory / "root.qcow2", directory / "config.iso"
    disk.unlink(missing_ok=True)
    qemu_img = [binaries.find("qemu-img"), "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=off"]
    backing = ["-b", str(template.backing), "-F", template.backing_format, str(disk), str(template.disk_bytes)]
    subprocess.run([*qemu_img, *backing], check=True, timeout=30)
    drive.write_bytes(template.config_drive)
    with ExitStack() as stack:

        def opened(path: Path, flags: int) -> int:
            descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            return descriptor

        def listening(name: str) -> int:
            (directory / name).unlink(missing_ok=True)
            server = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            server.bind(str(directory / name))
            server.listen(4)
            return server.fileno()

        files = {}
        for item in spec.disks:
            if item.kind == "config_drive":
                files[item.name] = qemu_command.DiskFiles(opened(drive, os.O_RDONLY), read_only=True)
            else:
                below = opened(template.backing, os.O_RDONLY)
                files[item.name] = qemu_command.DiskFiles(
                    opened(disk, os.O_RDWR), False, below, template.backing_format
                )
        tap = netns.run(namespace, lambda: links.open_tap(tap_name(port_id)))
        stack.callback(os.close, tap)
        launch = qemu_command.Launch(
            binary=binaries.find("qemu-system-x86_64"),
            accel="kvm" if template.accel == "kvm" else "tcg",
            disks=files,
            taps={port_id: tap},
            qmp=listening("qmp"),
            host_qmp=listening("host"),
            serial=listening("serial"),
            console_log=opened(directory / "console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
            vnc_directory=opened(directory, os.O_PATH | os.O_DIRECTORY),
        )
        argv = qemu_command.arguments(spec, launch)
        passed = [launch.qmp, launch.host_qmp, launch.serial, launch.console_log, launch.vnc_directory, tap]
        for item_files in files.values():
            passed += [d for d in (item_files.descriptor, item_files.backing_descriptor) if d is not None]
        log = stack.enter_context((directory / "qemu.log").open("wb"))
        (directory / "vnc.sock").unlink(missing_ok=True)
        began = time.monotonic()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=passed, cwd="/")
        try:
            yield began
        except RuntimeError as exc:
            words = (directory / "qemu.log").read_text(errors="replace")[-500:]
            raise RuntimeError(f"{exc} (bare QEMU said: {words or 'nothing'})") from exc
        finally:
            process.kill()
            process.wait()
