"""What a server has of the network: /servers/{id}/ips, os-interface, os-security-groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import security_groups, server_interfaces, servers
from cloudseed.nova.api.body import convert, is_uuid, only, shown
from cloudseed.nova.api.server_bodies import check_address, check_tag
from cloudseed.nova.api.server_views import addresses
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


class FixedIp(msgspec.Struct, forbid_unknown_fields=True):
    ip_address: str

    def __post_init__(self) -> None:
        check_address(self.ip_address, "ip_address")


class Attachment(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The body of an attachment."""

    net_id: str | None = None
    port_id: str | None = None
    fixed_ips: list[FixedIp] | None = None
    tag: str | None = None

    def __post_init__(self) -> None:
        for what, value in (("net_id", self.net_id), ("port_id", self.port_id)):
            if value is not None and not is_uuid(value):
                raise ValueError(f"Invalid input for field/attribute {what}. Value: {shown(value)}. {shown(value)} is "
                                 "not a 'uuid'")
        if self.fixed_ips is not None and len(self.fixed_ips) != 1:
            raise ValueError("Invalid input for field/attribute fixed_ips. It must hold one address")
        if self.tag is not None:
            check_tag(self.tag)


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
        body: Any = await req.json() if req.content_length else {}
        order = Attachment()
        if body != {}:  # nothing at all asks for the only network that there is
            order = convert(req, only(body, "interfaceAttachment"), "interfaceAttachment", Attachment,
                            added={"tag": (2, 49)})
        fixed = order.fixed_ips[0].ip_address if order.fixed_ips else None
        port_id = await server_interfaces.attach_interface(
            self.nova, req.ctx, server_id, network_id=order.net_id, port_id=order.port_id, address=fixed,
            tag=order.tag)
        await self._show(req, resp, server_id, port_id)

    async def _show(self, req: Request, resp: Response, server_id: str, port_id: str) -> None:
        row = await servers.get_server(self.nova, req.ctx, server_id, "os_compute_api:os-attach-interfaces:show")
        for vif in row.network_info:
            if vif["id"] == port_id:
                ports = await self._ports(req, server_id)
                resp.media = {"interfaceAttachment": interface(vif, req.microversion, ports.get(port_id))}
                return
        raise NotFound(f"Instance {server_id} does not have a port with id {port_id}")


class ServerInterface(ServerInterfaces):
    """/v2.1/servers/{server_id}/os-interface/{port_id}"""

    async def on_get(self, req: Request, resp: Response, server_id: str,  # type: ignore[override]
                     port_id: str) -> None:
        await self._show(req, resp, server_id, port_id)

    on_post = None  # type: ignore[assignment]

    async def on_delete(self, req: Request, resp: Response, server_id: str, port_id: str) -> None:
        await server_interfaces.detach_interface(self.nova, req.ctx, server_id, port_id)
        resp.status = 202


class ServerSecurityGroups:
    """/v2.1/servers/{server_id}/os-security-groups"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        row = await servers.get_server(self.nova, req.ctx, server_id, "os_compute_api:os-security-groups:list")
        groups = await list_security_groups(self.nova, req.ctx, row)
        resp.media = {"security_groups": await security_groups.views(self.nova, req.ctx, groups)}
