"""The pretended hypervisor's moves between hosts: nothing flows, and each side remembers how far it is."""

from __future__ import annotations

import time

import msgspec

from cloudseed.kernel.errors import Conflict, NotFound
from cloudseed.nova.compute.drivers.base import CachedImage, Door, Progress
from cloudseed.nova.compute.drivers.fake_records import GIB, Record, disks_of
from cloudseed.nova.compute.network_info import Vif
from cloudseed.nova.compute.spec import ServerSpec

_MIB = 1024**2


class FakeMoves:
    """What `FakeDriver` does for machines that come and go."""

    _records: dict[str, Record]

    async def _pretend(self, doing: str) -> None:
        raise NotImplementedError

    def _save(self, record: Record) -> None:
        raise NotImplementedError

    def _there(self, server_id: str) -> Record:
        record = self._records.get(server_id)
        if record is None:
            raise NotFound(f"Server {server_id} has no disks on this host.")
        return record

    async def receive_disks(self, spec: ServerSpec, image: CachedImage | None,
                            config_drive: dict[str, bytes]) -> Door:
        await self._pretend("receive_disks")
        self._save(Record(spec.id, spec.name, disks=disks_of(spec), disk_of=spec.image_id, waits=True))
        return _door(spec)

    async def send_disks(self, spec: ServerSpec, door: Door) -> None:
        await self._pretend("send_disks")
        if self._there(spec.id).started_at is not None:
            raise Conflict(f"Server {spec.id} runs: its disks cannot be sent as they are.")

    async def settle_disks(self, spec: ServerSpec) -> None:
        await self._pretend("settle_disks")
        self._save(msgspec.structs.replace(self._there(spec.id), disks=disks_of(spec), waits=False))

    async def receive_live(self, spec: ServerSpec, vifs: list[Vif], image: CachedImage | None,
                           config_drive: dict[str, bytes]) -> Door:
        await self._pretend("receive_live")
        if spec.id not in self._records:
            self._save(Record(
                spec.id, spec.name, started_at=time.time(), paused=True, waits=True, disks=disks_of(spec),
                disk_of=spec.image_id, ports=[vif["id"] for vif in vifs],
                volumes={str(d.volume_id): (d.volume_size or 0) * GIB for d in spec.connected_volumes}))
        return _door(spec)

    async def send_live(self, spec: ServerSpec, door: Door) -> None:
        record = self._there(spec.id)
        if record.sent:
            return
        if record.started_at is None:
            raise Conflict(f"Server {spec.id} does not run on this host.")
        await self._pretend("send_live")
        self._save(msgspec.structs.replace(self._there(spec.id), sent=True, paused=True))

    async def run_here(self, spec: ServerSpec, *, paused: bool) -> None:
        await self._pretend("run_here")
        if self._there(spec.id).waits:
            self._save(msgspec.structs.replace(self._there(spec.id), waits=False, paused=paused))

    async def take_back(self, server_id: str, *, paused: bool) -> None:
        await self._pretend("take_back")
        record = self._records.get(server_id)
        if record is not None and record.sent:
            self._save(msgspec.structs.replace(record, sent=False, paused=paused))

    async def hurry(self, server_id: str) -> None:
        await self._pretend("hurry")
        self._there(server_id)

    async def progress(self, server_id: str) -> Progress | None:
        record = self._records.get(server_id)
        if record is None or record.started_at is None or record.waits:
            return None
        memory, disk = 256 * _MIB, record.disks.get("root", 0) * GIB
        done = 1 if record.sent else 0
        return Progress(
            memory_total_bytes=memory, memory_processed_bytes=memory * done, memory_remaining_bytes=memory * (1 - done),
            disk_total_bytes=disk, disk_processed_bytes=disk * done, disk_remaining_bytes=disk * (1 - done))


def _door(spec: ServerSpec) -> Door:
    return Door(address="127.0.0.1", port=0, ticket=spec.id)
