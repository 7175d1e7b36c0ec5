"""/v2.0/rbac-policies, /v2.0/address-scopes, /v2.0/subnetpools and /v2.0/address-groups"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import address_groups, address_scopes, attributes, rbac_policies, subnet_onboarding, subnetpools
from cloudseed.neutron import converters as to
from cloudseed.neutron.api.collection import Kind
from cloudseed.neutron.attributes import READ_ONLY, REQUIRED, Attribute, standard
from cloudseed.neutron.errors import HTTPBadRequest, InvalidInput
from cloudseed.neutron.server import Neutron


def address(value: Any) -> str:
    """A network; an address alone is a network of one."""
    text = to.ip_or_cidr(value)
    return text if "/" in text else f"{text}/{32 if '.' in text else 128}"


def _owned() -> dict[str, Attribute]:
    found = standard(tags=False)
    return {name: found[name] for name in ("id", "project_id", "tenant_id", "name")}


_ADDRESSES = to.list_of(address, limit=address_groups.MAX_ADDRESSES)
_PREFIXES = to.list_of(to.cidr, limit=100)
_LENGTH = Attribute(to.integer(0, 128, none=True), None)

RBAC_POLICIES = Kind("rbac_policy", "rbac_policies", {
    **{name: attribute for name, attribute in _owned().items() if name != "name"},
    "object_type": Attribute(to.string(255), REQUIRED, put=False),
    "object_id": Attribute(to.identifier(), REQUIRED, put=False),
    "action": Attribute(to.string(255), REQUIRED, put=False),
    "target_tenant": Attribute(to.string(255), REQUIRED),
}, rbac_policies.SPEC, rbac_policies.list_rbac_policies, rbac_policies.get_rbac_policy,
    rbac_policies.create_rbac_policies, rbac_policies.update_rbac_policy, rbac_policies.delete_rbac_policy)

ADDRESS_SCOPES = Kind("address_scope", "address_scopes", {
    **_owned(),
    "ip_version": Attribute(to.ip_version, REQUIRED, put=False),
    "shared": Attribute(to.boolean, False),
}, address_scopes.SPEC, address_scopes.list_address_scopes, address_scopes.get_address_scope,
    address_scopes.create_address_scopes, address_scopes.update_address_scope, address_scopes.delete_address_scope)

SUBNETPOOLS = Kind("subnetpool", "subnetpools", {
    **standard(),
    "prefixes": Attribute(_PREFIXES, REQUIRED),
    "default_prefixlen": _LENGTH, "min_prefixlen": _LENGTH, "max_prefixlen": _LENGTH,
    "default_quota": Attribute(to.integer(0, 2**31 - 1, none=True), None),
    "address_scope_id": Attribute(to.identifier(none=True), None),
    "is_default": Attribute(to.boolean, False),
    "shared": Attribute(to.boolean, False, put=False),
    "ip_version": READ_ONLY,
}, subnetpools.SPEC, subnetpools.list_subnetpools, subnetpools.get_subnetpool, subnetpools.create_subnetpools,
    subnetpools.update_subnetpool, subnetpools.delete_subnetpool)

ADDRESS_GROUPS = Kind("address_group", "address_groups", {
    **standard(tags=False),
    "addresses": Attribute(_ADDRESSES, list, put=False),
    "shared": READ_ONLY,
}, address_groups.SPEC, address_groups.list_address_groups, address_groups.get_address_group,
    address_groups.create_address_groups, address_groups.update_address_group, address_groups.delete_address_group)


async def _listed(req: Request, name: str, convert: to.Converter) -> list[str]:
    """The list of a body {name: [...]}."""
    body: Any = await req.json()
    inner = body.get("subnetpool", body) if isinstance(body, dict) else body
    if not isinstance(inner, dict) or not isinstance(inner.get(name), list) or not inner[name]:
        raise HTTPBadRequest(f"Unable to find '{name}' in request body")
    found: list[str] = attributes.convert(name, Attribute(convert), inner[name])
    return found


class ChangeAddresses:
    """PUT /v2.0/address-groups/{id}/add_addresses and .../remove_addresses"""

    def __init__(self, neutron: Neutron, add: bool) -> None:
        self._neutron = neutron
        self._add = add

    async def on_put(self, req: Request, resp: Response, id: str) -> None:
        named = await _listed(req, "addresses", _ADDRESSES)
        group = await address_groups.change_addresses(self._neutron, req.ctx, id, named, self._add)
        resp.media = {"address_group": group}


class ChangePrefixes:
    """PUT /v2.0/subnetpools/{id}/add_prefixes and .../remove_prefixes"""

    def __init__(self, neutron: Neutron, add: bool) -> None:
        self._neutron = neutron
        self._add = add

    async def on_put(self, req: Request, resp: Response, id: str) -> None:
        named = await _listed(req, "prefixes", _PREFIXES)
        resp.media = {"prefixes": await subnetpools.change_prefixes(self._neutron, req.ctx, id, named, self._add)}


class OnboardSubnets:
    """PUT /v2.0/subnetpools/{id}/onboard_network_subnets"""

    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron

    async def on_put(self, req: Request, resp: Response, id: str) -> None:
        body: Any = await req.json()
        inner = body.get("subnetpool", body) if isinstance(body, dict) else None
        if not isinstance(inner, dict) or "network_id" not in inner:
            raise InvalidInput(reason="network_id must be specified.")
        network_id = attributes.convert("network_id", Attribute(to.identifier()), inner["network_id"])
        resp.media = await subnet_onboarding.onboard_network_subnets(self._neutron, req.ctx, id, network_id)
