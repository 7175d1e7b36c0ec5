"""/v2.0/routers and /v2.0/floatingips"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import attributes, floatingips, routers
from cloudseed.neutron import converters as to
from cloudseed.neutron.api.collection import Kind
from cloudseed.neutron.api.ports import fixed_ips
from cloudseed.neutron.attributes import READ_ONLY, REQUIRED, Attribute, standard
from cloudseed.neutron.errors import HTTPBadRequest
from cloudseed.neutron.server import Neutron

_ROUTES = to.list_of(to.record({"destination": (to.cidr, True), "nexthop": (to.ip, True)}, "hostroute"),
                     unique="Duplicate hostroute '{}'", limit=100)
_GATEWAY = to.record({"network_id": (to.identifier(), True), "enable_snat": (to.boolean, False),
                      "external_fixed_ips": (fixed_ips, False)}, "external_gateway_info")


def gateway(value: Any) -> dict[str, Any] | None:
    """{"network_id": ..., "enable_snat": ..., "external_fixed_ips": [...]}; null or {} for none."""
    if value is None or value == {}:
        return None
    found: dict[str, Any] = _GATEWAY(value)
    if not isinstance(found.get("external_fixed_ips"), list):
        found.pop("external_fixed_ips", None)
    return found


ROUTERS = Kind("router", "routers", {
    **standard(),
    "admin_state_up": Attribute(to.boolean, True),
    "external_gateway_info": Attribute(gateway, None),
    "routes": Attribute(_ROUTES, list, post=False),
    "availability_zone_hints": Attribute(to.list_of(to.string(255)), list, put=False),
    **dict.fromkeys(("status", "availability_zones", "distributed", "ha", "flavor_id"), READ_ONLY),
}, routers.SPEC, routers.list_routers, routers.get_router, routers.create_routers, routers.update_router,
    routers.delete_router)

FLOATINGIPS = Kind("floatingip", "floatingips", {
    **standard(named=False),
    "floating_network_id": Attribute(to.identifier(), REQUIRED, put=False),
    "floating_ip_address": Attribute(to.optional_ip, None, put=False),
    "subnet_id": Attribute(to.identifier(none=True), None, put=False),
    "port_id": Attribute(to.identifier(none=True), None),
    "fixed_ip_address": Attribute(to.optional_ip, None),
    "qos_policy_id": Attribute(to.identifier(none=True), None),
    **dict.fromkeys(("router_id", "status", "port_details"), READ_ONLY),
}, floatingips.SPEC, floatingips.list_floatingips, floatingips.get_floatingip, floatingips.create_floatingips,
    floatingips.update_floatingip, floatingips.delete_floatingip)


class ChangeInterface:
    """PUT /v2.0/routers/{id}/add_router_interface and .../remove_router_interface"""

    def __init__(self, neutron: Neutron, add: bool) -> None:
        self._neutron = neutron
        self._change = routers.add_interface if add else routers.remove_interface

    async def on_put(self, req: Request, resp: Response, id: str) -> None:
        body: Any = await req.json()
        if not isinstance(body, dict):
            raise HTTPBadRequest("The body must be an object with subnet_id or port_id")
        named = {name: attributes.convert(name, Attribute(to.identifier(none=True)), body.get(name))
                 for name in ("subnet_id", "port_id")}
        resp.media = await self._change(self._neutron, req.ctx, id, named)


class ChangeRoutes:
    """PUT /v2.0/routers/{id}/add_extraroutes and .../remove_extraroutes"""

    def __init__(self, neutron: Neutron, add: bool) -> None:
        self._neutron = neutron
        self._add = add

    async def on_put(self, req: Request, resp: Response, id: str) -> None:
        body: Any = await req.json()
        inner = body.get("router") if isinstance(body, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("routes"), list):
            raise HTTPBadRequest("Unable to find 'routes' in request body")
        named = attributes.convert("routes", Attribute(_ROUTES), inner["routes"])
        resp.media = {"router": await routers.change_routes(self._neutron, req.ctx, id, named, self._add)}


class ChangeGateways:
    """PUT /v2.0/routers/{id}/{add,update,remove}_external_gateways: of a router's gateways, of which it has one"""

    def __init__(self, neutron: Neutron, verb: str) -> None:
        self._neutron = neutron
        self._verb = verb

    async def on_put(self, req: Request, resp: Response, id: str) -> None:
        body: Any = await req.json()
        inner = body.get("router") if isinstance(body, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("external_gateways"), list):
            raise HTTPBadRequest("Unable to find 'external_gateways' in request body")
        named = [attributes.convert("external_gateways", Attribute(_GATEWAY), item)
                 for item in inner["external_gateways"]]
        for gateway_ in named:
            if not isinstance(gateway_.get("external_fixed_ips"), list):
                gateway_.pop("external_fixed_ips", None)
        resp.media = {"router": await routers.change_gateways(self._neutron, req.ctx, id, named, self._verb)}
