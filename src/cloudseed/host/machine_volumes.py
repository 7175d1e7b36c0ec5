"""A machine's volumes, wherever their bytes are: on this host, or on another behind a way."""

from __future__ import annotations

import logging

from cloudseed.host.errors import HostError
from cloudseed.host.records import DiskSpec, MachineSpec
from cloudseed.host.volume_ways import VolumeWays
from cloudseed.host.volumes import Volumes

log = logging.getLogger("cloudseed.host")


class MachineVolumes:
    """Lays and takes away what a machine's QEMU needs to reach its volumes."""

    def __init__(self, volumes: Volumes, ways: VolumeWays) -> None:
        self._volumes = volumes
        self._ways = ways

    async def open(self, server_id: str, disk: DiskSpec) -> None:
        """Lay the way to a volume's export, if the disk is a volume."""
        if disk.kind != "volume":
            return
        if disk.way is not None:
            await self._ways.lay(server_id, disk)
            return
        read_only = await self._volumes.open_to(server_id, disk.volume_id, disk.attachment_id)
        if read_only and not disk.read_only:
            message = f"attachment {disk.attachment_id} has volume {disk.volume_id} for reading only"
            raise HostError("conflict", f"{message}: say so of disk {disk.name}")

    async def close(self, server_id: str, disk: DiskSpec) -> None:
        """Take it away."""
        if disk.kind == "volume" and disk.way is not None:
            await self._ways.remove(server_id, disk.attachment_id)
        elif disk.kind == "volume":
            self._volumes.close_to(server_id, disk.attachment_id)

    async def adopt(self, spec: MachineSpec | None) -> None:
        """Lay the ways of a machine that runs to volumes of other hosts: those of our predecessor ended with it."""
        for disk in spec.disks if spec is not None else []:
            if spec is not None and disk.kind == "volume" and disk.way is not None:
                try:
                    await self._ways.lay(spec.server_id, disk)
                except HostError as exc:
                    log.warning("server %s: %s", spec.server_id, exc.message)

    async def ended(self, server_id: str) -> None:
        """The machine does not run any more."""
        await self._ways.remove_all(server_id)

    def check_size(self, disk: DiskSpec, size_bytes: int) -> tuple[int, int]:
        """The size of a volume that a guest is to be told of, and what it takes on this host; `conflict` while it is
        smaller.  What another host has, that one has extended before."""
        if disk.way is not None:
            return size_bytes, 0
        info = self._volumes.info(disk.volume_id)
        if size_bytes > info.size_bytes:
            raise HostError("conflict", f"volume {disk.volume_id} has {info.size_bytes} bytes: extend it first")
        return info.size_bytes, info.allocated_bytes
