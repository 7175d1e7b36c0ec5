"""Flat copies of machines' disks as they are at one instant, in `outgoing/`, from where the control process sends them.

A running machine's QEMU makes the copy itself (a backup job: what the guest writes meanwhile goes to its disk and
not into the copy).  The disk of a machine that is off is copied in the same way by a QEMU without a machine, of a
user of its own, which dies with this process.  So no program with rights reads what a tenant wrote.

    outgoing/<key>.part   being written          outgoing/<key>   whole: the control process may read it

A copy is asked for again and again until it is done; one whose process was killed is begun anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from cloudseed.host import binaries, disks, qemu_command
from cloudseed.host.errors import HostError
from cloudseed.host.launch import Launcher
from cloudseed.host.machines import Machines
from cloudseed.host.paths import StatePaths, check_disk_name, check_uuid
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import CopyStatus, DiskSpec
from cloudseed.host.wire import listen

_POLL_S = 0.1
_POLL_MAX_S = 1.0
_START_TIMEOUT_S = 30.0  # as for machines: a busy host may be slow to start a process
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class _Copy:
    """One copy under way.  `begun` is done when the instant that it shows is fixed."""

    def __init__(self, server_id: str, name: str) -> None:
        self.server_id = server_id
        self.name = name
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        self.copied = 0
        self.total = 0


class Copies:
    """All copies below one state directory."""

    def __init__(self, paths: StatePaths, launcher: Launcher, machines: Machines, control_gid: int) -> None:
        self._paths = paths
        self._launcher = launcher
        self._machines = machines
        self._control_gid = control_gid
        self._copies: dict[str, _Copy] = {}

    def sweep(self) -> None:
        """Remove what a killed predecessor left half written."""
        for path in self._paths.outgoing.glob("*.part"):
            path.unlink(missing_ok=True)

    async def copy(self, server_id: str, name: str, key: str) -> CopyStatus:
        """Begin the copy unless it is under way or done; how far it is.  Raises what made it fail, once."""
        check_disk_name(name)
        target = self._paths.outgoing_copy(key)
        copy = self._copies.get(key)
        if copy is None:
            if target.exists():
                return CopyStatus(done=True, copied_bytes=target.stat().st_size, total_bytes=target.stat().st_size)
            disks.read(self._paths, server_id, name)  # `not_found` before anything is begun
            copy = self._copies[key] = _Copy(server_id, name)
            copy.task = asyncio.create_task(self._run(copy, key), name=f"copy-{key}")
        elif (copy.server_id, copy.name) != (server_id, name):
            raise HostError("conflict", f"copy {key} is of disk {copy.name} of server {copy.server_id}")
        assert copy.task is not None
        await asyncio.wait({copy.begun, copy.task}, return_when=asyncio.FIRST_COMPLETED)
        if copy.task.done():
            self._copies.pop(key, None)
            if copy.task.cancelled():
                raise HostError("conflict", f"copy {key} was given up")
            copy.task.result()
        return CopyStatus(done=copy.task.done(), copied_bytes=copy.copied, total_bytes=copy.total)

    async def drop(self, server_id: str, key: str) -> None:
        """Give the copy up and remove its file; nothing there is fine."""
        check_uuid(server_id, "server_id")
        copy = self._copies.pop(key, None)
        if copy is not None:
            await _cancel(copy)
        else:
            monitor = self._machines.monitor(server_id)
            if monitor is not None:
                with contextlib.suppress(HostError):
                    await _clear(monitor, key)
        for path in (self._paths.outgoing_copy(key), self._part(key)):
            path.unlink(missing_ok=True)

    async def drop_all(self, server_id: str | None = None) -> None:
        """Give up all copies (of a server)."""
        for key, copy in list(self._copies.items()):
            if server_id in (None, copy.server_id):
                self._copies.pop(key, None)
                await _cancel(copy)
                self._part(key).unlink(missing_ok=True)

    def _part(self, key: str) -> Path:
        return self._paths.outgoing_copy(key).with_suffix(".part")

    async def _run(self, copy: _Copy, key: str) -> None:
        part = self._part(key)
        part.unlink(missing_ok=True)
        try:
            async with AsyncExitStack() as stack:
                copy.total = disks.read(self._paths, copy.server_id, copy.name).size_bytes
                argv = ["create", "-q", "-f", "qcow2", str(part), str(copy.total)]
                await asyncio.to_thread(disks.qemu_img, argv, f"making a copy of disk {copy.name}")
                descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                monitor = await self._monitor(stack, copy)
                await _clear(monitor, key)
                try:
                    await self._work(copy, monitor, key, descriptor)
                finally:
                    with contextlib.suppress(HostError):
                        await asyncio.shield(_clear(monitor, key))
                await asyncio.to_thread(os.fsync, descriptor)
                os.fchown(descriptor, 0, self._control_gid)
                os.fchmod(descriptor, 0o640)
            os.replace(part, self._paths.outgoing_copy(key))
        finally:
            part.unlink(missing_ok=True)

    async def _monitor(self, stack: AsyncExitStack, copy: _Copy) -> QmpMonitor:
        """The machine's own monitor; when it is off, that of a QEMU which has its disk open until the copy ends."""
        lock = self._machines.lock(copy.server_id)
        await lock.acquire()
        if self._machines.info(copy.server_id).running:
            lock.release()
            monitor = self._machines.monitor(copy.server_id)
            if monitor is None:
                raise HostError("unavailable", f"QEMU of server {copy.server_id} does not answer: try again")
            return monitor
        stack.callback(lock.release)  # it must not start meanwhile
        return await stack.enter_async_context(self._copier(copy))

    async def _work(self, copy: _Copy, monitor: QmpMonitor, key: str, descriptor: int) -> None:
        job, node, number = _names(key)
        await monitor.execute_with_fd("add-fd", descriptor, {"fdset-id": number})
        await monitor.execute("blockdev-add", {
            "driver": "qcow2", "node-name": node, "discard": "unmap", "detect-zeroes": "unmap",
            "file": {"driver": "file", "filename": f"/dev/fdset/{number}", "discard": "unmap"}})
        await monitor.execute("blockdev-backup", {
            "job-id": job, "device": qemu_command.node_id(copy.name), "target": node, "sync": "full",
            "auto-dismiss": False})
        copy.begun.set_result(None)
        pause = _POLL_S
        while True:
            found = next((j for j in await monitor.execute("query-jobs") if j["id"] == job), None)
            if found is None:
                raise HostError("failed", f"QEMU lost the copy of disk {copy.name} of server {copy.server_id}")
            copy.copied = int(found["current-progress"])
            copy.total = max(copy.total, int(found["total-progress"]))
            if found["status"] == "concluded":
                break
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _POLL_MAX_S)
        if found.get("error"):
            code: Any = "no_space" if os.strerror(errno.ENOSPC) in found["error"] else "failed"
            raise HostError(code, f"copying disk {copy.name} of server {copy.server_id}: {found['error']}")

    @contextlib.asynccontextmanager
    async def _copier(self, copy: _Copy) -> AsyncIterator[QmpMonitor]:
        """A QEMU that has the disk open for reading, and no machine."""
        disk = DiskSpec(name=copy.name, read_only=True)
        socket = self._paths.machine(copy.server_id).copier_socket
        process = None
        try:
            with ExitStack() as files, self._launcher.users.reserve() as uid:
                opened = self._launcher.open_disk(files, copy.server_id, disk)
                qmp = listen(files, socket, (0, 0))
                argv = [
                    binaries.find("qemu-system-x86_64"), "-nodefaults", "-no-user-config", "-machine", "none", "-S",
                    "-display", "none", "-sandbox",
                    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
                    *qemu_command.add_fds(disk, opened), "-blockdev", qemu_command.blockdev_json(disk, opened),
                    "-chardev", f"socket,id=qmp,fd={qmp},server=on,wait=off", "-mon", "chardev=qmp,mode=control"]
                passed = [qmp, *(d for d in (opened.descriptor, opened.backing_descriptor) if d is not None)]
                process = await asyncio.create_subprocess_exec(
                    *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL, pass_fds=passed, start_new_session=True, cwd="/",
                    env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"}, user=uid, group=uid, extra_groups=[],
                    preexec_fn=_die_with_parent)
            async with QmpMonitor(socket, timeout_s=_START_TIMEOUT_S) as monitor:
                yield monitor
        finally:
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            socket.unlink(missing_ok=True)


