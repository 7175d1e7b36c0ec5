"""What a server has of the network: /servers/{id}/ips, os-interface, os-security-groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import security_groups, servers
from cloudseed.nova.api.server_views import addresses
from cloudseed.nova.errors import NotSupportedYet
from cloudseed.nova.server_security_groups import list_security_groups

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


def _plain(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"version": item["version"], "addr": item["addr"]} for item in items]


class ServerIps:
    """/v2.1/servers/{server_id}/ips"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        row = await servers.get_server(self.nova, req.ctx, server_id, "os_compute_api:ips:index")
        resp.media = {"addresses": {label: _plain(items) for label, items in addresses(row.network_info).items()}}


class ServerNetworkIps:
    """/v2.1/servers/{server_id}/ips/{label}"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str, label: str) -> None:
        row = await servers.get_server(self.nova, req.ctx, server_id, "os_compute_api:ips:show")
        found = addresses(row.network_info)
        if label not in found:
            raise NotFound("Instance is not a member of specified network")
        resp.media = {label: _plain(found[label])}


def interface(vif: dict[str, Any], version: tuple[int, int], port: dict[str, Any] | None = None) -> dict[str, Any]:
    """An interface as os-interface shows it; `port` is neutron's own record, when it was asked for."""
    body: dict[str, Any] = {
        "net_id": vif["network"]["id"], "port_id": vif["id"], "mac_addr": vif["address"],
        "port_state": (port or {}).get("status") or ("ACTIVE" if vif.get("active") else "DOWN"),
        "fixed_ips": (port or {}).get("fixed_ips") or [
            {"ip_address": ip["address"], "subnet_id": ip.get("subnet_id")}
            for subnet in vif["network"]["subnets"] for ip in subnet["ips"]]}
    if version >= (2, 70):
        body["tag"] = vif.get("tag")
    return body


class ServerInterfaces:
    """/v2.1/servers/{server_id}/os-interface"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        row = await servers.get_server(self.nova, req.ctx, server_id, "os_compute_api:os-attach-interfaces:list")
        ports = await self._ports(req, server_id)
        resp.media = {"interfaceAttachments": [interface(vif, req.microversion, ports.get(vif["id"]))
                                               for vif in row.network_info]}

    async def _ports(self, req: Request, server_id: str) -> dict[str, dict[str, Any]]:
        answer = await self.nova.api_session.get_json(req.ctx, "network", "/v2.0/ports", as_user=True,
                                                      params={"device_id": server_id})
        return {port["id"]: port for port in answer["ports"]}

    async def on_post(self, req: Request, resp: Response, server_id: str) -> None:
        await servers.get_server(self.nova, req.ctx, server_id, "os_compute_api:os-attach-interfaces:create")
        raise NotSupportedYet(action="interface attach")


class ServerInterface(ServerInterfaces):
    """/v2.1/servers/{server_id}/os-interface/{port_id}"""

    async def on_get(self, req: Request, resp: Response, server_id: str,  # type: ignore[override]
                     port_id: str) -> None:
        row = await servers.get_server(self.nova, req.ctx, server_id, "os_compute_api:os-attach-interfaces:show")
        for vif in row.network_info:
            if vif["id"] == port_id:
                ports = await self._ports(req, server_id)
                resp.media = {"interfaceAttachment": interface(vif, req.microversion, ports.get(port_id))}
                return
        raise NotFound(f"Instance {server_id} does not have a port with id {port_id}")

    on_post = None  # type: ignore[assignment]

    async def on_delete(self, req: Request, resp: Response, server_id: str, port_id: str) -> None:
        row = await servers.get_server(self.nova, req.ctx, server_id, "os_compute_api:os-attach-interfaces:delete")
        if all(vif["id"] != port_id for vif in row.network_info):
            raise NotFound(f"Instance {server_id} does not have a port with id {port_id}")
        raise NotSupportedYet(action="interface detach")


class ServerSecurityGroups:
    """/v2.1/servers/{server_id}/os-security-groups"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        row = await servers.get_server(self.nova, req.ctx, server_id, "os_compute_api:os-security-groups:list")
        groups = await list_security_groups(self.nova, req.ctx, row)
        resp.media = {"security_groups": await security_groups.views(self.nova, req.ctx, groups)}
