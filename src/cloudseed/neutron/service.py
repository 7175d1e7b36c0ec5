"""Assembles neutron-server: its database, its URLs, its bus handlers.  The agents: `agent/service.py`."""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.config import Config
from cloudseed.kernel.http.app import make_app
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.runtime import Environment, Service
from cloudseed.neutron import errors, models, policies
from cloudseed.neutron.agents import last_words
from cloudseed.neutron.api import (
    agents,
    auto_allocation,
    availability,
    l3_agents,
    networks,
    port_bindings,
    port_forwardings,
    ports,
    qos,
    quotas,
    root,
    routers,
    security_groups,
    sharing,
    subnets,
    tags,
    trunks,
)
from cloudseed.neutron.api.collection import Collection, Item, Kind
from cloudseed.neutron.auto_allocation import AutoAllocation
from cloudseed.neutron.explain import explain
from cloudseed.neutron.failover import RouterFailover
from cloudseed.neutron.ledger import ledger
from cloudseed.neutron.router_wiring import RouterWiring
from cloudseed.neutron.server import SERVER_TOPIC, Neutron
from cloudseed.neutron.tags import TAGGED
from cloudseed.neutron.wiring import Wiring

PART = "neutron-server"
KINDS: dict[str, Kind] = {
    "networks": networks.NETWORKS, "segments": networks.SEGMENTS, "subnets": subnets.SUBNETS, "ports": ports.PORTS,
    "security-groups": security_groups.SECURITY_GROUPS, "security-group-rules": security_groups.SECURITY_GROUP_RULES,
    "default-security-group-rules": security_groups.DEFAULT_SECURITY_GROUP_RULES,
    "security-groups-default-statefulness": security_groups.DEFAULT_STATEFULNESS,
    "agents": agents.AGENTS, "rbac-policies": sharing.RBAC_POLICIES, "address-scopes": sharing.ADDRESS_SCOPES,
    "subnetpools": sharing.SUBNETPOOLS, "address-groups": sharing.ADDRESS_GROUPS, "trunks": trunks.TRUNKS,
    "routers": routers.ROUTERS, "floatingips": routers.FLOATINGIPS,
    "qos/policies": qos.POLICIES, "network-ip-availabilities": availability.IP_AVAILABILITIES}


def _routes(neutron: Neutron) -> dict[str, Any]:
    routes: dict[str, Any] = {"/": root.Versions(), "/v2.0": root.Resources(), "/v2.0/extensions": root.Extensions(),
                              "/v2.0/extensions/{alias}": root.Extension()}
    for path, kind in KINDS.items():
        routes[f"/v2.0/{path}"] = Collection(neutron, kind)
        routes[f"/v2.0/{path}/{{id}}"] = Item(neutron, kind)
    routes |= {"/v2.0/quotas": quotas.Quotas(neutron), "/v2.0/quotas/{project_id}": quotas.Quota(neutron)}
    for name in ("default", "details", "details.json"):
        routes[f"/v2.0/quotas/{{project_id}}/{name}"] = quotas.QuotaView(neutron, name != "default")
    for path in TAGGED:
        if path in KINDS:
            routes[f"/v2.0/{path}/{{id}}/tags"] = tags.Tags(neutron, path)
            routes[f"/v2.0/{path}/{{id}}/tags/{{tag}}"] = tags.Tag(neutron, path)
    routes["/v2.0/trunks/{id}/get_subports"] = trunks.SubPorts(neutron)
    for verb in ("add", "remove"):
        routes[f"/v2.0/trunks/{{id}}/{verb}_subports"] = trunks.ChangeSubPorts(neutron, verb == "add")
        routes[f"/v2.0/address-groups/{{id}}/{verb}_addresses"] = sharing.ChangeAddresses(neutron, verb == "add")
        routes[f"/v2.0/subnetpools/{{id}}/{verb}_prefixes"] = sharing.ChangePrefixes(neutron, verb == "add")
        routes[f"/v2.0/routers/{{id}}/{verb}_router_interface"] = routers.ChangeInterface(neutron, verb == "add")
        routes[f"/v2.0/routers/{{id}}/{verb}_extraroutes"] = routers.ChangeRoutes(neutron, verb == "add")
        routes[f"/v2.0/routers/{{id}}/{verb}_external_gateways"] = routers.ChangeGateways(neutron, verb)
        routes[f"/v2.0/ports/{{id}}/{verb}_allowed_address_pairs"] = ports.ChangePairs(neutron, verb == "add")
    routes["/v2.0/subnetpools/{id}/onboard_network_subnets"] = sharing.OnboardSubnets(neutron)
    routes["/v2.0/routers/{id}/update_external_gateways"] = routers.ChangeGateways(neutron, "update")
    allocation = AutoAllocation(neutron, {path: KINDS[path].attributes for path in ("networks", "subnets", "routers")})
    return routes | qos.routes(neutron) | {
        "/v2.0/auto-allocated-topology/{project_id}": auto_allocation.Topology(allocation),
        "/v2.0/floatingips/{id}/port_forwardings": port_forwardings.PortForwardings(neutron),
        "/v2.0/floatingips/{id}/port_forwardings/{forwarding_id}": port_forwardings.PortForwarding(neutron),
        "/v2.0/ports/{id}/bindings": port_bindings.Bindings(neutron),
        "/v2.0/ports/{id}/bindings/{host}": port_bindings.Binding(neutron),
        "/v2.0/ports/{id}/bindings/{host}/activate": port_bindings.Activate(neutron),
        "/v2.0/agents/{id}/l3-routers": l3_agents.Routers(neutron),
        "/v2.0/agents/{id}/l3-routers/{router_id}": l3_agents.Router(neutron),
        "/v2.0/routers/{id}/l3-agents": l3_agents.Agents(neutron),
        "/v2.0/availability_zones": availability.AvailabilityZones(neutron),
        "/v2.0/service-providers": availability.ServiceProviders(),
        "/v2.0/networks/{id}/dhcp-agents": availability.DhcpAgents(neutron),
        "/v2.0/agents/{id}/dhcp-networks": availability.DhcpNetworks(neutron),
        "/v2.0/agents/{id}/dhcp-networks/{network_id}": availability.DhcpNetwork(neutron)}


def _agent_down_s(config: Config) -> float:
    """Agents are given longer than other parts, as upstream does, unless somebody wants to know sooner."""
    return 75.0 if config.service_down_s == 60.0 else config.service_down_s


def build(env: Environment) -> Service:
    """neutron-server."""
    session = env.session(PART, "neutron", discover=True)
    neutron = Neutron(env.database("neutron", models.metadata), env.policy("neutron", policies.rules()), session,
                      env.bus(PART), env.config.region, _agent_down_s(env.config))
    app = make_app(_routes(neutron), fault=errors.fault, validator=env.validator(session),
                   identity_url=env.identity_url)
    wiring = Wiring(neutron)
    failover = RouterFailover(neutron, _agent_down_s(env.config))

    async def start() -> None:
        await last_words(neutron).listen(neutron.bus.watch)
        neutron.bus.serve(SERVER_TOPIC, wiring.handlers() | RouterWiring(neutron).handlers())

    return Service("neutron", mounts=[Mount("/networking", PART, app)], loops=[wiring.owed, failover.loop],
                   start=start,
                   stop=neutron.stop, ledger=lambda: ledger(neutron),
                   explain=lambda kind, name: explain(neutron, kind, name), handle=neutron)
