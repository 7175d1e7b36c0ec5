"""Neutron's rules, under upstream's names with upstream's defaults (secure RBAC: admin, member, reader, service).

Rules `create_x:attribute` and `update_x:attribute` are asked when a request gives that attribute; `get_x:attribute`
hides it from answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloudseed.kernel.policy import Rule

ADMIN = "rule:admin_only"
SERVICE = "rule:service_api"
ADMIN_SERVICE = f"{ADMIN} or {SERVICE}"
_READER = "role:reader and project_id:%(project_id)s"
_MEMBER = "role:member and project_id:%(project_id)s"
_MANAGER = "role:manager and project_id:%(project_id)s"
MANAGER = f"{ADMIN} or ({_MANAGER})"
READER = f"{ADMIN} or ({_READER})"
MEMBER = f"{ADMIN} or ({_MEMBER})"
NETWORK_OWNER_MEMBER = f"{ADMIN} or (role:member and rule:network_owner)"
OWNER_OR_NETWORK = f"{ADMIN_SERVICE} or (role:member and rule:network_owner)"


def _base() -> Iterator[Rule]:
    yield Rule("context_is_admin", "role:admin")
    yield Rule("admin_only", "rule:context_is_admin")
    yield Rule("service_api", "role:service")
    yield Rule("owner", "tenant_id:%(tenant_id)s")
    yield Rule("context_is_advsvc", "role:advsvc")
    yield Rule("network_owner", "tenant_id:%(network:tenant_id)s")
    yield Rule("admin_or_owner", "rule:context_is_admin or rule:owner")
    yield Rule("default", "rule:admin_or_owner")


def _crud(name: str, plural: str, write: str = MEMBER, read: str = READER, *, get: bool = True) -> Iterator[Rule]:
    yield Rule(f"create_{name}", write, f"POST /{plural}")
    yield Rule(f"update_{name}", write, f"PUT /{plural}/{{id}}")
    yield Rule(f"delete_{name}", write, f"DELETE /{plural}/{{id}}")
    if get:
        yield Rule(f"get_{name}", read, f"GET /{plural}, GET /{plural}/{{id}}")


def _networks() -> Iterator[Rule]:
    yield from _crud("network", "networks", read=f"{ADMIN_SERVICE} or ({_READER})")
    for attribute in ("shared", "router:external", "is_default", "provider:network_type",
                      "provider:physical_network", "provider:segmentation_id"):
        yield Rule(f"create_network:{attribute}", ADMIN)
        yield Rule(f"update_network:{attribute}", ADMIN)
    yield Rule("create_network:port_security_enabled", MEMBER)
    yield Rule("update_network:port_security_enabled", MEMBER)
    for attribute in ("network_type", "physical_network", "segmentation_id"):
        yield Rule(f"get_network:provider:{attribute}", ADMIN_SERVICE)


def _subnets() -> Iterator[Rule]:
    yield Rule("create_subnet", NETWORK_OWNER_MEMBER)
    yield Rule("create_subnet:service_types", ADMIN)
    for action in ("create", "update", "get"):
        yield Rule(f"{action}_subnet:segment_id", ADMIN)
    yield Rule("update_subnet", f"{NETWORK_OWNER_MEMBER} or ({_MEMBER})")
    yield Rule("update_subnet:service_types", ADMIN)
    yield Rule("delete_subnet", f"{NETWORK_OWNER_MEMBER} or ({_MEMBER})")
    yield Rule("get_subnet", f"{ADMIN_SERVICE} or ({_READER}) or (role:reader and rule:network_owner)")
    yield from _crud("subnetpool", "subnetpools")
    yield Rule("create_subnetpool:shared", ADMIN)
    yield Rule("create_subnetpool:is_default", ADMIN)
    yield Rule("update_subnetpool:is_default", ADMIN)
    yield Rule("add_prefixes", MEMBER)
    yield Rule("remove_prefixes", MEMBER)
    yield Rule("onboard_network_subnets", MEMBER, "PUT /subnetpools/{id}/onboard_network_subnets")
    yield from _crud("segment", "segments", ADMIN, ADMIN)
    yield from _crud("address_scope", "address-scopes")
    yield Rule("create_address_scope:shared", ADMIN)
    yield Rule("update_address_scope:shared", ADMIN)


def _ports() -> Iterator[Rule]:
    yield Rule("create_port", f"{ADMIN_SERVICE} or ({_MEMBER})")
    yield Rule("update_port", f"{ADMIN_SERVICE} or ({_MEMBER})")
    yield Rule("delete_port", f"{OWNER_OR_NETWORK} or ({_MEMBER})")
    yield Rule("get_port", f"{ADMIN_SERVICE} or ({_READER}) or (role:reader and rule:network_owner)")
    for action in ("create", "update"):
        # device_owner: asked for owners that begin with "network:" only
        for attribute in ("device_owner", "fixed_ips:ip_address", "port_security_enabled", "allowed_address_pairs"):
            yield Rule(f"{action}_port:{attribute}", OWNER_OR_NETWORK)
        for attribute in ("fixed_ips", "fixed_ips:subnet_id"):
            yield Rule(f"{action}_port:{attribute}", f"{OWNER_OR_NETWORK} or rule:shared")
        yield Rule(f"{action}_port:mac_address", OWNER_OR_NETWORK if action == "create" else ADMIN_SERVICE)
        yield Rule(f"{action}_port:binding:host_id", ADMIN_SERVICE)
        yield Rule(f"{action}_port:binding:profile", SERVICE)
        yield Rule(f"{action}_port:binding:vnic_type", f"{ADMIN_SERVICE} or ({_MEMBER})")
    yield Rule("get_port_binding", ADMIN_SERVICE, "GET /ports/{port_id}/bindings")
    yield Rule("create_port_binding", SERVICE, "POST /ports/{port_id}/bindings")
    yield Rule("delete_port_binding", SERVICE, "DELETE /ports/{port_id}/bindings/{host}")
    yield Rule("activate", SERVICE, "PUT /ports/{port_id}/bindings/{host}/activate")
    yield Rule("shared", "'True':%(network:shared)s")
    for attribute in ("vif_type", "vif_details", "host_id", "profile"):
        yield Rule(f"get_port:binding:{attribute}", ADMIN_SERVICE)


def _security_groups() -> Iterator[Rule]:
    yield from _crud("security_group", "security-groups")
    yield from _crud("security_group_rule", "security-group-rules")
    for action in ("create", "delete"):
        yield Rule(f"{action}_default_security_group_rule", ADMIN)
    yield Rule("get_default_security_group_rule", "role:reader", "GET /default-security-group-rules")
    yield from _crud("security_groups_default_statefulness", "security-groups-default-statefulness", MANAGER)
    yield from _crud("address_group", "address-groups", f"{ADMIN} or ({_MEMBER})")


def _trunks() -> Iterator[Rule]:
    yield from _crud("trunk", "trunks")
    yield Rule("get_subports", READER, "GET /trunks/{id}/get_subports")
    yield Rule("add_subports", MEMBER, "PUT /trunks/{id}/add_subports")
    yield Rule("remove_subports", MEMBER, "PUT /trunks/{id}/remove_subports")


def _sharing() -> Iterator[Rule]:
    yield from _crud("rbac_policy", "rbac-policies")
    for action in ("create", "update"):
        # asked when the target is "*"
        yield Rule(f"{action}_rbac_policy:target_tenant", ADMIN)


def _operator() -> Iterator[Rule]:
    yield from _crud("agent", "agents", ADMIN, ADMIN)
    yield Rule("get_dhcp-agents", ADMIN)
    yield Rule("get_dhcp-networks", ADMIN)
    yield Rule("create_l3-router", ADMIN, "POST /agents/{agent_id}/l3-routers")
    yield Rule("get_l3-routers", ADMIN, "GET /agents/{agent_id}/l3-routers")
    yield Rule("delete_l3-router", ADMIN, "DELETE /agents/{agent_id}/l3-routers/{router_id}")
    yield Rule("get_l3-agents", ADMIN, "GET /routers/{router_id}/l3-agents")
    yield Rule("get_availability_zone", "@")
    yield Rule("get_service_provider", "@")
    yield Rule("get_network_ip_availability", ADMIN)
    yield Rule("get_quota", f"{ADMIN} or ({_READER})")
    yield Rule("update_quota", ADMIN)
    yield Rule("delete_quota", ADMIN)


def _routers() -> Iterator[Rule]:
    yield from _crud("router", "routers")
    for attribute in ("external_gateway_info:enable_snat", "external_gateway_info:external_fixed_ips"):
        yield Rule(f"create_router:{attribute}", ADMIN)
        yield Rule(f"update_router:{attribute}", ADMIN)
    for action in ("add_router_interface", "remove_router_interface", "add_extraroutes", "remove_extraroutes",
                   "add_external_gateways", "update_external_gateways", "remove_external_gateways"):
        yield Rule(action, MEMBER)
    yield from _crud("floatingip", "floatingips")
    yield Rule("create_floatingip:floating_ip_address", ADMIN)
    yield from _crud("floatingip_port_forwarding", "floatingips/{floatingip_id}/port_forwardings")


def _qos() -> Iterator[Rule]:
    yield from _crud("policy", "qos/policies", MANAGER)
    yield Rule("get_rule_type", "role:reader", "GET /qos/rule-types, GET /qos/rule-types/{type}")
    for kind in ("bandwidth_limit", "dscp_marking", "minimum_bandwidth", "packet_rate_limit"):
        yield from _crud(f"policy_{kind}_rule", f"qos/policies/{{policy_id}}/{kind}_rules", MANAGER)


def _topology() -> Iterator[Rule]:
    yield Rule("get_auto_allocated_topology", READER, "GET /auto-allocated-topology/{project_id}")
    yield Rule("delete_auto_allocated_topology", MEMBER, "DELETE /auto-allocated-topology/{project_id}")


def _tags() -> Iterator[Rule]:
    yield Rule("update_tags", MEMBER)



def rules() -> list[Rule]:
    """Every rule of the service."""
    return [*_base(), *_networks(), *_subnets(), *_ports(), *_security_groups(), *_sharing(), *_trunks(), *_operator(),
            *_routers(), *_qos(), *_topology(), *_tags()]
