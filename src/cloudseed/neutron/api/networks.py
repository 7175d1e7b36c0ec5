"""/v2.0/networks and /v2.0/segments"""

from __future__ import annotations

from cloudseed.neutron import converters as to
from cloudseed.neutron import network_segments, networks
from cloudseed.neutron.api.collection import Kind
from cloudseed.neutron.attributes import READ_ONLY, REQUIRED, Attribute, standard

PROVIDER = ("provider:network_type", "provider:physical_network", "provider:segmentation_id")

NETWORKS = Kind("network", "networks", {
    **standard(),
    "admin_state_up": Attribute(to.boolean, True),
    "shared": Attribute(to.boolean, False),
    "mtu": Attribute(to.integer(0, 65535, none=True), None),
    "router:external": Attribute(to.boolean, False),
    "is_default": Attribute(lambda value: bool(to.optional_boolean(value)), False),
    "port_security_enabled": Attribute(to.boolean, True),
    "dns_domain": Attribute(to.dns_domain, ""),
    "qos_policy_id": Attribute(to.identifier(none=True), None),
    "availability_zone_hints": Attribute(to.list_of(to.string(255)), list, put=False),
    "provider:network_type": Attribute(to.string(32, none=True), None),
    "provider:physical_network": Attribute(to.string(64, none=True), None),
    "provider:segmentation_id": Attribute(to.integer(0, 2**31 - 1, none=True), None),
    **dict.fromkeys(("status", "subnets", "availability_zones", "ipv4_address_scope", "ipv6_address_scope"), READ_ONLY),
}, networks.SPEC, networks.list_networks, networks.get_network, networks.create_networks, networks.update_network,
    networks.delete_network, hideable=PROVIDER)

_TEXT = Attribute(to.string(255, none=True), None)

SEGMENTS = Kind("segment", "segments", {
    **standard(tags=False),
    "name": _TEXT, "description": _TEXT,
    "network_id": Attribute(to.identifier(), REQUIRED, put=False),
    "network_type": Attribute(to.string(32), REQUIRED, put=False),
    "physical_network": Attribute(to.string(64, none=True), None, put=False),
    "segmentation_id": Attribute(to.integer(0, 2**31 - 1, none=True), None, put=False),
}, network_segments.SPEC, network_segments.list_segments, network_segments.get_segment,
    network_segments.create_segments, network_segments.update_segment, network_segments.delete_segment)
