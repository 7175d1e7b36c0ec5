"""/v2.0/ports"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import attributes, ports
from cloudseed.neutron import converters as to
from cloudseed.neutron.api.collection import Kind
from cloudseed.neutron.attributes import READ_ONLY, REQUIRED, Attribute, standard
from cloudseed.neutron.errors import HTTPBadRequest
from cloudseed.neutron.server import Neutron

VNIC_TYPES = ("normal", "direct", "macvtap", "baremetal", "direct-physical", "virtio-forwarder", "smart-nic",
              "vdpa", "accelerator-direct", "accelerator-direct-physical", "remote-managed")
BINDING = ("binding:host_id", "binding:vif_type", "binding:vif_details", "binding:profile")


def fixed_ips(value: Any) -> Any:
    """[{"subnet_id": ..., "ip_address": ...}, ...], each with one of both at least; null as if not named."""
    if value is None:
        return ports.UNSET
    if not isinstance(value, list):
        raise to.Reason(f"Invalid data format for fixed IP: '{str(value)[:255]}'")
    if len(value) > 100:
        raise to.Reason("more than 100 addresses for one port")
    return [_fixed_ip(item) for item in value]


def _fixed_ip(item: Any) -> dict[str, str]:
    if not isinstance(item, dict):
        raise to.Reason(f"Invalid data format for fixed IP: '{str(item)[:255]}'")
    found = {}
    if item.get("subnet_id") is not None:
        found["subnet_id"] = to.identifier()(item["subnet_id"])
    if item.get("ip_address") is not None:
        found["ip_address"] = to.ip(item["ip_address"])
    return found


def profile(value: Any) -> dict[str, Any]:
    found = to.json_object(value)
    if len(msgspec.json.encode(found)) > 4095:
        raise to.Reason("binding:profile value too large")
    return found


def mac_address(value: Any) -> Any:
    """A MAC; null is as if not named."""
    return ports.UNSET if value is None else to.mac_address(value)


def _dhcp_option(value: Any) -> dict[str, Any]:
    option = to.record({"opt_name": (to.string(64), True), "opt_value": (to.string(255, none=True), True),
                        "ip_version": (to.ip_version, False)}, "extra_dhcp_opt")(value)
    if not option["opt_name"].strip():
        raise to.Reason("'' is not a valid option name")
    return {"ip_version": 4, **option}


_PAIR = to.record({"ip_address": (to.ip_or_cidr, True), "mac_address": (to.mac_address, False)},
                  "allowed address pair")
_PAIRS = to.list_of(_PAIR, unique="Duplicate address pair {}", limit=ports.MAX_PAIRS)

PORTS = Kind("port", "ports", {
    **standard(),
    "network_id": Attribute(to.identifier(), REQUIRED, put=False),
    "admin_state_up": Attribute(to.boolean, True),
    "mac_address": Attribute(mac_address, ports.UNSET),
    "fixed_ips": Attribute(fixed_ips, ports.UNSET),
    "device_id": Attribute(to.string(255), ""),
    "device_owner": Attribute(to.string(255), ""),
    "security_groups": Attribute(to.list_of(to.identifier(), limit=100), ports.UNSET),
    "port_security_enabled": Attribute(to.boolean, ports.UNSET),
    "allowed_address_pairs": Attribute(_PAIRS, list),
    "extra_dhcp_opts": Attribute(to.list_of(_dhcp_option, limit=50), list),
    "qos_policy_id": Attribute(to.identifier(none=True), None),
    "dns_name": Attribute(to.dns_name, ""),
    "binding:host_id": Attribute(lambda value: "" if value is None else to.string(255)(value), ""),
    "binding:vnic_type": Attribute(to.one_of(VNIC_TYPES), "normal"),
    "binding:profile": Attribute(profile, dict),
    **dict.fromkeys(("status", "binding:vif_type", "binding:vif_details", "dns_assignment"), READ_ONLY),
}, ports.SPEC, ports.list_ports, ports.get_port, ports.create_ports, ports.update_port, ports.delete_port,
    hideable=BINDING)


class ChangePairs:
    """PUT /v2.0/ports/{id}/add_allowed_address_pairs and .../remove_allowed_address_pairs"""

    def __init__(self, neutron: Neutron, add: bool) -> None:
        self._neutron = neutron
        self._add = add

    async def on_put(self, req: Request, resp: Response, id: str) -> None:
        body: Any = await req.json()
        inner = body.get("port") if isinstance(body, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("allowed_address_pairs"), list):
            raise HTTPBadRequest("Unable to find 'allowed_address_pairs' in request body")
        pairs = attributes.convert("allowed_address_pairs", Attribute(_PAIRS), inner["allowed_address_pairs"])
        record = await ports.change_pairs(self._neutron, req.ctx, id, pairs, self._add)
        resp.media = {"port": PORTS.shown(self._neutron, req, [record])[0]}
