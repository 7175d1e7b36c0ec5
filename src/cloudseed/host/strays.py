"""Processes that must be ours, found in /proc without help of any file.

A host process that is killed between starting a process and writing its record leaves one that no record names.
A dnsmasq betrays itself by the namespace it runs in, a QEMU by the server's id on its command line, a storage daemon
by its volume's.  Of machines those alone count that run in this process's own network namespace: where a machine is
several hosts (`up --hosts`), a server that moved from one to another has a process that is the other's.  Storage
daemons have namespaces of their own, and a volume never changes its host.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from cloudseed.host import netns, processes


def in_namespaces(names: Collection[str]) -> list[tuple[int, str]]:
    """(pid, program) of every process that runs in one of these network namespaces."""
    inodes = set()
    for name in names:
        try:
            inodes.add(os.stat(netns.DIRECTORY / name).st_ino)
        except FileNotFoundError:
            continue
    found = []
    for pid in _pids() if inodes else ():
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino in inodes:
                found.append((pid, Path(_command(pid)[0]).name))
        except (OSError, IndexError):
            continue
    return found


def machines(server_ids: Collection[str]) -> dict[str, int]:
    """The pid of the QEMU of each of these servers that has one."""
    found = {}
    for pid in _neighbours() if server_ids else ():
        try:
            words = _command(pid)
        except OSError:
            continue
        if words and "qemu-system" in words[0] and "-uuid" in words:
            server_id = words[words.index("-uuid") + 1]
            if server_id in server_ids:
                found[server_id] = pid
    return found


def exporters(names: Collection[str]) -> dict[str, int]:
    """The pid of each of these storage daemons (by `Exporter.name`) that runs."""
    found = {}
    for pid in _pids() if names else ():
        try:
            words = _command(pid)
        except OSError:
            continue
        if any(Path(word).name == "qemu-storage-daemon" for word in words) and "--monitor" in words:
            name = words[words.index("--monitor") + 1].removeprefix("chardev=")
            if name in names:
                found[name] = pid
    return found


def record(pid: int) -> processes.ProcessRecord | None:
    """The record of a process that runs now."""
    stat = processes.read_stat(pid)
    return processes.ProcessRecord(pid, stat.start_ticks, processes.boot_id()) if stat else None


def end(pid: int) -> None:
    """End a process that was found here."""
    found = record(pid)
    if found is not None:
        processes.end(found, grace_s=1.0)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _neighbours() -> Iterator[int]:
    """Processes in the network namespace of this one."""
    own = os.stat("/proc/self/ns/net").st_ino
    for pid in _pids():
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino == own:
                yield pid
        except OSError:
            continue


def _command(pid: int) -> list[str]:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return [word.decode(errors="replace") for word in words if word]
