"""What QEMU's driver asks of a running guest and of its machine: to hold still its file systems, and figures."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cloudseed.host.errors import HostError
from cloudseed.host.guest_agent import GuestAgent
from cloudseed.host.paths import StatePaths
from cloudseed.host.qmp import QmpMonitor
from cloudseed.host.records import MachineInfo
from cloudseed.kernel.errors import Conflict, Invalid
from cloudseed.nova.compute.spec import ServerSpec

log = logging.getLogger(__name__)
FREEZE_TIMEOUT_S = 10.0


@contextlib.asynccontextmanager
async def quiesced(paths: StatePaths, spec: ServerSpec, running: bool) -> AsyncIterator[None]:
    """The guest's file systems stand still within, where its agent can.

    Raises Conflict when the image wants it so (`os_require_quiesce`) and it cannot be done.
    """
    if not running or not (spec.must_quiesce or spec.has_guest_agent):
        yield
        return
    try:
        await freeze(paths, spec)
    except (Conflict, Invalid) as exc:
        if spec.must_quiesce:
            raise Conflict(f"Server {spec.id} could not be quiesced, as its image requires: {exc.message}") from exc
        log.warning("server %s is copied as it runs, not quiesced: %s", spec.id, exc.message)
    try:
        yield
    finally:
        await asyncio.shield(thaw(paths, spec.id))


async def freeze(paths: StatePaths, spec: ServerSpec) -> None:
    """Let the running guest's file systems stand still until `thaw`.

    Raises Invalid when the image has no agent, Conflict when the agent did not do it: then they go on as before.
    """
    if not spec.has_guest_agent:
        raise Invalid("QEMU guest agent is not enabled")
    try:
        async with GuestAgent(paths.machine(spec.id).agent_socket) as agent:
            await agent.execute("guest-fsfreeze-freeze", timeout_s=FREEZE_TIMEOUT_S)
    except HostError as exc:
        await asyncio.shield(thaw(paths, spec.id))
        raise Conflict(f"Server {spec.id} could not be quiesced: {exc.message}") from exc


async def thaw(paths: StatePaths, server_id: str) -> None:
    """Let the guest's file systems go on, if it has an agent; one that never froze says that it thawed none."""
    path = paths.machine(server_id).agent_socket
    if not path.exists():
        return
    try:
        async with GuestAgent(path) as agent:
            await agent.execute("guest-fsfreeze-thaw", timeout_s=FREEZE_TIMEOUT_S)
    except HostError as exc:
        log.debug("server %s: thaw: %s", server_id, exc.message)


async def set_password(paths: StatePaths, spec: ServerSpec, user: str, password: str) -> None:
    """Set a user's password within the guest.  Raises Conflict without an agent that does it."""
    if not spec.has_guest_agent:
        raise Conflict("QEMU guest agent is not enabled")
    try:
        async with GuestAgent(paths.machine(spec.id).agent_socket) as agent:
            await agent.execute("guest-set-user-password", {
                "username": user, "password": base64.b64encode(password.encode()).decode(), "crypted": False})
    except HostError as exc:
        raise Conflict(f"Failed to set admin password on {spec.id} because {exc.message}") from exc


async def figures(paths: StatePaths, info: MachineInfo) -> dict[str, Any]:
    """What the machine used: time in seconds, processors in nanoseconds, disks in bytes and requests, memory in MiB."""
    found: dict[str, Any] = {
        "uptime": int(time.time() - info.started_at) if info.started_at else None, "cpus": [], "disks": [],
        "memory_used_mib": info.rss_bytes // 2**20}
    async with QmpMonitor(paths.machine(info.server_id).qmp_socket, timeout_s=5.0) as monitor:
        for cpu in await monitor.execute("query-cpus-fast"):
            found["cpus"].append(_thread_ns(info.pid, cpu.get("thread-id")))
        for device in await monitor.execute("query-blockstats"):
            stats, parts = device["stats"], str(device.get("qdev", "")).split("/")
            name = next((part for part in parts if part.startswith("disk-")), "")
            found["disks"].append({
                "name": name.removeprefix("disk-"), "read_bytes": stats["rd_bytes"],
                "read_requests": stats["rd_operations"], "write_bytes": stats["wr_bytes"],
                "write_requests": stats["wr_operations"],
                "errors_count": stats.get("failed_rd_operations", 0) + stats.get("failed_wr_operations", 0)})
    return found


async def inject_nmi(paths: StatePaths, server_id: str) -> None:
    async with QmpMonitor(paths.machine(server_id).qmp_socket, timeout_s=5.0) as monitor:
        await monitor.execute("inject-nmi")


def _thread_ns(pid: int | None, thread: int | None) -> int | None:
    """The time that a thread of the machine has used."""
    try:
        fields = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()
        return int(fields[0])
    except (OSError, ValueError, IndexError):
        return None
