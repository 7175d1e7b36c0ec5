"""/os-hypervisors"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import Invalid, NotFound
from cloudseed.kernel.http import paging
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Adapter, Adapters, require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import hypervisors
from cloudseed.nova.api.body import check_query, is_uuid, shown
from cloudseed.nova.api.links import add_next
from cloudseed.nova.errors import NotImplementedHere
from cloudseed.nova.hypervisors import Hypervisor, number_of

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


def _with_numbers(body: dict[str, Any]) -> None:
    body["id"] = number_of(body["id"])
    if body.get("service", {}).get("id"):
        body["service"]["id"] = number_of(body["service"]["id"])


def _with_text(body: dict[str, Any]) -> None:
    if "cpu_info" in body:
        body["cpu_info"] = msgspec.json.encode(body["cpu_info"]).decode()


def _with_sums(body: dict[str, Any]) -> None:
    if "_sums" in body:
        body |= body.pop("_sums")
        body.pop("uptime", None)


# before 2.75, `servers` shows only when there are some
def _without_no_servers(body: dict[str, Any]) -> None:
    if not body.get("servers"):
        body.pop("servers", None)


VIEW = Adapters(Adapter((2, 28), response=_with_text), Adapter((2, 53), response=_with_numbers),
                Adapter((2, 75), response=_without_no_servers), Adapter((2, 88), response=_with_sums))


def sums(found: Hypervisor) -> dict[str, Any]:
    """What old versions counted together."""
    node = found.node
    return {"vcpus": node.vcpus, "memory_mb": node.memory_mb, "local_gb": node.local_gb, "vcpus_used": found.vcpus,
            "memory_mb_used": found.memory_mb, "local_gb_used": found.disk_gb,
            "free_ram_mb": node.memory_mb - found.memory_mb, "free_disk_gb": node.local_gb - found.disk_gb,
            "current_workload": 0, "running_vms": found.running,
            "disk_available_least": node.facts.get("free_disk_gb", node.local_gb - found.disk_gb),
            "cpu_info": node.facts.get("cpu_info") or {}}


def view(found: Hypervisor, version: tuple[int, int], *, detail: bool, with_servers: bool) -> dict[str, Any]:
    node, service = found.node, found.service
    body: dict[str, Any] = {
        "id": node.id, "hypervisor_hostname": node.hypervisor_hostname, "state": "up" if found.up else "down",
        "status": "disabled" if service is not None and service.disabled else "enabled"}
    if detail:
        body |= {
            "hypervisor_type": node.hypervisor_type, "hypervisor_version": node.hypervisor_version,
            "host_ip": node.host_ip, "service": {
                "id": service.id if service is not None else None, "host": node.host,
                "disabled_reason": service.disabled_reason if service is not None else None},
            "uptime": node.facts.get("uptime"), "_sums": sums(found)}
    if with_servers:
        body["servers"] = [{"uuid": server.id, "name": server.name} for server in found.servers]
    VIEW.lower(version, body)
    body.pop("_sums", None)
    return body


class _Base:
    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    def allow(self, req: Request, action: str) -> None:
        self.nova.policy.enforce(f"os_compute_api:os-hypervisors:{action}", req.ctx.identity)

    async def answer(self, req: Request, resp: Response, *, detail: bool) -> None:
        version = req.microversion
        paged, searched = version >= (2, 33), version >= (2, 53)
        check_query(req, (*(("limit", "marker") if paged else ()),
                          *(("hypervisor_hostname_pattern", "with_servers") if searched else ())), since=(2, 33))
        page = paging.parse(req) if paged else paging.Page(100_000, None, False)
        pattern = req.text_param("hypervisor_hostname_pattern") if searched else None
        if pattern is not None and ("limit" in req.params or "marker" in req.params):
            raise Invalid("Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not "
                          "supported.")
        with_servers = searched and req.bool_param("with_servers")
        rows, more = await hypervisors.list_hypervisors(self.nova, page, pattern=pattern, with_servers=with_servers)
        if pattern is not None and not rows:
            raise NotFound(f"No hypervisor matching '{shown(pattern)}' could be found.")
        resp.media = body = {"hypervisors": [view(row, version, detail=detail, with_servers=with_servers)
                                             for row in rows]}
        add_next(req, body, "hypervisors", page, rows[-1].node.id if rows else "", more)

    async def find(self, req: Request, hypervisor_id: str, *, with_servers: bool = False) -> Hypervisor:
        if req.microversion >= (2, 53):
            if not is_uuid(hypervisor_id):
                raise Invalid(f"Invalid uuid {shown(hypervisor_id)}")
        elif not hypervisor_id.isdigit():
            raise NotFound(f"Hypervisor with ID '{hypervisor_id}' could not be found.")
        return await hypervisors.get_hypervisor(self.nova, hypervisor_id, with_servers=with_servers)


class Hypervisors(_Base):
    """/v2.1/os-hypervisors"""

    async def on_get(self, req: Request, resp: Response) -> None:
        self.allow(req, "list")
        await self.answer(req, resp, detail=False)


class HypervisorsDetail(_Base):
    """/v2.1/os-hypervisors/detail"""

    async def on_get(self, req: Request, resp: Response) -> None:
        self.allow(req, "list-detail")
        await self.answer(req, resp, detail=True)


class HypervisorStatistics(_Base):
    """/v2.1/os-hypervisors/statistics"""

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, maximum=(2, 87))
        self.allow(req, "statistics")
        rows, _ = await hypervisors.list_hypervisors(self.nova, paging.Page(100_000, None, False))
        total: dict[str, int] = {"count": len(rows)}
        for row in rows:
            for name, value in sums(row).items():
                if name != "cpu_info":
                    total[name] = total.get(name, 0) + value
        resp.media = {"hypervisor_statistics": total}


class HypervisorItem(_Base):
    """/v2.1/os-hypervisors/{hypervisor_id}"""

    async def on_get(self, req: Request, resp: Response, hypervisor_id: str) -> None:
        self.allow(req, "show")
        since = req.microversion >= (2, 53)
        check_query(req, ("with_servers",) if since else (), since=(2, 53))
        with_servers = since and req.bool_param("with_servers")
        found = await self.find(req, hypervisor_id, with_servers=with_servers)
        resp.media = {"hypervisor": view(found, req.microversion, detail=True, with_servers=with_servers)}


class HypervisorUptime(_Base):
    """/v2.1/os-hypervisors/{hypervisor_id}/uptime"""

    async def on_get(self, req: Request, resp: Response, hypervisor_id: str) -> None:
        require(req.microversion, maximum=(2, 87))
        self.allow(req, "uptime")
        found = await self.find(req, hypervisor_id)
        if not found.node.facts.get("uptime"):
            raise NotImplementedHere("The requested functionality is not supported.")
        resp.media = {"hypervisor": {**view(found, req.microversion, detail=False, with_servers=False),
                                     "uptime": found.node.facts["uptime"]}}


class HypervisorSearch(_Base):
    """/v2.1/os-hypervisors/{pattern}/search and .../servers, until 2.52"""

    def __init__(self, nova: Nova, *, with_servers: bool) -> None:
        super().__init__(nova)
        self.with_servers = with_servers

    async def on_get(self, req: Request, resp: Response, hypervisor_id: str) -> None:
        require(req.microversion, maximum=(2, 52))
        self.allow(req, "servers" if self.with_servers else "search")
        rows, _ = await hypervisors.list_hypervisors(self.nova, paging.Page(100_000, None, False),
                                                     pattern=hypervisor_id, with_servers=self.with_servers)
        if not rows:
            raise NotFound(f"No hypervisor matching '{shown(hypervisor_id)}' could be found.")
        resp.media = {"hypervisors": [view(row, req.microversion, detail=False, with_servers=self.with_servers)
                                      for row in rows]}
