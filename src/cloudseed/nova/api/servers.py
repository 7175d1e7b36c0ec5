"""/servers: create, list, show, update, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Conflict
from cloudseed.kernel.http import paging
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import servers
from cloudseed.nova.api.body import check_query, read
from cloudseed.nova.api.links import add_next, links_of
from cloudseed.nova.api.server_bodies import (
    CHANGE_ADDED,
    ServerChange,
    canonical_address,
    check_hostname,
    read_order,
)
from cloudseed.nova.api.server_query import filters_of, sort_of
from cloudseed.nova.api.server_views import View, summary
from cloudseed.nova.server_create import create_servers
from cloudseed.nova.server_list import list_servers
from cloudseed.nova.server_security_groups import load_security_groups

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class _Base:
    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    def own(self, ctx: Context) -> dict[str, Any]:
        """The target of rules that concern no record yet: the caller's own project."""
        return {"project_id": ctx.project_id, "user_id": ctx.user_id}


class Servers(_Base):
    """/v2.1/servers"""

    async def on_get(self, req: Request, resp: Response) -> None:
        self.nova.policy.enforce("os_compute_api:servers:index", req.ctx.identity, self.own(req.ctx))
        page = paging.parse(req)
        filters = filters_of(self.nova, req, "os_compute_api:servers:index")
        rows, more, _ = await list_servers(self.nova, req.ctx, filters, page, sort_of(req), extras=False)
        resp.media = body = {"servers": [summary(req, row) for row in rows]}
        add_next(req, body, "servers", page, rows[-1].id if rows else "", more)

    async def on_post(self, req: Request, resp: Response) -> None:
        policy, own = self.nova.policy, self.own(req.ctx)
        policy.enforce("os_compute_api:servers:create", req.ctx.identity, own)
        order, reservation = await read_order(req)
        if order.networks not in (None, "none"):
            policy.enforce("os_compute_api:servers:create:attach_network", req.ctx.identity, own)
        if order.disks.devices:
            policy.enforce("os_compute_api:servers:create:attach_volume", req.ctx.identity, own)
        if order.trusted_image_certificates is not None:
            policy.enforce("os_compute_api:servers:create:trusted_certs", req.ctx.identity, own)
        created = await create_servers(self.nova, req.ctx, order)
        resp.status = 202
        if reservation:
            resp.media = {"reservation_id": created.reservation_id}
            return
        server_id = created.ids[0]
        links = links_of(req, "servers", server_id)
        resp.set_header("Location", links[0]["href"])
        resp.media = {"server": {
            "id": server_id, "links": links, "OS-DCF:diskConfig": order.disk_config,
            "security_groups": [{"name": name} for name in created.security_groups],
            "adminPass": created.admin_password}}


class ServersDetail(_Base):
    """/v2.1/servers/detail"""

    async def on_get(self, req: Request, resp: Response) -> None:
        self.nova.policy.enforce("os_compute_api:servers:detail", req.ctx.identity, self.own(req.ctx))
        page = paging.parse(req)
        filters = filters_of(self.nova, req, "os_compute_api:servers:detail")
        rows, more, extras = await list_servers(self.nova, req.ctx, filters, page, sort_of(req), extras=True)
        if rows:
            extras.security_groups = await load_security_groups(self.nova, req.ctx, rows)
        view = View(self.nova, req, extras)
        resp.media = body = {"servers": [view.detail(row) for row in rows]}
        add_next(req, body, "servers", page, rows[-1].id if rows else "", more)


class Server(_Base):
    """/v2.1/servers/{server_id}"""

    async def view(self, req: Request, row: servers.Server, *, update: bool = False) -> dict[str, Any]:
        """One server for this caller; `update`: as the answer to a change of it."""
        async with self.nova.db.read() as tx:
            extras = await servers.load_extras(self.nova, tx, [row], groups=True)
        extras.security_groups = await load_security_groups(self.nova, req.ctx, [row])
        return View(self.nova, req, extras).detail(row, groups=True, update=update)

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        check_query(req, ())
        row = await servers.get_server(self.nova, req.ctx, server_id)
        resp.media = {"server": await self.view(req, row)}

    async def on_put(self, req: Request, resp: Response, server_id: str) -> None:
        change = await read(req, "server", ServerChange, added=CHANGE_ADDED)
        current = await servers.get_server(self.nova, req.ctx, server_id, "os_compute_api:servers:update")
        values: dict[str, Any] = {}
        for field in ("name", "description", "hostname"):
            value = getattr(change, field)
            if isinstance(value, str) or value is None:
                values[field] = value
        if "hostname" in values:
            check_hostname(values["hostname"], req.microversion)
        for field in ("access_ip_v4", "access_ip_v6"):
            value = getattr(change, field)
            if isinstance(value, str):
                values[field] = canonical_address(value)
        if isinstance(change.disk_config, str):
            values["system_metadata"] = {**current.system_metadata, "disk_config": change.disk_config}
        zone = change.pinned_availability_zone
        if isinstance(zone, str) or zone is None:
            values["availability_zone"] = await self._pinned(current, zone)
        row = await servers.update_server(self.nova, req.ctx, server_id, values)
        resp.media = {"server": await self.view(req, row, update=True)}

    async def _pinned(self, row: servers.Server, zone: str | None) -> str | None:
        """A server may be unpinned, or pinned to the zone where it is; moving it is another matter."""
        async with self.nova.db.read() as tx:
            there = (await servers.load_extras(self.nova, tx, [row])).zone_of(row)
        if zone is not None and zone not in (row.availability_zone, there):
            raise Conflict(f"Cannot pin instance {row.id} to availability zone {zone}: it is in {there or 'none'}.")
        if zone is not None and row.availability_zone not in (None, zone):
            raise Conflict(f"Cannot change the availability zone of instance {row.id} from {row.availability_zone} "
                           f"to {zone}: unpin it first.")
        return zone

    async def on_delete(self, req: Request, resp: Response, server_id: str) -> None:
        await servers.delete_server(self.nova, req.ctx, server_id)
        resp.status = 204
