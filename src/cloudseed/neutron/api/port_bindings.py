"""/v2.0/ports/{id}/bindings"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import attributes, listing, port_bindings
from cloudseed.neutron import converters as to
from cloudseed.neutron.api.ports import VNIC_TYPES, profile
from cloudseed.neutron.attributes import REQUIRED, Attribute
from cloudseed.neutron.errors import HTTPBadRequest
from cloudseed.neutron.server import Neutron

_NAME = "binding"
_FILTERS = ("host", "vif_type", "vnic_type", "status")


def _host(value: Any) -> str:
    host: str = to.string(255)(value)
    if not host:
        raise to.Reason("'' is not a host")
    return host


_ATTRIBUTES = {
    "host": Attribute(_host, REQUIRED, put=False),
    "vnic_type": Attribute(to.one_of(VNIC_TYPES), "normal"),
    "profile": Attribute(profile, dict),
    "project_id": Attribute(to.string(255), "", put=False), "tenant_id": Attribute(to.string(255), "", put=False)}


class Bindings:
    """GET and POST"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response, id: str) -> None:
        given = {name: value if isinstance(value, list) else [value] for name, value in req.params.items()
                 if name not in listing.RESERVED}
        unknown = [name[:255] for name in given if name not in _FILTERS]
        if unknown:
            raise HTTPBadRequest(f"{unknown} is invalid attribute for filtering")
        resp.media = {"bindings": await port_bindings.list_port_bindings(self._neutron, req.ctx, id, given)}

    async def on_post(self, req: Request, resp: Response, id: str) -> None:
        wishes, _ = attributes.parse_create(_NAME, "bindings", _ATTRIBUTES, await req.json(), req.ctx, True)
        resp.media = {_NAME: await port_bindings.create_port_binding(self._neutron, req.ctx, id, wishes[0])}
        resp.status = 201


class Binding:
    """GET, PUT and DELETE of the one to a host"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response, id: str, host: str) -> None:
        resp.media = {_NAME: await port_bindings.get_port_binding(self._neutron, req.ctx, id, host)}

    async def on_put(self, req: Request, resp: Response, id: str, host: str) -> None:
        body: Any = await req.json()
        if isinstance(body, dict) and isinstance(body.get(_NAME), dict) and body[_NAME].get("host") == host:
            body = {_NAME: {name: value for name, value in body[_NAME].items() if name != "host"}}
        wish = attributes.parse_update(_NAME, _ATTRIBUTES, body)
        resp.media = {_NAME: await port_bindings.update_port_binding(self._neutron, req.ctx, id, host, wish)}

    async def on_delete(self, req: Request, resp: Response, id: str, host: str) -> None:
        await port_bindings.delete_port_binding(self._neutron, req.ctx, id, host)
        resp.status = 204


class Activate:
    """PUT .../bindings/{host}/activate"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_put(self, req: Request, resp: Response, id: str, host: str) -> None:
        resp.media = await port_bindings.activate(self._neutron, req.ctx, id, host)
