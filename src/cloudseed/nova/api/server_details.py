"""Smaller views of one server: diagnostics, topology, password, migrations, shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import Invalid, NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import server_passwords, servers
from cloudseed.nova.errors import NotSupportedYet

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class _Base:
    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def check(self, req: Request, server_id: str, rule: str) -> servers.Server:
        return await servers.get_server(self.nova, req.ctx, server_id, rule)


class Diagnostics(_Base):
    """/v2.1/servers/{server_id}/diagnostics"""

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        row = await self.check(req, server_id, "os_compute_api:os-server-diagnostics")
        found = await servers.get_diagnostics(self.nova, req.ctx, server_id)
        state = "paused" if found.get("paused") else "running" if found.get("running") else "shutdown"
        cpus: list[int | None] = found.get("cpus") or [None] * row.vcpus
        disks: list[dict[str, Any]] = found.get("disks") or [{}]
        if req.microversion < (2, 48):
            resp.media = {"memory": row.memory_mb * 1024, **_old_figures(cpus, disks)}
            return
        # what our drivers do not measure is null, as upstream's format has it; the driver is one of those that the
        # format names, and libvirt is the one that drives QEMU (upstream's fake driver says so as well)
        resp.media = {
            "state": state, "driver": "libvirt", "hypervisor": "qemu",
            "hypervisor_os": None, "uptime": found.get("uptime"), "config_drive": row.config_drive,
            "num_cpus": row.vcpus, "num_nics": len(row.network_info), "num_disks": len(disks),
            "cpu_details": [{"id": number, "time": time, "utilisation": None} for number, time in enumerate(cpus)],
            "nic_details": [{"mac_address": vif["address"], "rx_octets": None, "rx_errors": None, "rx_drop": None,
                             "rx_packets": None, "rx_rate": None, "tx_octets": None, "tx_errors": None,
                             "tx_drop": None, "tx_packets": None, "tx_rate": None} for vif in row.network_info],
            "disk_details": [{name: disk.get(name) for name in _DISK_FIGURES} for disk in disks],
            "memory_details": {"maximum": row.memory_mb, "used": found.get("memory_used_mib")}}


_DISK_FIGURES = ("read_bytes", "read_requests", "write_bytes", "write_requests", "errors_count")


def _old_figures(cpus: list[int | None], disks: list[dict[str, Any]]) -> dict[str, Any]:
    """As before 2.48, when each driver named its own."""
    figures: dict[str, Any] = {f"cpu{number}_time": time for number, time in enumerate(cpus) if time is not None}
    for disk in disks:
        if disk.get("name"):
            figures |= {f"{disk['name']}_read": disk["read_bytes"], f"{disk['name']}_read_req": disk["read_requests"],
                        f"{disk['name']}_write": disk["write_bytes"],
                        f"{disk['name']}_write_req": disk["write_requests"],
                        f"{disk['name']}_errors": disk["errors_count"]}
    return figures


class Topology(_Base):
    """/v2.1/servers/{server_id}/topology: no NUMA topology is laid out for any server"""

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        require(req.microversion, (2, 78))
        await self.check(req, server_id, "compute:server:topology:index")
        resp.media = {"nodes": [], "pagesize_kb": None}


class Password(_Base):
    """/v2.1/servers/{server_id}/os-server-password: what the guest reported"""

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        resp.media = {"password": await server_passwords.get_password(self.nova, req.ctx, server_id)}

    async def on_delete(self, req: Request, resp: Response, server_id: str) -> None:
        await server_passwords.clear_password(self.nova, req.ctx, server_id)
        resp.status = 204


class VirtualInterfaces(_Base):
    """/v2.1/servers/{server_id}/os-virtual-interfaces: nova-network's, refused as upstream does"""

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        require(req.microversion, maximum=(2, 43))
        await self.check(req, server_id, "os_compute_api:servers:show")
        raise Invalid("os-virtual-interfaces API is deprecated and not supported: use os-interface.")


class Share(_Base):
    """/v2.1/servers/{server_id}/shares/{share_id}"""

    async def _missing(self, req: Request, server_id: str, share_id: str, action: str) -> None:
        require(req.microversion, (2, 97))
        await self.check(req, server_id, f"os_compute_api:os-server-shares:{action}")
        raise NotFound(f"Share {share_id} is not attached to instance {server_id}.")

    async def on_get(self, req: Request, resp: Response, server_id: str, share_id: str) -> None:
        await self._missing(req, server_id, share_id, "show")

    async def on_delete(self, req: Request, resp: Response, server_id: str, share_id: str) -> None:
        await self._missing(req, server_id, share_id, "delete")


class Shares(_Base):
    """/v2.1/servers/{server_id}/shares: there is no shared file system service"""

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        require(req.microversion, (2, 97))
        await self.check(req, server_id, "os_compute_api:os-server-shares:index")
        resp.media = {"shares": []}

    async def on_post(self, req: Request, resp: Response, server_id: str) -> None:
        require(req.microversion, (2, 97))
        await self.check(req, server_id, "os_compute_api:os-server-shares:create")
        raise NotSupportedYet(action="share attach")
