"""The host that has the bytes, and its errors in cinder's terms."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from cloudseed.cinder.volume.errors import HostFailed
from cloudseed.host.errors import HostError
from cloudseed.host.records import (
    ByteSource,
    ExportInfo,
    ImageInfo,
    SnapshotInfo,
    VolumeInfo,
    VolumePiece,
    VolumesReport,
)
from cloudseed.kernel.errors import CloudseedError, Conflict, Invalid, NoSpace, NotFound, Timeout, Unavailable

T = TypeVar("T")
PIECE_BYTES = 4 * 1024**2
_ZEROS = bytes(1024**2)


@runtime_checkable
class VolumeHost(Protocol):
    """What is asked of a host process: `host.client.HostClient`, or `host.fake.FakeHost`."""

    async def create_volume(
        self, volume_id: str, size_bytes: int, source: ByteSource | None = None
    ) -> VolumeInfo: ...
    async def delete_volume(self, volume_id: str) -> None: ...
    async def extend_volume(self, volume_id: str, size_bytes: int) -> VolumeInfo: ...
    async def create_snapshot(self, snapshot_id: str, volume_id: str) -> SnapshotInfo: ...
    async def delete_snapshot(self, snapshot_id: str) -> None: ...
    async def revert_volume(self, volume_id: str, snapshot_id: str) -> VolumeInfo: ...
    async def export_volume(self, volume_id: str, attachment_id: str, *, read_only: bool = False,
                            peer: str = "") -> ExportInfo: ...
    async def unexport_volume(self, volume_id: str, attachment_id: str) -> None: ...
    async def list_volumes(self) -> VolumesReport: ...
    async def read_volume(self, source: ByteSource, offset: int, length: int) -> VolumePiece: ...
    async def write_volume(
        self, volume_id: str, offset: int, data: bytes = b"", *, zero_bytes: int = 0, sync: bool = False
    ) -> None: ...
    async def pack_volume(self, pack_id: str, source: ByteSource) -> int: ...
    async def remove_pack(self, pack_id: str) -> None: ...
    async def import_image(self, key: str, source: str, format: str) -> ImageInfo: ...
    async def list_images(self) -> list[ImageInfo]: ...


@dataclass(frozen=True)
class Backend:
    """A host by its name in cinder."""

    host: VolumeHost
    name: str

    async def ask(self, doing: str, work: Awaitable[T]) -> T:
        """The answer to what was asked of the host.  Unavailable and Timeout mean unknown: ask again."""
        try:
            return await work
        except HostError as exc:
            raise self._in_our_terms(exc, doing) from exc

    def _in_our_terms(self, exc: HostError, doing: str) -> CloudseedError:
        text = f"Host {self.name} could not {doing}: {exc.message}"
        match exc.code:
            case "unavailable":
                return Unavailable(text)
            case "timeout":
                return Timeout(text)
            case "no_space":
                return NoSpace(text)
            case "not_found":
                return NotFound(text)
            case "conflict":
                return Conflict(text)
            case "invalid":
                return Invalid(text)
            case "missing_binary" | "failed":
                return HostFailed(host=self.name, doing=doing, reason=exc.message)

    @asynccontextmanager
    async def moment(self, volume_id: str, name: str) -> AsyncIterator[ByteSource]:
        """Where to read a volume as it is now: the volume itself, or, while it is written to, a snapshot `name`.

        `name` is a UUID that no snapshot of cinder's has.  The snapshot is gone afterwards; one that a killed
        process left is not used: it shows an older moment.
        """
        doing = f"read volume {volume_id}"
        source = ByteSource(kind="volume", id=volume_id)
        await self.ask(doing, self.host.delete_snapshot(name))
        try:
            try:
                await self.ask(doing, self.host.read_volume(source, 0, 512))
            except Conflict:
                await self.ask(doing, self.host.create_snapshot(name, volume_id))
                source = ByteSource(kind="snapshot", id=name)
            yield source
        finally:
            await self.ask(doing, self.host.delete_snapshot(name))

    async def pieces(self, source: ByteSource, length: int = PIECE_BYTES) -> AsyncGenerator[VolumePiece, None]:
        """All pieces in order, data or zeros."""
        offset = 0
        while True:
            piece = await self.ask(f"read {source.kind} {source.id}", self.host.read_volume(source, offset, length))
            if not piece.data and not piece.zero_bytes:
                return
            yield piece
            offset += len(piece.data) + piece.zero_bytes

    async def stream(self, source: ByteSource) -> AsyncGenerator[bytes, None]:
        """All bytes in order."""
        async for piece in self.pieces(source):
            if piece.data:
                yield piece.data
            left = piece.zero_bytes
            while left:
                yield _ZEROS[: min(left, len(_ZEROS))]
                left -= min(left, len(_ZEROS))
