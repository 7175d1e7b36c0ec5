"""What computes report and ask over the topic `conductor`; and the picture of all hosts for the scheduler."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.bus import Handler
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.operations.tables import OPEN
from cloudseed.nova import block_devices, console_tokens
from cloudseed.nova.compute.publishing import VOLATILE
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.records import change
from cloudseed.nova.migration_records import FINAL
from cloudseed.nova.models import (
    aggregate_hosts,
    aggregates,
    compute_nodes,
    migrations,
    operation_tables,
    server_action_events,
    servers,
    services,
)
from cloudseed.nova.server_states import PowerState, TaskState, VmState
from cloudseed.nova.services import alive_since, is_up, touch, zones_by_host

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)
LOOK_TIMEOUT_S = 30.0
RUNNING = (VmState.ACTIVE, VmState.PAUSED)  # whose end by itself is news
DEFAULT_ZONE = "nova"

_ALIVE = sa.select(sa.func.count()).where(
    services.c.binary == "nova-compute", services.c.forced_down.is_(False),
    services.c.last_seen_at >= sa.bindparam("since"))
# select (select count(*) from services where seen lately), (select max(updated_at) from services), ...
_MARK = sa.select(*(part.scalar_subquery() for part in (_ALIVE, *(sa.select(what) for what in (
    sa.func.max(services.c.updated_at), sa.func.max(compute_nodes.c.updated_at), sa.func.count(compute_nodes.c.id),
    sa.func.max(aggregates.c.updated_at), sa.func.count(aggregates.c.id), sa.func.count(aggregate_hosts.c.host))))))


def _lasting(node: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a node but for what changes by itself."""
    return {"facts": {name: value for name, value in node["facts"].items() if name not in VOLATILE},
            **{name: node[name] for name in ("host", "hypervisor_type", "vcpus", "memory_mb", "local_gb")}}


