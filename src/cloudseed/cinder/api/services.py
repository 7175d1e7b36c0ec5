"""/v3/os-services, os-hosts, os-availability-zone, scheduler-stats, capabilities, workers and clusters"""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from cloudseed.cinder import services
from cloudseed.cinder.api.body import as_type, check_text, read_object, shown, when
from cloudseed.cinder.errors import NotSupported, ServiceNotFound
from cloudseed.cinder.models import services as table
from cloudseed.cinder.models import snapshots as snapshots_table
from cloudseed.cinder.models import volumes as volumes_table
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import Invalid, NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Version, require
from cloudseed.kernel.http.request import Request


class _Base:
    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder


def _reported(row: Any) -> str | None:
    return when(datetime.datetime.fromtimestamp(row.reported_at, datetime.UTC))


class Services(_Base):
    """/v3/os-services"""

    async def on_get(self, req: Request, resp: Response) -> None:
        self.cinder.policy.enforce("volume_extension:services:index", req.ctx.identity)
        async with self.cinder.db.read() as tx:
            rows = await services.list_services(tx, req.text_param("binary"), req.text_param("host"))
        resp.media = {"services": [self._view(req, row) for row in rows]}

    def _view(self, req: Request, row: Any) -> dict[str, Any]:
        state = "up" if services.is_up(self.cinder, row) else "down"
        view = {"binary": row.binary, "host": row.host, "zone": row.availability_zone,
                "status": "disabled" if row.disabled else "enabled", "state": state,
                "updated_at": _reported(row), "disabled_reason": row.disabled_reason}
        if row.binary == "cinder-volume":
            view |= {"replication_status": "disabled", "active_backend_id": None, "frozen": row.frozen}
            if req.microversion >= (3, 49):
                view["backend_state"] = state
        if req.microversion >= (3, 7):
            view["cluster"] = None
        return view


class _Named(msgspec.Struct):
    host: str | None = None
    binary: str | None = None
    service: str | None = None
    disabled_reason: str | None = None

    def __post_init__(self) -> None:
        for what in ("host", "binary", "service", "disabled_reason"):
            check_text(getattr(self, what), what)


class ServicesAction(_Base):
    """PUT /v3/os-services/{action}: enable, disable and their like"""

    async def on_put(self, req: Request, resp: Response, action: str) -> None:
        order = as_type(await req.json(), _Named, "body")
        rules = {"freeze": "volume:freeze_host", "thaw": "volume:thaw_host", "failover_host": "volume:failover_host",
                 "failover": "volume:failover_host"}
        self.cinder.policy.enforce(rules.get(action, "volume_extension:services:update"), req.ctx.identity)
        match action:
            case "enable" | "disable" | "disable-log-reason":
                resp.media = await self._enable(order, action)
            case "freeze" | "thaw":
                await self._change(order.host, "cinder-volume", frozen=action == "freeze")
                resp.status = 202
            case "failover_host" | "failover":
                raise NotSupported(what="Failover", why="volumes are not replicated.")
            case "get-log" | "set-log":
                require(req.microversion, (3, 32))
                raise NotSupported(what="Log levels by request", why="they are set when a service starts.")
            case _:
                raise NotFound("Unknown action")

    async def _enable(self, order: _Named, action: str) -> dict[str, Any]:
        binary = order.binary or order.service
        if not binary:
            raise Invalid("Invalid input for field/attribute body. 'binary' is a required property.")
        reason = order.disabled_reason if action == "disable-log-reason" else None
        if action == "disable-log-reason" and not (reason and reason.strip()):
            raise Invalid("Disabled reason contains invalid characters or is too long")
        await self._change(order.host, binary, disabled=action != "enable", disabled_reason=reason)
        view = {"host": order.host, "binary": binary, "service": binary, "disabled": action != "enable",
                "status": "enabled" if action == "enable" else "disabled"}
        return {**view, "disabled_reason": reason} if reason else view

    async def _change(self, host: str | None, binary: str, **values: Any) -> None:
        if not host:
            raise Invalid("Invalid input for field/attribute body. 'host' is a required property.")
        async with self.cinder.db.write() as tx:
            changed = await tx.execute(sa.update(table).where(table.c.host == host, table.c.binary == binary)
                                       .values(**values))
        if changed.rowcount == 0:
            raise ServiceNotFound(service_id=f"{binary} on host {host}")


