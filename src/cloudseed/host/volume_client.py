"""The control process's calls about volumes: one method for each command, as in `client.py`.

The same methods are there on a real host (over its socket) and on one that pretends (`fake.py`), which runs the
commands itself.  What copies data may take up to an hour; a `timeout` means that the outcome is unknown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from cloudseed.host import records
from cloudseed.host.records import ByteSource, ExportInfo, SnapshotInfo, VolumeInfo, VolumePiece, VolumesReport

_T = TypeVar("_T")
_COPY_TIMEOUT_S = 3600.0


class VolumeClient(ABC):
    """Every method raises HostError and may be called twice."""

    @abstractmethod
    async def _ask(self, command: records.AnyCommand, answer: type[_T], timeout_s: float | None = None) -> _T: ...

    @abstractmethod
    async def _tell(self, command: records.AnyCommand, timeout_s: float | None = None) -> None: ...

    async def create_volume(self, volume_id: str, size_bytes: int, source: ByteSource | None = None) -> VolumeInfo:
        """Make a volume, of zeros or as a copy; one that exists is kept as it is."""
        command = records.CreateVolume(volume_id=volume_id, size_bytes=size_bytes, source=source)
        return await self._ask(command, VolumeInfo, _COPY_TIMEOUT_S)

    async def delete_volume(self, volume_id: str) -> None:
        """Remove a volume; `conflict` while it is exported."""
        await self._tell(records.DeleteVolume(volume_id=volume_id), _COPY_TIMEOUT_S)

    async def extend_volume(self, volume_id: str, size_bytes: int) -> VolumeInfo:
        """Grow a volume; follow with `resize_disk` for each running machine that has it."""
        return await self._ask(records.ExtendVolume(volume_id=volume_id, size_bytes=size_bytes), VolumeInfo)

    async def create_snapshot(self, snapshot_id: str, volume_id: str) -> SnapshotInfo:
        """Copy a volume as it is at one moment, in use or not."""
        command = records.CreateSnapshot(snapshot_id=snapshot_id, volume_id=volume_id)
        return await self._ask(command, SnapshotInfo, _COPY_TIMEOUT_S)

    async def delete_snapshot(self, snapshot_id: str) -> None:
        """Remove a snapshot."""
        await self._tell(records.DeleteSnapshot(snapshot_id=snapshot_id), _COPY_TIMEOUT_S)

    async def revert_volume(self, volume_id: str, snapshot_id: str) -> VolumeInfo:
        """Give a volume a snapshot's bytes; `conflict` while it is exported."""
        command = records.RevertVolume(volume_id=volume_id, snapshot_id=snapshot_id)
        return await self._ask(command, VolumeInfo, _COPY_TIMEOUT_S)

    async def export_volume(self, volume_id: str, attachment_id: str, *, read_only: bool = False,
                            peer: str = "") -> ExportInfo:
        """Export a volume for an attachment, which a disk of kind `volume` then names; of host `peer`, when it is
        another's."""
        command = records.ExportVolume(volume_id=volume_id, attachment_id=attachment_id, read_only=read_only,
                                       peer=peer)
        return await self._ask(command, ExportInfo)

    async def unexport_volume(self, volume_id: str, attachment_id: str) -> None:
        """End an attachment's export, even under a machine that still uses it."""
        await self._tell(records.UnexportVolume(volume_id=volume_id, attachment_id=attachment_id))

    async def list_volumes(self) -> VolumesReport:
        """All volumes and snapshots of the host, and its room."""
        return await self._ask(records.ListVolumes(), VolumesReport)

    async def read_volume(self, source: ByteSource, offset: int, length: int) -> VolumePiece:
        """A piece of a volume that nobody writes to, of a snapshot or of a pack."""
        return await self._ask(records.ReadVolume(source=source, offset=offset, length=length), VolumePiece)

    async def write_volume(
        self, volume_id: str, offset: int, data: bytes = b"", *, zero_bytes: int = 0, sync: bool = False
    ) -> None:
        """Write a piece of a volume that is not exported."""
        command = records.WriteVolume(
            volume_id=volume_id, offset=offset, data=data, zero_bytes=zero_bytes, sync=sync
        )
        await self._tell(command)

    async def pack_volume(self, pack_id: str, source: ByteSource) -> int:
        """Make a qcow2 file of a volume or snapshot, read by `read_volume` (kind `pack`); returns its length."""
        return await self._ask(records.PackVolume(pack_id=pack_id, source=source), int, _COPY_TIMEOUT_S)

    async def remove_pack(self, pack_id: str) -> None:
        """Remove what `pack_volume` made."""
        await self._tell(records.RemovePack(pack_id=pack_id))