class HostDesk:
    """Answers hosts and the scheduler."""

    def __init__(self, nova: Nova) -> None:
        self._nova = nova

    def handlers(self) -> dict[str, Handler]:
        return {"report_host": self.report_host, "wish": self.wish, "fates": self.fates,
                "machine_off": self.machine_off, "get_server": self.get_server, "network_info": self.network_info,
                "volume_extended": self.volume_extended, "hosts": self.hosts}

    async def report_host(self, ctx: Context, host: str, node_id: str, facts: dict[str, Any],
                          address: str) -> None:
        """A compute is alive and has this (DriverFacts); `address` is its own among hosts."""
        now = utcnow()
        values = {
            "host": host, "hypervisor_hostname": host, "hypervisor_type": facts["hypervisor_type"],
            "hypervisor_version": facts["hypervisor_version"], "vcpus": facts["vcpus"],
            "memory_mb": facts["memory_mib"], "local_gb": facts["disk_gib"],
            "facts": {**facts["details"], "boot_id": facts["boot_id"]}, "host_ip": address}
        async with self._nova.db.write() as tx:
            await touch(self._nova, tx, host, "nova-compute")
            row = await tx.first(sa.select(compute_nodes).where(compute_nodes.c.id == node_id))
            if row is None:
                # the same name under another id: the node lost its state and is a new one now
                await tx.execute(sa.delete(compute_nodes).where(compute_nodes.c.hypervisor_hostname == host))
                await tx.execute(sa.insert(compute_nodes).values(id=node_id, created_at=now, updated_at=now, **values))
            elif any(getattr(row, name) != value for name, value in values.items()):
                # `updated_at` tells the scheduler to look anew, which the node's uptime is no reason for
                same = _lasting(row._asdict()) == _lasting(values)
                await tx.execute(sa.update(compute_nodes).where(compute_nodes.c.id == node_id)
                                 .values(updated_at=row.updated_at if same else now, **values))

    async def wish(self, ctx: Context, host: str) -> list[dict[str, Any]]:
        """The servers that should be on `host`, each with whether an operation is at work on it."""
        operations = operation_tables.operations
        async with self._nova.db.read() as tx:
            rows = await tx.all(sa.select(servers).where(servers.c.host == host, servers.c.deleted_at.is_(None)))
            busy = set(await tx.scalars(sa.select(operations.c.resource_id).where(
                operations.c.status.in_(OPEN), operations.c.resource_id.in_(
                    sa.select(servers.c.id).where(servers.c.host == host, servers.c.deleted_at.is_(None))))))
        return [{"id": row.id, "vm_state": row.vm_state, "task_state": row.task_state, "power_state": row.power_state,
                 "busy": row.id in busy,
                 "spec": encode_spec(spec_from_row(row))} for row in rows]

    async def fates(self, ctx: Context, host: str, server_ids: list[str]) -> dict[str, str]:
        """What became of servers whose machines `host` found: deleted, elsewhere, moving (one to or from this host
        is not over: it may yet be wanted here), or (left out) unknown."""
        async with self._nova.db.read() as tx:
            rows = await tx.all(sa.select(servers.c.id, servers.c.host, servers.c.deleted_at)
                                .where(servers.c.id.in_(server_ids)))
            moving = set(await tx.scalars(sa.select(migrations.c.server_id).where(
                migrations.c.server_id.in_(server_ids), migrations.c.status.not_in(FINAL),
                sa.or_(migrations.c.source_host == host, migrations.c.dest_host == host))))
        return {row.id: "deleted" if row.deleted_at is not None else "moving" if row.id in moving else "elsewhere"
                for row in rows if row.deleted_at is not None or row.host != host}

    async def machine_off(self, ctx: Context, host: str, server_id: str, reason: str) -> None:
        """A machine was seen off.  News only when the server should run and nobody is at work on it.

        The word may be long past, and the machine running again: so its host is asked first, and the server must be
        the same afterwards.  Raises Unavailable, Timeout when the host does not answer: it looks again by itself.
        """
        async with self._nova.db.read() as tx:
            seen = await self._should_run(tx, host, server_id)
        if seen is None or await self._nova.conductor_bus.call(ctx, f"compute.{host}", "which_start",
                                                               timeout_s=LOOK_TIMEOUT_S, server_id=server_id):
            return
        async with self._nova.db.write() as tx:
            row = await self._should_run(tx, host, server_id)
            if row is None or row.generation != seen.generation:
                return
            log.info("server %s ended by itself on %s: %s", server_id, host, reason)
            power = PowerState.CRASHED if reason == "crashed" else PowerState.SHUTDOWN
            await change(tx, row, vm_state=VmState.STOPPED.value, task_state=None, power_state=power.value)
            await console_tokens.forget(tx, server_id, TaskState.POWERING_OFF)

    async def _should_run(self, tx: Tx, host: str, server_id: str) -> sa.Row[Any] | None:
        """The server, when it should run on `host` and no operation is at work on it."""
        row = await tx.first(sa.select(servers).where(servers.c.id == server_id))
        if row is None or row.host != host or row.vm_state not in RUNNING \
                or row.deleted_at is not None or await self._busy(tx, server_id):
            return None
        return row

    async def get_server(self, ctx: Context, host: str, server_id: str) -> dict[str, Any] | None:
        """A server's spec (ServerSpec); None when it is not on `host`."""
        async with self._nova.db.read() as tx:
            row = await tx.first(sa.select(servers).where(servers.c.id == server_id, servers.c.host == host,
                                                          servers.c.deleted_at.is_(None)))
        return encode_spec(spec_from_row(row)) if row is not None else None

    async def network_info(self, ctx: Context, host: str, server_id: str, vifs: list[dict[str, Any]]) -> None:
        """The picture of a server's interfaces, as its host just saw it.  During a boot the boot writes it."""
        async with self._nova.db.write() as tx:
            row = await tx.first(sa.select(servers).where(servers.c.id == server_id))
            if row is not None and row.host == host and row.vm_state != VmState.BUILDING \
                    and row.deleted_at is None and row.network_info != vifs:
                await change(tx, row, network_info=vifs)

    async def volume_extended(self, ctx: Context, host: str, server_id: str, device_id: str, size_gib: int) -> None:
        """A volume of a server on `host` has grown, and its guest knows."""
        async with self._nova.db.write() as tx:
            row = await tx.first(sa.select(servers.c.id).where(servers.c.id == server_id, servers.c.host == host))
            if row is not None:
                await block_devices.change_device(tx, server_id, device_id, volume_size=size_gib)
                await tx.execute(sa.update(server_action_events).where(
                    server_action_events.c.server_id == server_id, server_action_events.c.finish_time.is_(None),
                    server_action_events.c.event == "compute_extend_volume",
                    server_action_events.c.request_id == ctx.request_id).values(
                        finish_time=utcnow(), result="Success"))

    @staticmethod
    async def _busy(tx: Tx, server_id: str) -> bool:
        operations = operation_tables.operations
        return bool(await tx.scalar(sa.select(sa.func.count()).where(
            operations.c.resource_id == server_id, operations.c.status.in_(OPEN))))

    async def hosts(self, ctx: Context, known: list[Any] | None) -> dict[str, Any]:
        """The picture of all hosts for the scheduler; `hosts` is null when `known` is the present mark.

        The mark is counts and newest times of what the picture is made of, so an unchanged cloud of thousands of
        hosts costs one statement a boot.
        """
        async with self._nova.db.read() as tx:
            since = alive_since(self._nova)
            mark = await self._mark(tx, since)
            if mark == known:
                return {"mark": mark, "hosts": None}
            zones = await zones_by_host(tx)
            rows = await tx.all(sa.select(
                compute_nodes.c.id, compute_nodes.c.host, compute_nodes.c.hypervisor_hostname,
                compute_nodes.c.hypervisor_type, compute_nodes.c.facts, compute_nodes.c.host_ip,
                services.c.disabled, services.c.forced_down,
                services.c.last_seen_at).select_from(compute_nodes.join(services, sa.and_(
                    services.c.host == compute_nodes.c.host, services.c.binary == "nova-compute")))
                .order_by(compute_nodes.c.id))
        return {"mark": mark, "hosts": [{
            "node_id": row.id, "host": row.host, "ip": row.host_ip, "node": row.hypervisor_hostname,
            "type": row.hypervisor_type,
            "machine_types": row.facts.get("machine_types", []), "up": is_up(row, since),
            "enabled": not row.disabled, "zone": zones.get(row.host, DEFAULT_ZONE)} for row in rows]}

    @staticmethod
    async def _mark(tx: Tx, since: datetime.datetime) -> list[Any]:
        row = await tx.first(_MARK, {"since": since})
        assert row is not None
        return [value if value is None or isinstance(value, int) else str(value) for value in row]