class Hosts(_Base):
    """/v3/os-hosts"""

    async def on_get(self, req: Request, resp: Response) -> None:
        self.cinder.policy.enforce("volume_extension:hosts", req.ctx.identity)
        zone = req.text_param("zone")
        async with self.cinder.db.read() as tx:
            rows = await services.list_services(tx)
        resp.media = {"hosts": [
            {"host_name": row.host, "service": row.binary, "zone": row.availability_zone,
             "service-status": "available" if services.is_up(self.cinder, row) else "unavailable",
             "service-state": "disabled" if row.disabled else "enabled", "last-update": _reported(row)}
            for row in rows if zone in (None, "", row.availability_zone)]}

    async def on_put(self, req: Request, resp: Response) -> None:
        """As PUT /v3/os-hosts/{host}, with the host named in the body."""
        self.cinder.policy.enforce("volume_extension:hosts", req.ctx.identity)
        body = await read_object(req, "host", beside=("status",))
        await set_host_status(self.cinder, resp, str(body["host"]), body.get("status"))


class Host(_Base):
    """/v3/os-hosts/{host}: what lies there, by project"""

    async def on_get(self, req: Request, resp: Response, host: str) -> None:
        self.cinder.policy.enforce("volume_extension:hosts", req.ctx.identity)
        held: dict[str, list[int]] = {}
        async with self.cinder.db.read() as tx:
            await _check_host(tx, host)
            for row in await tx.all(
                    sa.select(volumes_table.c.project_id, sa.func.count().label("number"),
                              sa.func.sum(volumes_table.c.size).label("size"))
                    .where(volumes_table.c.host == host).group_by(volumes_table.c.project_id)):
                held[row.project_id] = [row.number, row.size, 0, 0]
            for row in await tx.all(
                    sa.select(snapshots_table.c.project_id, sa.func.count().label("number"),
                              sa.func.sum(snapshots_table.c.volume_size).label("size"))
                    .join(volumes_table, volumes_table.c.id == snapshots_table.c.volume_id)
                    .where(volumes_table.c.host == host).group_by(snapshots_table.c.project_id)):
                held.setdefault(row.project_id, [0, 0, 0, 0])[2:] = [row.number, row.size]
        total = [sum(column) for column in zip(*held.values(), strict=True)] or [0, 0, 0, 0]
        resp.media = {"host": [
            {"resource": {"host": host, "project": project, "volume_count": str(numbers[0]),
                          "total_volume_gb": str(numbers[1]), "snapshot_count": str(numbers[2]),
                          "total_snapshot_gb": str(numbers[3])}}
            for project, numbers in (("(total)", total), *sorted(held.items()))]}

    async def on_put(self, req: Request, resp: Response, host: str) -> None:
        self.cinder.policy.enforce("volume_extension:hosts", req.ctx.identity)
        body = await read_object(req, "status")
        await set_host_status(self.cinder, resp, host, body["status"])


async def _check_host(tx: Tx, host: str) -> None:
    if not await services.list_services(tx, host=host):
        raise NotFound(f"Host {shown(host)} could not be found.")


async def set_host_status(cinder: Cinder, resp: Response, host: str, wanted: Any) -> None:
    """Enable or disable every service of a host."""
    status = str(wanted).strip().lower()
    if status not in ("enable", "disable"):
        raise Invalid(f"Invalid status: {shown(wanted)}")
    async with cinder.db.write() as tx:
        await _check_host(tx, host)
        await tx.execute(sa.update(table).where(table.c.host == host).values(disabled=status == "disable"))
    resp.media = {"host": host, "status": f"{status}d"}


