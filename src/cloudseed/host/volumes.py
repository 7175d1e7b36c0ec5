"""The volumes of this host: made, copied, exported, removed.

    absent ──CreateVolume──▶ there ──ExportVolume──▶ exported ──UnexportVolume──▶ there ──DeleteVolume──▶ absent

A volume is there when its file is; it is exported for the attachments in its `exports.json`, whether the daemons
run or not: they are started again when they die, when the host process starts and when a machine wants them.  One
task at a time works on a volume.  Everything can be asked twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from cloudseed.host import disks, processes
from cloudseed.host import volume_files as files
from cloudseed.host.errors import HostError, from_os_error
from cloudseed.host.exporters import Exporter
from cloudseed.host.paths import ExporterPaths, StatePaths, check_uuid
from cloudseed.host.records import ByteSource, ExportInfo, SnapshotInfo, VolumeInfo, VolumePiece, VolumesReport
from cloudseed.host.users import Users
from cloudseed.host.volume_gate import VolumeGate

log = logging.getLogger(__name__)
_T = TypeVar("_T")
_RESTART_PAUSE_S = 1.0


class Daemons(Protocol):
    """What exports volumes: `exporters.Exporters`, or nothing on a host that only pretends."""

    def paths(self, exporter: Exporter) -> ExporterPaths: ...
    def record(self, exporter: Exporter) -> processes.ProcessRecord | None: ...
    def adopt(self, exporter: Exporter) -> None: ...
    async def serve(self, exporter: Exporter, attachment_ids: list[str]) -> None: ...
    async def end(self, exporter: Exporter) -> None: ...
    async def copy(self, exporter: Exporter) -> Path: ...


class Volumes:
    """All volumes below one state directory."""

    def __init__(self, paths: StatePaths, daemons: Daemons, users: Users, gate: VolumeGate) -> None:
        self._paths = paths
        self._daemons = daemons
        self._users = users
        self._gate = gate
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._stop = threading.Event()
        self._watched: dict[Exporter, int] = {}  # pidfds
        self._mending: set[asyncio.Task[None]] = set()

    # ---- beginning and end

    async def adopt(self) -> None:
        """Take up the daemons that run and start those that should; what cannot be is logged, and tried again."""
        await self._gate.adopt()
        for volume_id in files.volume_ids(self._paths):
            for exporter in _exporters(volume_id):
                self._daemons.adopt(exporter)
            try:
                async with self._locked(volume_id):
                    await self._sync(volume_id)
            except HostError as exc:
                log.warning("volume %s cannot be exported now: %s", volume_id, exc.message)

    async def close(self) -> None:
        """Give up copies under way; daemons run on."""
        self._stop.set()
        for task in self._mending:
            task.cancel()
        await asyncio.gather(*self._mending, return_exceptions=True)
        for exporter in list(self._watched):
            self._unwatch(exporter)

    async def purge(self) -> None:
        """End every daemon; the files are the caller's to remove."""
        for volume_id in files.volume_ids(self._paths):
            async with self._locked(volume_id):
                for attachment_id in files.load_exports(self._paths, volume_id):
                    self._gate.forbid(volume_id, attachment_id)
                files.save_exports(self._paths, volume_id, {})
                await self._sync(volume_id)

    # ---- volumes

    def info(self, volume_id: str) -> VolumeInfo:
        """What is known of a volume; `not_found` when there is none."""
        size, allocated = files.sizes(self._paths.volume(volume_id).data, f"volume {volume_id}")
        exports = [
            self._export_info(volume_id, attachment_id, read_only)
            for attachment_id, read_only in files.load_exports(self._paths, volume_id).items()
        ]
        return VolumeInfo(volume_id=volume_id, size_bytes=size, allocated_bytes=allocated, exports=exports)

    def report(self) -> VolumesReport:
        """All volumes and snapshots."""
        usage = shutil.disk_usage(self._paths.volumes)
        return VolumesReport(
            volumes=[self.info(volume_id) for volume_id in files.volume_ids(self._paths)],
            snapshots=[files.snapshot_info(self._paths, i) for i in files.snapshot_ids(self._paths)],
            packs=files.pack_ids(self._paths),
            total_bytes=usage.total,
            free_bytes=usage.free,
        )

    async def create(self, volume_id: str, size_bytes: int, source: ByteSource | None) -> VolumeInfo:
        """Make the volume; one that exists is kept."""
        files.check_size(size_bytes, f"volume {volume_id}")
        volume = self._paths.volume(volume_id)
        async with self._locked(volume_id, source.id if source is not None and source.kind == "volume" else None):
            if not volume.data.exists():
                volume.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                try:
                    await self._fill(volume.data, source, size_bytes, f"making volume {volume_id}")
                except BaseException:
                    with contextlib.suppress(OSError):
                        volume.directory.rmdir()
                    raise
            return self.info(volume_id)

    async def delete(self, volume_id: str) -> None:
        """Remove the volume."""
        volume = self._paths.volume(volume_id)
        async with self._locked(volume_id):
            self._check_unused(volume_id, "deleted")
            await self._sync(volume_id)
            volume.data.unlink(missing_ok=True)  # from now on it is not there, whatever happens
            await asyncio.to_thread(shutil.rmtree, volume.directory, True)

    async def extend(self, volume_id: str, size_bytes: int) -> VolumeInfo:
        """Grow the volume.  Its daemons are started anew with the new size, and its machines connect again."""
        files.check_size(size_bytes, f"volume {volume_id}")
        async with self._locked(volume_id):
            if size_bytes > self.info(volume_id).size_bytes:
                # before it grows: whoever is killed here leaves none that would never see the new size
                for exporter in _exporters(volume_id):
                    await self._end(exporter)
            try:
                await self._thread(files.extend, self._paths.volume(volume_id).data, f"volume {volume_id}", size_bytes)
            finally:
                await self._sync(volume_id)
            return self.info(volume_id)

    async def revert(self, volume_id: str, snapshot_id: str) -> VolumeInfo:
        """Give the volume the snapshot's bytes; its size stays."""
        async with self._locked(volume_id):
            before = self.info(volume_id)
            self._check_unused(volume_id, "reverted")
            snapshot = files.snapshot_info(self._paths, snapshot_id)
            if snapshot.size_bytes > before.size_bytes:
                raise HostError("invalid", f"snapshot {snapshot_id} is larger than volume {volume_id}: extend it first")
            source = ByteSource(kind="snapshot", id=snapshot_id)
            target = self._paths.volume(volume_id).data
            await self._fill(target, source, before.size_bytes, f"reverting volume {volume_id}")
            return self.info(volume_id)

    # ---- snapshots and packs

    async def create_snapshot(self, snapshot_id: str, volume_id: str) -> SnapshotInfo:
        """Copy the volume as it is at one moment; a snapshot that exists is kept."""
        target = self._paths.snapshot(snapshot_id)
        async with self._locked(snapshot_id, volume_id):
            if not target.exists():
                source = ByteSource(kind="volume", id=volume_id)
                await self._fill(target, source, self.info(volume_id).size_bytes, f"making snapshot {snapshot_id}")
            return files.snapshot_info(self._paths, snapshot_id)

    async def delete_snapshot(self, snapshot_id: str) -> None:
        """Remove the snapshot."""
        async with self._locked(snapshot_id):
            self._paths.snapshot(snapshot_id).unlink(missing_ok=True)

    async def pack(self, pack_id: str, source: ByteSource) -> int:
        """Make a qcow2 file; returns its length."""
        target = self._paths.pack(pack_id)
        async with self._locked(pack_id, source.id):
            path, what = self._readable(source)
            files.sizes(path, what)
            return await self._thread(files.pack, path, target, self._stop)

    async def remove_pack(self, pack_id: str) -> None:
        """Remove what `pack` made."""
        async with self._locked(pack_id):
            self._paths.pack(pack_id).unlink(missing_ok=True)

    # ---- bytes

    async def read(self, source: ByteSource, offset: int, length: int) -> VolumePiece:
        """A piece of a volume, snapshot or pack."""
        path, what = self._readable(source)
        return await self._thread(files.read, path, what, offset, length)

    async def write(self, volume_id: str, offset: int, data: bytes, zero_bytes: int, sync: bool) -> None:
        """Write a piece of a volume that is not exported."""
        async with self._locked(volume_id):
            self._check_unused(volume_id, "written to")
            path = self._paths.volume(volume_id).data
            await self._thread(files.write, path, f"volume {volume_id}", offset, data, zero_bytes, sync)

    # ---- exports

    async def export(self, volume_id: str, attachment_id: str, read_only: bool, peer: str) -> ExportInfo:
        """Export the volume for the attachment, which is of the host at `peer`, if that is another."""
        check_uuid(attachment_id, "attachment_id")
        async with self._locked(volume_id):
            self.info(volume_id)
            exports = files.load_exports(self._paths, volume_id)
            if exports.get(attachment_id, read_only) != read_only:
                mode = "reading" if exports[attachment_id] else "writing"
                raise HostError("conflict", f"attachment {attachment_id} has volume {volume_id} for {mode}: end that")
            way = await self._gate.let(volume_id, attachment_id, peer) if peer else None
            if way is None:
                self._gate.forbid(volume_id, attachment_id)
            if attachment_id not in exports:
                files.save_exports(self._paths, volume_id, {**exports, attachment_id: read_only})
            try:
                await self._sync(volume_id)
            except BaseException:
                if attachment_id not in exports:
                    files.save_exports(self._paths, volume_id, exports)
                    self._gate.forbid(volume_id, attachment_id)
                raise
            return msgspec.structs.replace(self._export_info(volume_id, attachment_id, read_only), way=way)

    async def unexport(self, volume_id: str, attachment_id: str) -> None:
        """End the export; whoever is connected is not any more."""
        check_uuid(attachment_id, "attachment_id")
        async with self._locked(volume_id):
            exports = files.load_exports(self._paths, volume_id)
            for link in self._links(attachment_id):
                link.unlink(missing_ok=True)
            self._gate.forbid(volume_id, attachment_id)
            if attachment_id in exports:
                exports.pop(attachment_id)
                files.save_exports(self._paths, volume_id, exports)
            await self._sync(volume_id)

    async def open_to(self, server_id: str, volume_id: str, attachment_id: str) -> bool:
        """Give a machine's QEMU a way to the export; returns whether it only reads.  `not_found`: no such export."""
        async with self._locked(volume_id):
            exports = files.load_exports(self._paths, volume_id)
            if attachment_id not in exports:
                message = f"volume {volume_id} is not exported for attachment {attachment_id} on this host"
                raise HostError("not_found", f"{message}: export it before the machine gets it")
            link = self._paths.machine(server_id).volume_socket(attachment_id)
            link.parent.mkdir(mode=0o710, exist_ok=True)
            link.touch()  # `_sync` makes of it what it should be
            await self._sync(volume_id)
            return exports[attachment_id]

    def close_to(self, server_id: str, attachment_id: str) -> None:
        """Take a machine's way to the export."""
        self._paths.machine(server_id).volume_socket(attachment_id).unlink(missing_ok=True)

    async def _sync(self, volume_id: str) -> None:
        """Make the daemons export what `exports.json` says, and machines' names lead to their sockets."""
        exports = files.load_exports(self._paths, volume_id)
        for exporter in _exporters(volume_id):
            wanted = sorted(a for a, read_only in exports.items() if read_only == exporter.read_only)
            if not wanted:
                await self._end(exporter)
                continue
            await self._daemons.serve(exporter, wanted)
            self._watch(exporter)
            socket = self._daemons.paths(exporter).nbd_socket
            for link in (link for attachment_id in wanted for link in self._links(attachment_id)):
                if socket.exists() and not _same(link, socket):
                    temporary = link.with_name(link.name + ".new")
                    temporary.unlink(missing_ok=True)
                    os.link(socket, temporary)
                    temporary.replace(link)

    def _links(self, attachment_id: str) -> list[Path]:
        return list(self._paths.machines.glob(f"*/volumes/{attachment_id}.sock"))

    async def _end(self, exporter: Exporter) -> None:
        self._unwatch(exporter)
        await self._daemons.end(exporter)

    def _export_info(self, volume_id: str, attachment_id: str, read_only: bool) -> ExportInfo:
        exporter = Exporter(volume_id, read_only)
        return ExportInfo(
            attachment_id=attachment_id,
            read_only=read_only,
            running=self._daemons.record(exporter) is not None,
            path=str(self._daemons.paths(exporter).nbd_socket),
            peer=self._gate.peer(volume_id, attachment_id),
        )

    # ---- daemons that die

    def _watch(self, exporter: Exporter) -> None:
        record = self._daemons.record(exporter)
        if record is None or exporter in self._watched:
            return
        pidfd = processes.open_pidfd(record)
        if pidfd is not None:
            self._watched[exporter] = pidfd
            asyncio.get_running_loop().add_reader(pidfd, self._died, exporter, record, time.monotonic())

    def _unwatch(self, exporter: Exporter) -> None:
        pidfd = self._watched.pop(exporter, None)
        if pidfd is not None:
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)

    def _died(self, exporter: Exporter, record: processes.ProcessRecord, since: float) -> None:
        self._unwatch(exporter)
        processes.reap(record.pid)
        log.warning("the storage daemon %s ended: it is started again", exporter.name)
        # one that dies at once shall not keep us busy
        pause = 0.0 if time.monotonic() - since > _RESTART_PAUSE_S else _RESTART_PAUSE_S
        task = asyncio.create_task(self._mend(exporter.volume_id, pause), name=f"mend-{exporter.name}")
        self._mending.add(task)
        task.add_done_callback(self._mending.discard)

    async def _mend(self, volume_id: str, pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            try:
                async with self._locked(volume_id):
                    if self._paths.volume(volume_id).data.exists():
                        await self._sync(volume_id)
                return
            except (HostError, OSError) as exc:
                log.warning("volume %s cannot be exported now: %s", volume_id, exc)
                pause_s = _RESTART_PAUSE_S

    # ---- common

    @asynccontextmanager
    async def _locked(self, *ids: str | None) -> AsyncIterator[None]:
        """Nobody else works on these meanwhile; in one order, so that no two wait for one another."""
        async with AsyncExitStack() as stack:
            for name in sorted({i for i in ids if i is not None}):
                lock = self._locks.get(name) or asyncio.Lock()
                self._locks[name] = lock  # there as long as somebody holds or wants it
                await stack.enter_async_context(lock)
            yield

    async def _thread(self, work: Callable[..., _T], *arguments: object) -> _T:
        """Do what takes time beside the loop; who gives up waiting does not free the volume before it is done."""
        doing = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            await asyncio.wait({doing})
            raise
        except files.Stopped:
            raise HostError("unavailable", "the host process ends: ask again") from None
        except OSError as exc:
            raise from_os_error(exc, "working on a volume") from exc

    async def _fill(self, target: Path, source: ByteSource | None, size_bytes: int, doing: str) -> None:
        """Make the file `target` from the source, grown to the size."""
        moment: Path | None = None
        if source is not None and source.kind == "volume" and self._has_writers(source.id):
            await self._sync(source.id)
            moment = await self._daemons.copy(Exporter(source.id, read_only=False))
        try:
            await self._thread(self._make, target, source, moment, size_bytes, doing)
        finally:
            if moment is not None:
                moment.unlink(missing_ok=True)

    def _make(
        self, target: Path, source: ByteSource | None, moment: Path | None, size_bytes: int, doing: str
    ) -> None:
        if source is not None:
            self._check_fits(source, size_bytes, doing)
        with files.making(target, doing) as made:
            if moment is not None:
                os.replace(moment, target.with_name(target.name + ".new"))
                moved = os.open(target.with_name(target.name + ".new"), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    files.release_zeros(moved)
                    os.ftruncate(moved, size_bytes)
                    os.fsync(moved)
                finally:
                    os.close(moved)
                return
            if source is not None and source.kind == "image":
                image = disks.image_info(self._paths, source.id)
                files.convert(self._paths.image(image.key), image.format, made, self._users, self._stop)
            elif source is not None:
                path = self._source_path(source)[0]
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    files.copy(descriptor, made, self._stop)
                finally:
                    os.close(descriptor)
            os.ftruncate(made, size_bytes)

    def _check_fits(self, source: ByteSource, size_bytes: int, doing: str) -> None:
        if source.kind == "image":
            needed = disks.image_info(self._paths, source.id).size_bytes
        else:
            needed = files.sizes(*self._source_path(source))[0]
        if needed > size_bytes:
            message = f"{doing}: {source.kind} {source.id} has {needed} bytes, more than the {size_bytes} asked for"
            raise HostError("invalid", message)

    def _source_path(self, source: ByteSource) -> tuple[Path, str]:
        what = f"{source.kind} {source.id}"
        match source.kind:
            case "volume":
                return self._paths.volume(source.id).data, what
            case "snapshot":
                return self._paths.snapshot(source.id), what
            case "pack":
                return self._paths.pack(source.id), what
            case "image":
                raise HostError("invalid", "an image of the cache is read by CreateVolume only")

    def _readable(self, source: ByteSource) -> tuple[Path, str]:
        if source.kind == "volume" and self._has_writers(source.id):
            raise HostError("conflict", f"volume {source.id} is being written to: read a snapshot of it")
        return self._source_path(source)

    def _has_writers(self, volume_id: str) -> bool:
        return not all(files.load_exports(self._paths, volume_id).values())

    def _check_unused(self, volume_id: str, what: str) -> None:
        attachments = files.load_exports(self._paths, volume_id)
        if attachments:
            first = next(iter(attachments))
            message = f"volume {volume_id} is exported for attachment {first}: it cannot be {what} before that ends"
            raise HostError("conflict", message)


def _exporters(volume_id: str) -> tuple[Exporter, Exporter]:
    return Exporter(volume_id, read_only=False), Exporter(volume_id, read_only=True)


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except FileNotFoundError:
        return False
