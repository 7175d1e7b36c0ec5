"""/v2.0/floatingips/{id}/port_forwardings"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import attributes, listing, port_forwardings
from cloudseed.neutron import converters as to
from cloudseed.neutron.attributes import READ_ONLY, REQUIRED, Attribute
from cloudseed.neutron.server import Neutron

_NAME = "port_forwarding"
_PROTOCOLS = ("tcp", "udp", "dccp", "sctp")  # upstream names icmp too, which has no ports to lead anywhere


_port = to.integer(1, 65535, none=True)


def _range(value: Any) -> tuple[int, int] | None:
    """`8000:8010`, or one port, as first and last."""
    if value is None:
        return None
    first, _, last = str(value)[:64].partition(":")
    ports = to.integer(1, 65535)(first), to.integer(1, 65535)(last if ":" in str(value) else first)
    if ports[0] > ports[1]:
        raise to.Reason("First port in a port range must be lower than the second port")
    return ports


_ATTRIBUTES = {
    "id": READ_ONLY,
    "external_port": Attribute(_port, None),
    "internal_port": Attribute(_port, None),
    "external_port_range": Attribute(_range, None),
    "internal_port_range": Attribute(_range, None),
    "internal_ip_address": Attribute(to.ip, REQUIRED),
    "protocol": Attribute(lambda value: to.one_of(_PROTOCOLS)(value.lower() if isinstance(value, str) else value),
                          REQUIRED),
    "internal_port_id": Attribute(to.identifier(), REQUIRED),
    "description": Attribute(to.string(255), ""),
    "project_id": Attribute(to.string(255), "", put=False), "tenant_id": Attribute(to.string(255), "", put=False)}


class PortForwardings:
    """GET and POST"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response, id: str) -> None:
        query = listing.parse(req, port_forwardings.SPEC)
        found = await port_forwardings.list_port_forwardings(self._neutron, req.ctx, id, query)
        resp.media = {"port_forwardings": found}

    async def on_post(self, req: Request, resp: Response, id: str) -> None:
        wishes, _ = attributes.parse_create(_NAME, "port_forwardings", _ATTRIBUTES, await req.json(), req.ctx, True)
        for name in ("project_id", "tenant_id"):
            wishes[0].values.pop(name, None)
        made = await port_forwardings.create_port_forwarding(self._neutron, req.ctx, id, wishes[0])
        resp.status = 201
        resp.media = {_NAME: made}


class PortForwarding:
    """GET, PUT and DELETE of one"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response, id: str, forwarding_id: str) -> None:
        found = await port_forwardings.get_port_forwarding(self._neutron, req.ctx, id, forwarding_id)
        resp.media = {_NAME: found}

    async def on_put(self, req: Request, resp: Response, id: str, forwarding_id: str) -> None:
        wish = attributes.parse_update(_NAME, _ATTRIBUTES, await req.json())
        changed = await port_forwardings.update_port_forwarding(self._neutron, req.ctx, id, forwarding_id, wish)
        resp.media = {_NAME: changed}

    async def on_delete(self, req: Request, resp: Response, id: str, forwarding_id: str) -> None:
        await port_forwardings.delete_port_forwarding(self._neutron, req.ctx, id, forwarding_id)
        resp.status = 204
