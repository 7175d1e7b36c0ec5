"""What exists on this host and carries our name, read from the system: the ledger's view, and purge's list."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cloudseed.host import dhcp, netns, networks, processes
from cloudseed.host.errors import HostError
from cloudseed.host.paths import StatePaths, namespace_name
from cloudseed.host.records import InventoryReport


def read(cloud: str, paths: StatePaths) -> InventoryReport:
    """Everything of ours: namespaces, taps, processes, directories and files."""
    ids = [p.name for p in sorted(paths.dhcp.iterdir())] if paths.dhcp.is_dir() else []
    machines = [p.name for p in sorted(paths.machines.iterdir())] if paths.machines.is_dir() else []
    namespaces = netns.names(f"{cloud}-net-")
    taps = {}
    for name in namespaces:
        try:
            taps[name] = networks.taps(name)
        except HostError:
            taps[name] = []
    dnsmasq = {i: record.pid for i in ids if (record := dhcp.running(paths.dhcp / i)) is not None}
    running = {
        server_id: record.pid
        for server_id in machines
        if (record := processes.load(paths.machines / server_id / "pid")) is not None and record.alive
    }
    known = {*dnsmasq.values(), *running.values()}
    return InventoryReport(
        namespaces=namespaces,
        networks={namespace_name(cloud, i): i for i in ids},
        taps=taps,
        dnsmasq_pids=dnsmasq,
        machine_pids=running,
        machines=machines,
        images=sorted(p.name.removesuffix(".info") for p in paths.images.glob("*.info")),
        files=_files(paths),
        strays=[f"{pid} {command}" for pid, command in _ours(cloud, machines) if pid not in known],
    )


def purge(cloud: str, paths: StatePaths) -> None:
    """End every process of ours and remove every namespace and file; machines have been ended before."""
    networks.remove_others(cloud, paths, set())
    for text in read(cloud, paths).strays:
        pid = int(text.split()[0])
        stat = processes.read_stat(pid)
        if stat is not None:
            processes.end(processes.ProcessRecord(pid, stat.start_ticks, processes.boot_id()), grace_s=1.0)
    for directory in (paths.machines, paths.images, paths.dhcp, paths.volumes, paths.cache):
        shutil.rmtree(directory, ignore_errors=True)


def _files(paths: StatePaths) -> list[str]:
    found = []
    for top in (paths.machines, paths.images, paths.dhcp):
        for directory, _, names in os.walk(top):
            found += [str((Path(directory) / name).relative_to(paths.root)) for name in names]
    return sorted(found)


def _ours(cloud: str, machines: list[str]) -> list[tuple[int, str]]:
    """Processes that must be ours: in one of our namespaces, or a QEMU named after a server of ours."""
    inodes = {}
    for name in netns.names(f"{cloud}-net-"):
        try:
            inodes[os.stat(netns.DIRECTORY / name).st_ino] = name
        except FileNotFoundError:
            continue
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            inode = os.stat(f"/proc/{entry}/ns/net").st_ino
            command = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        words = [word.decode(errors="replace") for word in command if word]
        is_machine = bool(words) and "qemu-system" in words[0] and any(m in words for m in machines)
        if inode in inodes or is_machine:
            found.append((int(entry), Path(words[0]).name if words else "?"))
    return found
