"""Storage daemons: one qemu-storage-daemon for the writers of a volume, one for its readers, while it is exported.

A daemon has a user of its own without any right, no network and no capability; it gets its volume's file open and
can open nothing else of ours.  It outlives us like a machine and is found again by its `pid` file.  It listens on a
socket below the volume's directory, which only root may enter; a machine reaches it through another name of that
socket in the one directory that its QEMU has open.  A daemon holds no truth: a write that it acknowledged is in the
kernel's page cache, a flush is an fdatasync, so when it dies its successor goes on where it was.  QEMU then
connects again and repeats what was under way; a guest sees a pause, and an error only after minutes
(`qemu_command.RECONNECT_S`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cloudseed.host import binaries, processes, strays
from cloudseed.host.errors import HostError, from_os_error
from cloudseed.host.paths import ExporterPaths, StatePaths
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.users import Users
from cloudseed.host.wire import listen

_NODE, _COPY, _JOB = "volume", "copy", "copy"
_POLL_S = 0.05


@dataclass(frozen=True)
class Exporter:
    """The daemon of one volume and mode."""

    volume_id: str
    read_only: bool

    @property
    def name(self) -> str:
        """On its command line, by which it is known without any file."""
        return f"v{self.volume_id}-{'ro' if self.read_only else 'rw'}"


class Exporters:
    """Starts, asks and ends storage daemons; the caller sees to it that one task works on a volume at a time."""

    def __init__(self, paths: StatePaths, users: Users) -> None:
        self._paths = paths
        self._users = users

    def paths(self, exporter: Exporter) -> ExporterPaths:
        """The daemon's files."""
        return self._paths.volume(exporter.volume_id).exporter(exporter.read_only)

    def record(self, exporter: Exporter) -> processes.ProcessRecord | None:
        """Its process, if it runs."""
        files = self.paths(exporter)
        record = processes.load(files.pid)
        if record is not None and record.alive:
            return record
        return None

    def adopt(self, exporter: Exporter) -> None:
        """Record a daemon that a killed predecessor started and did not record."""
        if self.record(exporter) is None:
            pid = strays.exporters([exporter.name]).get(exporter.name)
            record = strays.record(pid) if pid is not None else None
            if record is not None:
                processes.save(self.paths(exporter).pid, record)

    async def serve(self, exporter: Exporter, attachment_ids: list[str]) -> None:
        """Have the daemon run and export the volume for these attachments and no other; for none: have it ended."""
        if not attachment_ids:
            await self.end(exporter)
            return
        if self.record(exporter) is None:
            await asyncio.to_thread(self._start, exporter)
        try:
            await self._export(exporter, attachment_ids)
        except HostError as exc:
            raise HostError(exc.code, f"exporting volume {exporter.volume_id} failed: {exc.message}") from exc

    async def end(self, exporter: Exporter) -> None:
        """End the daemon; what it wrote is handed to the kernel."""
        files = self.paths(exporter)
        record = self.record(exporter)
        if record is not None:
            await asyncio.to_thread(processes.end, record, 5.0)
        files.nbd_socket.unlink(missing_ok=True)
        files.pid.unlink(missing_ok=True)

    async def copy(self, exporter: Exporter) -> Path:
        """A file with the volume's bytes as they are now, while guests write on; the caller moves it away."""
        files = self.paths(exporter)
        record = self.record(exporter)
        assert record is not None
        async with QmpMonitor(files.qmp_socket) as monitor:
            await _forget_copy(monitor)
            uid = os.stat(f"/proc/{record.pid}").st_uid
            files.copy.unlink(missing_ok=True)
            size = os.stat(self._paths.volume(exporter.volume_id).data).st_size
            descriptor = os.open(files.copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(descriptor, size)
                os.fchown(descriptor, uid, uid)
            finally:
                os.close(descriptor)
            directory = processes.find_descriptor(record.pid, files.directory)
            target = {"driver": "file", "node-name": _COPY, "filename": f"/proc/self/fd/{directory}/{files.copy.name}"}
            try:
                await monitor.execute("blockdev-add", target)
                job = {"job-id": _JOB, "device": _NODE, "target": _COPY, "sync": "full", "auto-dismiss": False}
                await monitor.execute("blockdev-backup", job)
                await _finished(monitor)
                await _forget_copy(monitor)
            except BaseException:
                with contextlib.suppress(HostError):
                    await asyncio.shield(_forget_copy(monitor))
                files.copy.unlink(missing_ok=True)
                raise
        os.chown(files.copy, 0, 0)
        return files.copy

    def _start(self, exporter: Exporter) -> None:
        """Start the daemon with the volume's file and its sockets open."""
        files = self.paths(exporter)
        try:
            with ExitStack() as stack, self._users.reserve() as uid:
                files.directory.mkdir(mode=0o710, exist_ok=True)
                os.chown(files.directory, 0, uid)  # the daemon passes it to a copy of its volume
                files.directory.chmod(0o710)
                data = self._open(stack, exporter, uid)
                directory = os.open(files.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, directory)
                qmp = listen(stack, files.qmp_socket, (0, 0))
                nbd = listen(stack, files.nbd_socket, (0, 0))
                # whoever has a name of it in a directory that he may pass may connect
                files.nbd_socket.chmod(0o666)
                files.log.unlink(missing_ok=True)
                record = processes.spawn(
                    _arguments(exporter, uid, data, qmp, nbd),
                    log=files.log,
                    pass_fds=[data, directory, qmp, nbd],
                )
                processes.save(files.pid, record)
        except OSError as exc:
            raise from_os_error(exc, f"exporting volume {exporter.volume_id}") from exc

    def _open(self, stack: ExitStack, exporter: Exporter, uid: int) -> int:
        """The volume's file; its daemons' users may open it again by their descriptor, as they have to."""
        flags = os.O_RDONLY if exporter.read_only else os.O_RDWR
        path = self._paths.volume(exporter.volume_id).data
        data = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
        stack.callback(os.close, data)
        if exporter.read_only:
            os.fchown(data, -1, uid)
        else:
            os.fchown(data, uid, -1)
        os.fchmod(data, 0o640)
        return data

    async def _export(self, exporter: Exporter, attachment_ids: list[str]) -> None:
        async with QmpMonitor(self.paths(exporter).qmp_socket) as monitor:
            listed = await monitor.execute("query-block-exports")
            present = {str(item["id"]).removeprefix("a-") for item in listed}
            for attachment_id in present - set(attachment_ids):
                await monitor.execute("block-export-del", {"id": f"a-{attachment_id}", "mode": "hard"})
            async with asyncio.timeout(10.0):
                while present - set(attachment_ids):
                    listed = await monitor.execute("query-block-exports")
                    present = {str(item["id"]).removeprefix("a-") for item in listed}
                    if present - set(attachment_ids):
                        await asyncio.sleep(_POLL_S)
            for attachment_id in [a for a in attachment_ids if a not in present]:
                export = {
                    "type": "nbd",
                    "id": f"a-{attachment_id}",
                    "node-name": _NODE,
                    "name": attachment_id,
                    "writable": not exporter.read_only,
                }
                await monitor.execute("block-export-add", export)


def _arguments(exporter: Exporter, uid: int, data: int, qmp: int, nbd: int) -> list[str]:
    node = {
        "driver": "file",
        "node-name": _NODE,
        "filename": f"/proc/self/fd/{data}",
        "read-only": exporter.read_only,
    }
    if not exporter.read_only:
        node["discard"] = "unmap"
    return [
        binaries.find("unshare"), "--net", "--ipc", "--",
        binaries.find("setpriv"), f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs",
        "--bounding-set=-all", "--inh-caps=-all", "--",
        binaries.find("qemu-storage-daemon"),
        "--chardev", f"socket,id={exporter.name},fd={qmp},server=on,wait=off",
        "--monitor", f"chardev={exporter.name}",
        "--blockdev", json.dumps(node),
        "--nbd-server", f"addr.type=fd,addr.str={nbd}",
    ]  # fmt: skip


async def _finished(monitor: QmpMonitor) -> None:
    """Wait for the copy's end; HostError when it failed."""
    while True:
        jobs = [job for job in await monitor.execute("query-jobs") if job["id"] == _JOB]
        if not jobs:
            raise HostError("failed", "the storage daemon lost the copy that it was making: try again")
        if jobs[0]["status"] == "concluded":
            if "error" in jobs[0]:
                words = str(jobs[0]["error"])
                if "No space left" in words:
                    raise HostError("no_space", "no space left on the disk while copying a volume: free some")
                raise HostError("failed", f"the storage daemon could not copy the volume: {words}")
            return
        await asyncio.sleep(_POLL_S)


async def _forget_copy(monitor: QmpMonitor) -> None:
    """End and forget the copy under way, if any, of a predecessor perhaps."""
    async with asyncio.timeout(30.0):
        while jobs := [job for job in await monitor.execute("query-jobs") if job["id"] == _JOB]:
            command = "job-dismiss" if jobs[0]["status"] == "concluded" else "job-cancel"
            with contextlib.suppress(HostError):
                await monitor.execute(command, {"id": _JOB})
            await asyncio.sleep(_POLL_S)
    with contextlib.suppress(HostError):
        await monitor.execute("blockdev-del", {"node-name": _COPY})