def _die_with_parent() -> None:
    """Between fork and exec, when the user is set already: setting it would clear this."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _names(key: str) -> tuple[str, str, int]:
    """The job's, the node's and the set of descriptors' names of a copy."""
    digits = key.replace("-", "")
    return f"copy-{digits}", f"c-{digits[:28]}", int(digits[:7], 16) | 0x40000000


async def _clear(monitor: QmpMonitor, key: str) -> None:
    """End the copy's job, if there is one, and take its file from QEMU."""
    job, node, number = _names(key)
    for _ in range(200):
        found = next((j for j in await monitor.execute("query-jobs") if j["id"] == job), None)
        if found is None:
            break
        with contextlib.suppress(HostError):  # it came to its end in the meantime
            if found["status"] == "concluded":
                await monitor.execute("job-dismiss", {"id": job})
                break
            await monitor.execute("block-job-cancel", {"device": job, "force": True})
        await asyncio.sleep(0.05)
    for command, arguments in (("blockdev-del", {"node-name": node}), ("remove-fd", {"fdset-id": number})):
        with contextlib.suppress(HostError):  # gone already, or never there
            await monitor.execute(command, arguments)


async def _cancel(copy: _Copy) -> None:
    assert copy.task is not None
    copy.task.cancel()
    await asyncio.gather(copy.task, return_exceptions=True)
