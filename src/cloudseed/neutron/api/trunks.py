"""/v2.0/trunks and their sub-ports"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import attributes, trunks
from cloudseed.neutron import converters as to
from cloudseed.neutron.api.collection import Kind
from cloudseed.neutron.attributes import READ_ONLY, REQUIRED, Attribute, standard
from cloudseed.neutron.errors import HTTPBadRequest
from cloudseed.neutron.server import Neutron

_SUBPORTS = to.list_of(to.record({
    "port_id": (to.identifier(), True), "segmentation_type": (to.one_of(("vlan", "inherit")), False),
    "segmentation_id": (to.integer(1, 4094), False)}, "sub-port"), limit=trunks.MAX_SUBPORTS)

TRUNKS = Kind("trunk", "trunks", {
    **standard(),
    "port_id": Attribute(to.identifier(), REQUIRED, put=False),
    "admin_state_up": Attribute(to.boolean, True),
    "sub_ports": Attribute(_SUBPORTS, list, put=False),
    "status": READ_ONLY,
}, trunks.SPEC, trunks.list_trunks, trunks.get_trunk, trunks.create_trunks, trunks.update_trunk, trunks.delete_trunk)


class SubPorts:
    """GET /v2.0/trunks/{id}/get_subports"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_get(self, req: Request, resp: Response, id: str) -> None:
        resp.media = {"sub_ports": await trunks.get_subports(self._neutron, req.ctx, id)}


class ChangeSubPorts:
    """PUT /v2.0/trunks/{id}/add_subports and .../remove_subports"""

    def __init__(self, neutron: Neutron, add: bool) -> None:
        self._neutron = neutron
        self._add = add

    async def on_put(self, req: Request, resp: Response, id: str) -> None:
        body: Any = await req.json()
        if not isinstance(body, dict) or set(body) != {"sub_ports"}:
            raise HTTPBadRequest("Unable to find 'sub_ports' in request body")
        named = attributes.convert("sub_ports", Attribute(_SUBPORTS), body["sub_ports"])
        resp.media = await trunks.change_subports(self._neutron, req.ctx, id, named, add=self._add)