class AvailabilityZones(_Base):
    """/v3/os-availability-zone"""

    async def on_get(self, req: Request, resp: Response) -> None:
        async with self.cinder.db.read() as tx:
            found = await services.zones(tx)
        resp.media = {"availabilityZoneInfo": [{"zoneName": name, "zoneState": {"available": available}}
                                               for name, available in sorted(found.items())]}


class Pools(_Base):
    """/v3/scheduler-stats/get_pools"""

    async def on_get(self, req: Request, resp: Response) -> None:
        self.cinder.policy.enforce("scheduler_extension:scheduler_stats:get_pools", req.ctx.identity)
        detailed, name = req.bool_param("detail"), req.text_param("name") if req.microversion >= (3, 28) else None
        async with self.cinder.db.read() as tx:
            rows = await services.list_services(tx, "cinder-volume")
        pools = []
        for row in rows:
            pool: dict[str, Any] = {"name": services.pool_name(row)}
            if detailed:
                pool["capabilities"] = {**row.capabilities, "timestamp": _reported(row)}
            if name in (None, pool["name"]):
                pools.append(pool)
        resp.media = {"pools": pools}


class Capabilities(_Base):
    """/v3/capabilities/{host}"""

    async def on_get(self, req: Request, resp: Response, host: str) -> None:
        self.cinder.policy.enforce("volume_extension:capabilities", req.ctx.identity)
        async with self.cinder.db.read() as tx:
            rows = await services.list_services(tx, "cinder-volume")
        row = next((row for row in rows if host in (row.host, services.pool_name(row))), None)
        if row is None:
            raise NotFound(f"Host {host} could not be found.")
        has = row.capabilities
        resp.media = {
            "namespace": f"OS::Storage::Capabilities::{row.host}", "vendor_name": has.get("vendor_name", "Cloudseed"),
            "volume_backend_name": has.get("volume_backend_name"), "pool_name": services.pool_name(row),
            "driver_version": has.get("driver_version", ""), "storage_protocol": has.get("storage_protocol", "nbd"),
            "display_name": None, "description": None, "visibility": None, "replication_targets": [], "properties": {}}


class WorkersCleanup(_Base):
    """/v3/workers/cleanup (3.24): nothing is left to clean, operations carry on by themselves"""

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, (3, 24))
        self.cinder.policy.enforce("workers:cleanup", req.ctx.identity)
        if not isinstance(await req.json(), dict):
            raise Invalid("Invalid input for field/attribute body. It must be an object.")
        resp.status = 202
        resp.media = {"cleaning": [], "unavailable": []}


class Clusters(_Base):
    """/v3/clusters (3.7): managers are not clustered"""

    async def on_get(self, req: Request, resp: Response, name: str = "") -> None:
        require(req.microversion, (3, 7))
        self.cinder.policy.enforce("clusters:get" if name and name != "detail" else "clusters:get_all",
                                   req.ctx.identity)
        if name and name != "detail":
            raise NotFound(f"Cluster {name} could not be found.")
        resp.media = {"clusters": []}

    async def on_put(self, req: Request, resp: Response, name: str = "") -> None:
        require(req.microversion, (3, 7))
        self.cinder.policy.enforce("clusters:update", req.ctx.identity)
        raise NotFound("Cluster could not be found: volume managers are not clustered here.")


class Manageable(_Base):
    """/v3/manageable_volumes, /v3/manageable_snapshots: the host process has no files but those that it made"""

    def __init__(self, cinder: Cinder, kind: str, since: Version) -> None:
        super().__init__(cinder)
        self.kind, self.since = kind, since

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, self.since)
        self.cinder.policy.enforce(f"{self.kind}_extension:list_manageable", req.ctx.identity)
        resp.media = {f"manageable-{self.kind}s": []}

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, self.since)
        self.cinder.policy.enforce(f"{self.kind}_extension:{self.kind}_manage", req.ctx.identity)
        raise NotSupported(what=f"Managing {self.kind}s", why="the host process takes no files but those that it made.")
