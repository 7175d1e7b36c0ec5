"""/v2.0/network-ip-availabilities, /v2.0/availability_zones, /v2.0/service-providers, DHCP agents of networks"""

from __future__ import annotations

from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import availability
from cloudseed.neutron.api.collection import Kind
from cloudseed.neutron.api.networks import NETWORKS
from cloudseed.neutron.attributes import READ_ONLY
from cloudseed.neutron.server import Neutron

IP_AVAILABILITIES = Kind(
    "network_ip_availability", "network_ip_availabilities", {"network_id": READ_ONLY}, availability.SPEC,
    availability.list_ip_availabilities, availability.get_ip_availability)


class AvailabilityZones:
    """GET /v2.0/availability_zones"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response) -> None:
        zones = await availability.list_availability_zones(self._neutron, req.ctx)
        for name in ("name", "resource", "state"):
            wanted = req.params.get(name)
            if wanted is not None:
                zones = [zone for zone in zones if zone[name] in (wanted if isinstance(wanted, list) else [wanted])]
        resp.media = {"availability_zones": zones}


class ServiceProviders:
    """GET /v2.0/service-providers: who provides advanced services: nobody yet."""

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"service_providers": []}


class DhcpAgents:
    """GET /v2.0/networks/{id}/dhcp-agents"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response, id: str) -> None:
        resp.media = {"agents": await availability.dhcp_agents_of(self._neutron, req.ctx, id)}


class DhcpNetworks:
    """GET /v2.0/agents/{id}/dhcp-networks"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response, id: str) -> None:
        found = await availability.networks_of(self._neutron, req.ctx, id)
        resp.media = {"networks": NETWORKS.shown(self._neutron, req, found)}


class DhcpNetwork:
    """GET /v2.0/agents/{id}/dhcp-networks/{network_id}"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response, id: str, network_id: str) -> None:
        found = [n for n in await availability.networks_of(self._neutron, req.ctx, id) if n["id"] == network_id]
        if not found:
            raise NotFound(f"Network {network_id} is not served by agent {id}.")
        resp.media = {"network": NETWORKS.shown(self._neutron, req, found)[0]}
