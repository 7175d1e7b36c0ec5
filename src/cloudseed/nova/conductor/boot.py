"""Booting a server.

    step       does                                                    undo
    schedule   a host is chosen and claimed in placement               the claim is released, the host forgotten
    networks   ports are made and bound to the host                    our ports deleted, given ones unbound
    volumes    volumes are made and connected to the host              attachments ended, our volumes deleted
    disks      image into the host's cache, disks, config drive        the machine and its files removed
    start      the ports are wired, the machine runs                   (with disks)
    finish     the server is active

A host that fails sends the operation back to `schedule` without that host, three times at most; an order that
no host can fulfil ends it.  Then the server is in error, with the reason as its fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, flush, utcnow
from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.operations import Backtrack, Cancelled, OperationType, Run, Step
from cloudseed.nova.compute.errors import BuildAborted, HostFailed, NotHere, Superseded
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.boot_volumes import BootVolumes
from cloudseed.nova.conductor.on_host import HostGone, Hosts
from cloudseed.nova.conductor.records import (
    add_fault,
    begin_event,
    change,
    end_event,
    load_spec,
    read_server,
)
from cloudseed.nova.models import server_group_members, server_groups, servers
from cloudseed.nova.scheduler import host_query
from cloudseed.nova.scheduler.errors import NoValidHost
from cloudseed.nova.server_states import PowerState, TaskState, VmState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

EVENT = "compute__do_build_and_run_instance"
SCHEDULE_TIMEOUT_S = 60.0
_GROUP = sa.select(server_groups.c.id, server_groups.c.policy, server_groups.c.rules).select_from(
    server_groups.join(server_group_members, server_group_members.c.group_id == server_groups.c.id)).where(
        server_group_members.c.server_id == sa.bindparam("this"))
AT_ONCE = 128  # many, since some of them wait for a slow host; few enough that the first are done while others wait


class Boot:
    """The steps of a boot."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self._volumes = BootVolumes(nova, hosts)
        self.type = OperationType("nova.boot", (
            Step("schedule", self.schedule, self.undo_schedule, patience_s=120),
            Step("networks", self.networks, self.undo_networks, patience_s=180),
            Step("volumes", self.volumes, self.undo_volumes, patience_s=3600),
            Step("disks", self.disks, self.undo_disks, patience_s=3600),
            Step("start", self.start, patience_s=600),
            Step("finish", self.finish)), failed=self.failed, at_once=AT_ONCE)

    # ---- schedule

    async def schedule(self, run: Run) -> None:
        """Choose and claim; the conductor notes the host before anybody works there."""
        async with self._nova.db.read() as tx:
            row = await read_server(tx, run.resource_id)
            group = await server_group(tx, run.resource_id)
            hints = await hinted_hosts(tx, row)
        chosen = await self._nova.conductor_bus.call(
            run.ctx, "scheduler", "select_destination", timeout_s=SCHEDULE_TIMEOUT_S, server_id=run.resource_id,
            spec=encode_spec(spec_from_row(row)), destination=row.requested_destination,
            hints=hints, group=group, excluded=run.data.get("excluded", []))
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            # two members of a group may have been scheduled side by side: the second one here tries again
            if group is not None and not allowed(await server_group(tx, run.resource_id), chosen["host"]):
                raise Backtrack("schedule", NoValidHost(reason=(
                    f"another member of the server group was just placed so that host {chosen['host']} no longer "
                    "fits the group's policy.")))
            await change(tx, row, host=chosen["host"], node=chosen["node"], task_state=TaskState.SCHEDULING.value)
            await begin_event(tx, run, EVENT, chosen["host"])
        run.data["host"] = chosen["host"]

    async def undo_schedule(self, run: Run) -> None:
        await self._nova.conductor_bus.call(run.ctx, "scheduler", "release", server_id=run.resource_id)
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            if row.host is not None or row.task_state != TaskState.SCHEDULING:
                await change(tx, row, host=None, node=None, task_state=TaskState.SCHEDULING.value)
        run.data.pop("host", None)

    # ---- networks

    async def networks(self, run: Run) -> None:
        """That we are past `scheduling` is noted durably before the first port is asked for: found so, it tells
        that an earlier try may have made some."""
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            again = row.task_state != TaskState.SCHEDULING
            if not again:
                await change(tx, row, task_state=TaskState.NETWORKING.value)
        await flush()
        vifs = await self._on_host(run, "allocate_networks", spec=encode_spec(spec_from_row(row)), again=again)
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await change(tx, row, network_info=vifs, task_state=TaskState.SPAWNING.value)

    async def undo_networks(self, run: Run) -> None:
        spec = await load_spec(self._nova, run.resource_id)
        host = run.data.get("host")
        try:
            if host is None:
                await self._hosts.release_ports(run, spec.given_ports)
            else:
                await self._hosts.ask(run, host, "release_networks", given_ports=spec.given_ports)
        except HostGone:
            await self._hosts.release_ports(run, spec.given_ports)
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await change(tx, row, network_info=[], task_state=TaskState.SCHEDULING.value)

    # ---- volumes, disks, start

    async def volumes(self, run: Run) -> None:
        await self._volumes.connect(run, self._on_host)

    async def undo_volumes(self, run: Run) -> None:
        await self._volumes.undo(run, run.data.get("host"))

    async def disks(self, run: Run) -> None:
        await self._on_host(run, "prepare_disks", spec=encode_spec(await load_spec(self._nova, run.resource_id)),
                            admin_password=run.data.get("admin_password"))

    async def undo_disks(self, run: Run) -> None:
        host = run.data.get("host")
        if host is not None:
            try:
                await self._hosts.ask(run, host, "remove_machine")
            except HostGone:
                pass  # when it is back, its reconciler finds that the server is elsewhere and removes the machine

    async def start(self, run: Run) -> None:
        run.data["vifs"] = await self._on_host(
            run, "start_new", spec=encode_spec(await load_spec(self._nova, run.resource_id)))

    async def _on_host(self, run: Run, method: str, **arguments: Any) -> Any:
        """A step's request to the host; its failures send the boot to another host."""
        host = run.data["host"]
        try:
            return await self._hosts.ask(run, host, method, **arguments)
        except BuildAborted:
            raise
        except HostGone as exc:
            error: CloudseedError = exc.failure("answer")
        except (HostFailed, NotHere, Superseded) as exc:
            error = exc
        except CloudseedError as exc:
            if exc.retry:
                raise
            error = exc
        run.data.setdefault("excluded", []).append(host)
        run.data.setdefault("failures", []).append(f"{host}: {error.message}")
        raise Backtrack("schedule", error)

    # ---- the end

    async def finish(self, run: Run) -> None:
        run.data.pop("admin_password", None)
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            now = utcnow()
            await change(tx, row, vm_state=VmState.ACTIVE.value, task_state=None, progress=0,
                         power_state=PowerState.RUNNING.value, launched_at=row.launched_at or now,
                         network_info=run.data.pop("vifs", row.network_info))
            await end_event(tx, run, EVENT)

    async def failed(self, run: Run, error: CloudseedError) -> None:
        """All is undone: say why.  A boot that was cancelled was cancelled by a delete, which goes on from here."""
        run.data.pop("admin_password", None)
        failures = run.data.get("failures")
        if failures and isinstance(error, NoValidHost):
            error = NoValidHost(reason=f"{error.fields.get('reason', error.message)} Hosts that failed before: "
                                       + "; ".join(failures))
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            if not isinstance(error, Cancelled):
                await change(tx, row, vm_state=VmState.ERROR.value, task_state=None, network_info=[],
                             power_state=PowerState.NOSTATE.value)
                await add_fault(tx, row.id, error)
            await end_event(tx, run, EVENT, error)


