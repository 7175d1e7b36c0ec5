"""/v2.0/subnets"""

from __future__ import annotations

from cloudseed.neutron import converters as to
from cloudseed.neutron import subnets
from cloudseed.neutron.api.collection import Kind
from cloudseed.neutron.attributes import READ_ONLY, REQUIRED, Attribute, standard

_MODES = ("slaac", "dhcpv6-stateful", "dhcpv6-stateless")
_POOLS = to.list_of(to.record({"start": (to.ip, True), "end": (to.ip, True)}, "IP pool"))
_ROUTES = to.list_of(to.record({"destination": (to.cidr, True), "nexthop": (to.ip, True)}, "hostroute"),
                     unique="Duplicate hostroute '{}'", limit=20)
_SERVERS = to.list_of(to.nameserver, unique="Duplicate nameserver '{}'", limit=5)

SUBNETS = Kind("subnet", "subnets", {
    **standard(),
    "network_id": Attribute(to.identifier(), REQUIRED, put=False),
    "ip_version": Attribute(to.ip_version, REQUIRED, put=False),
    "cidr": Attribute(to.optional_cidr, None, put=False),
    "prefixlen": Attribute(to.integer(0, 128, none=True), None, put=False),
    "subnetpool_id": Attribute(to.identifier(none=True), None, put=False),
    "use_default_subnetpool": Attribute(to.boolean, False, put=False),
    "gateway_ip": Attribute(to.optional_ip, subnets.UNSET),
    "allocation_pools": Attribute(_POOLS, subnets.UNSET),
    "dns_nameservers": Attribute(_SERVERS, list),
    "host_routes": Attribute(_ROUTES, list),
    "enable_dhcp": Attribute(to.boolean, True),
    "ipv6_ra_mode": Attribute(to.one_of(_MODES, none=True), None, put=False),
    "ipv6_address_mode": Attribute(to.one_of(_MODES, none=True), None, put=False),
    "service_types": Attribute(to.list_of(to.string(255)), list),
    "segment_id": Attribute(to.identifier(none=True), None),
    "router:external": READ_ONLY,
}, subnets.SPEC, subnets.list_subnets, subnets.get_subnet, subnets.create_subnets, subnets.update_subnet,
    subnets.delete_subnet, hideable=("segment_id",))
