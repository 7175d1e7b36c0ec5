"""A bare QEMU as one would start it by hand: plain options, a plain bridge, no rule of ours anywhere.

What stands beside a server of ours when its disks and its network are measured.  The guest, its memory and its
processor are the same; the command line is not ours.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.guest import Template
from cloudseed.host import binaries, links

HOST_ADDRESS, GUEST_ADDRESS, PREFIX = "10.94.0.1", "10.94.0.2", 24
EXPORT = "volume"
_TAP, _MAC = "tap0", "52:54:00:94:00:02"


@contextmanager
def network(mtu: int) -> Iterator[str]:
    """A namespace with a bridge and a tap on it; bridged packets meet no firewall.  Gives its name."""
    name = f"csb-{os.getpid()}-{os.urandom(2).hex()}"
    _ip("netns", "add", name)
    try:
        for words in (
            "link set lo up",
            f"link add name {links.BRIDGE} mtu {mtu} type bridge forward_delay 0 mcast_snooping 0",
            f"addr add {HOST_ADDRESS}/{PREFIX} dev {links.BRIDGE}",
            f"link set dev {links.BRIDGE} up",
            f"tuntap add {_TAP} mode tap vnet_hdr",
            f"link set dev {_TAP} mtu {mtu} master {links.BRIDGE} up",
        ):
            _ip("-n", name, *words.split())
        quiet = "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ -e $f ] && echo 0 >$f; done; true"
        subprocess.run(["ip", "netns", "exec", name, "sh", "-c", quiet], check=True, timeout=20)
        yield name
    finally:
        _ip("netns", "delete", name)


@contextmanager
def storage_daemon(volume: Path, directory: Path) -> Iterator[Path]:
    """Export a file over NBD with plain options, although others may have it open too; gives the socket."""
    socket = directory / "nbd.sock"
    argv = [
        binaries.find("qemu-storage-daemon"),
        "--blockdev", f"driver=file,filename={volume},locking=off,node-name=volume",
        "--nbd-server", f"addr.type=unix,addr.path={socket}",
        "--export", f"nbd,id=volume,node-name=volume,name={EXPORT},writable=on",
    ]  # fmt: skip
    with (directory / "storage-daemon.log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        try:
            until = time.monotonic() + 10
            while not socket.is_socket():
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the storage daemon said: {(directory / 'storage-daemon.log').read_text()}")
                time.sleep(0.02)
            yield socket
        finally:
            process.kill()
            process.wait()


@contextmanager
def qemu(template: Template, directory: Path, namespace: str, volume: Path | None = None,
         socket: Path | None = None) -> Iterator[None]:
    """Run the template's guest in a namespace of `network`, on a fresh overlay of its image.

    `volume`: a file that the guest has as its second disk, raw, although another process may have it open too (the
    caller sees to it that only one of them writes at a time).  `socket`: of a `storage_daemon`, its third disk.
    """
    disk, drive = directory / "root.qcow2", directory / "config.iso"
    disk.unlink(missing_ok=True)
    create = [binaries.find("qemu-img"), "create", "-q", "-f", "qcow2", "-F", template.backing_format]
    subprocess.run([*create, "-b", str(template.backing), str(disk), str(template.disk_bytes)], check=True, timeout=30)
    drive.write_bytes(template.config_drive)
    spec = template.spec
    argv = [
        "ip", "netns", "exec", namespace, binaries.find("qemu-system-x86_64"),
        "-nodefaults", "-machine", spec.machine_type, "-accel", template.accel,
        "-cpu", spec.cpu_model or ("host" if template.accel == "kvm" else "max"),
        "-smp", str(spec.vcpus), "-m", str(spec.memory_mib), "-display", "none", "-vga", "std",
        "-drive", f"if=none,id=root,format=qcow2,file={disk}",
        "-device", "virtio-blk-pci,drive=root,bootindex=0",
        "-cdrom", str(drive),
        "-netdev", f"tap,id=net0,ifname={_TAP},script=no,downscript=no",
        "-serial", f"file:{directory / 'console.log'}",
        "-device", f"virtio-net-pci,netdev=net0,mac={_MAC},romfile=,host_mtu={spec.nics[0].mtu}",
    ]  # fmt: skip
    if volume is not None:
        file = f"driver=file,filename={volume},locking=off,node-name=volume-file"
        argv += ["-blockdev", file, "-blockdev", "driver=raw,file=volume-file,node-name=volume"]
        argv += ["-device", "virtio-blk-pci,drive=volume"]
    if socket is not None:
        argv += ["-blockdev", f"driver=nbd,server.type=unix,server.path={socket},export={EXPORT},node-name=exported"]
        argv += ["-device", "virtio-blk-pci,drive=exported"]
    with (directory / "qemu.log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        try:
            yield
        except RuntimeError as exc:
            words = (directory / "qemu.log").read_text(errors="replace")[-500:]
            raise RuntimeError(f"{exc} (bare QEMU said: {words or 'nothing'})") from exc
        finally:
            process.kill()
            process.wait()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)