async def hinted_hosts(tx: Tx, row: Any) -> dict[str, Any]:
    """Where the project's servers are that the hints same_host and different_host name; and the hints that say of
    hosts themselves which will do."""
    hints = row.scheduler_hints or {}
    found: dict[str, Any] = {"query": host_query.parse(hints.get("query", [])), "near": host_query.near(hints)}
    for hint in ("same_host", "different_host"):
        named = (row.scheduler_hints or {}).get(hint)
        if named:
            ids = [named] if isinstance(named, str) else list(named)
            found[hint] = list(await tx.scalars(sa.select(servers.c.host).where(
                servers.c.id.in_(ids), servers.c.project_id == row.project_id, servers.c.host.is_not(None),
                servers.c.deleted_at.is_(None)).distinct()))
    return found


async def server_group(tx: Tx, server_id: str) -> dict[str, Any] | None:
    """The server group of a server: {"policy", "limit", "hosts": {host: other members there}}."""
    mine = await tx.first(_GROUP, {"this": server_id})
    if mine is None:
        return None
    rows = await tx.all(sa.select(servers.c.host, sa.func.count()).select_from(
        server_group_members.join(servers, servers.c.id == server_group_members.c.server_id)).where(
            server_group_members.c.group_id == mine.id, servers.c.id != server_id, servers.c.deleted_at.is_(None),
            servers.c.host.is_not(None)).group_by(servers.c.host))
    return {"policy": mine.policy, "limit": int((mine.rules or {}).get("max_server_per_host") or 1),
            "hosts": {row[0]: row[1] for row in rows}}


def allowed(group: dict[str, Any] | None, host: str) -> bool:
    """Whether the group's policy lets one more member onto `host`."""
    match group:
        case {"policy": "anti-affinity", "limit": limit, "hosts": hosts}:
            return bool(hosts.get(host, 0) < limit)
        case {"policy": "affinity", "hosts": hosts}:
            return not hosts or host in hosts
    return True


