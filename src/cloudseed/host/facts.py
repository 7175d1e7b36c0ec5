"""What this host has: for nova's resource tracker, and for a person who asks why nothing starts."""

from __future__ import annotations

import asyncio
import importlib
import os
import platform
import re
import shutil
from pathlib import Path
from typing import Literal

from cloudseed.host import binaries, processes
from cloudseed.host.errors import HostError
from cloudseed.host.paths import StatePaths
from cloudseed.host.records import HostFacts

_GIB = 1024**3


class Facts:
    """Facts of the host; what is costly to find out (acceleration, QEMU's version) is asked once."""

    def __init__(self, cloud: str, paths: StatePaths, cache: Path | None = None) -> None:
        """`cache` keeps the probe's finding for all clouds of this machine; the state directory if null."""
        self._cloud = cloud
        self._cache = cache or paths.cache
        self._paths = paths
        self._accel: tuple[Literal["kvm", "tcg"], str] | None = None
        self._qemu_version: str | None = None
        self._lock = asyncio.Lock()

    async def accel(self) -> Literal["kvm", "tcg"]:
        """How machines run here: `kvm`, or `tcg` where hardware virtualization does not really work."""
        return (await self._probe())[0]

    async def get(self) -> HostFacts:
        """All facts, the changing ones as of now."""
        accel, reason = await self._probe()
        memory = _meminfo()
        disk = shutil.disk_usage(self._paths.root)
        if self._qemu_version is None:
            self._qemu_version = await asyncio.to_thread(_qemu_version)
        return HostFacts(
            hostname=platform.node(),
            kernel=platform.release(),
            architecture=platform.machine(),
            cpus=os.cpu_count() or 1,
            cpu_model=_cpu_model(),
            memory_mib=memory["MemTotal"] // 1024,
            memory_available_mib=memory["MemAvailable"] // 1024,
            disk_total_gib=round(disk.total / _GIB, 2),
            disk_free_gib=round(disk.free / _GIB, 2),
            qemu_version=self._qemu_version,
            accel=accel,
            accel_reason=reason,
            boot_id=processes.boot_id(),
            name=self._cloud,
            problems=binaries.missing(),
        )

    async def _probe(self) -> tuple[Literal["kvm", "tcg"], str]:
        async with self._lock:
            if self._accel is None:
                self._accel = await self._ask_probe()
            return self._accel

    async def _ask_probe(self) -> tuple[Literal["kvm", "tcg"], str]:
        try:
            probe = importlib.import_module("cloudseed.host.acceleration").probe
        except ImportError:
            return "tcg", "there is no probe, so hardware virtualization is not trusted"
        found = await probe(self._cache)
        if found.name == "kvm" and not _kvm_has_group():
            # machines do not run as root
            return "tcg", "only root may use /dev/kvm: run chgrp kvm /dev/kvm && chmod 0660 /dev/kvm"
        return found.name, found.reason


def _kvm_has_group() -> bool:
    mode = os.stat("/dev/kvm").st_mode
    return mode & 0o060 == 0o060 or mode & 0o006 == 0o006


def _meminfo() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {line.partition(":")[0]: int(line.split()[1]) for line in lines}


def _cpu_model() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match.group(1) if match else platform.machine()


def _qemu_version() -> str | None:
    try:
        qemu = binaries.find("qemu-system-x86_64")
        text = processes.run_tool([qemu, "--version"], "asking for QEMU's version")
    except HostError:
        return None
    match = re.search(r"version (\d+\.\d+(\.\d+)?)", text)
    return match.group(1) if match else None
