"""Neutron's tables.  Times are text as the API writes them; `revision_number` grows with every change of a row.

Who may write: neutron-server alone.  `ip_allocations` and `segments` hold what must be unique; a lost race on
them is a conflict, never a duplicate.  Foreign keys cascade where the child has no life of its own.
"""

from __future__ import annotations

import sqlalchemy as sa

from cloudseed.kernel.db import Json

metadata = sa.MetaData()


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String(36), primary_key=True)


def _standard() -> list[sa.Column]:  # type: ignore[type-arg]
    """What every resource with upstream's standard attributes has."""
    return [sa.Column("project_id", sa.String(255), nullable=False, index=True),
            sa.Column("name", sa.String(255), nullable=False, default=""),
            sa.Column("description", sa.String(255)),
            sa.Column("tags", Json, nullable=False, default=list),
            sa.Column("created_at", sa.String(20), nullable=False),
            sa.Column("updated_at", sa.String(20), nullable=False),
            sa.Column("revision_number", sa.Integer, nullable=False, default=0)]


def _owned_by(column: str, target: str, *, ondelete: str | None = "CASCADE", nullable: bool = False) -> sa.Column[str]:
    return sa.Column(column, sa.String(36), sa.ForeignKey(target, ondelete=ondelete), nullable=nullable, index=True)


# Limits that networks, ports and floating addresses may name.
qos_policies = sa.Table("qos_policies", metadata, _id(), *_standard())

# One default policy a project, which its new networks get: the key says so.
default_qos_policies = sa.Table(
    "default_qos_policies", metadata,
    sa.Column("project_id", sa.String(255), primary_key=True),
    _owned_by("qos_policy_id", "qos_policies.id"))

# One rule of a type and direction in a policy; a type without directions has "".  `rate` and `burst` are what the
# type says (kbit/s and kbit, or thousands of packets), or the DSCP mark.
qos_rules = sa.Table(
    "qos_rules", metadata, _id(),
    _owned_by("qos_policy_id", "qos_policies.id"),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("direction", sa.String(16), nullable=False),
    sa.Column("rate", sa.Integer, nullable=False),
    sa.Column("burst", sa.Integer, nullable=False),
    sa.UniqueConstraint("qos_policy_id", "type", "direction"))

networks = sa.Table(
    "networks", metadata, _id(), *_standard(),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("mtu", sa.Integer, nullable=False),
    sa.Column("external", sa.Boolean, nullable=False),
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("port_security_enabled", sa.Boolean, nullable=False),
    sa.Column("network_type", sa.String(32), nullable=False),
    sa.Column("physical_network", sa.String(64)),
    sa.Column("segmentation_id", sa.Integer),
    sa.Column("dns_domain", sa.String(255), nullable=False, default=""),
    sa.Column("availability_zone_hints", Json, nullable=False),
    _owned_by("qos_policy_id", "qos_policies.id", ondelete=None, nullable=True))

# Which network holds which segment; physical_network "" and segmentation_id 0 stand for "none", so that the
# key is unique for flat networks too.
segments = sa.Table(
    "segments", metadata,
    sa.Column("network_type", sa.String(32), primary_key=True),
    sa.Column("physical_network", sa.String(64), primary_key=True),
    sa.Column("segmentation_id", sa.Integer, primary_key=True),
    _owned_by("network_id", "networks.id"))

# What administrators see of them.  `position` 0 carries the network.
network_segments = sa.Table(
    "network_segments", metadata, _id(),
    sa.Column("network_id", sa.String(36), sa.ForeignKey("networks.id", ondelete="CASCADE"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("name", sa.String(255)),
    sa.Column("description", sa.String(255)),
    sa.Column("network_type", sa.String(32), nullable=False),
    sa.Column("physical_network", sa.String(64)),
    sa.Column("segmentation_id", sa.Integer),
    sa.Column("created_at", sa.String(20), nullable=False),
    sa.Column("updated_at", sa.String(20), nullable=False),
    sa.Column("revision_number", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("network_id", "position"))

address_scopes = sa.Table(
    "address_scopes", metadata, _id(),
    sa.Column("project_id", sa.String(255), nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("ip_version", sa.Integer, nullable=False))

subnetpools = sa.Table(
    "subnetpools", metadata, _id(), *_standard(),
    sa.Column("ip_version", sa.Integer, nullable=False),
    sa.Column("prefixes", Json, nullable=False),
    sa.Column("default_prefixlen", sa.Integer, nullable=False),
    sa.Column("min_prefixlen", sa.Integer, nullable=False),
    sa.Column("max_prefixlen", sa.Integer, nullable=False),
    sa.Column("default_quota", sa.Integer),
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("address_scope_id", sa.String(36), sa.ForeignKey("address_scopes.id")))

subnets = sa.Table(
    "subnets", metadata, _id(), *_standard(),
    _owned_by("network_id", "networks.id"),
    sa.Column("ip_version", sa.Integer, nullable=False),
    sa.Column("cidr", sa.String(64), nullable=False),
    sa.Column("gateway_ip", sa.String(64)),
    sa.Column("enable_dhcp", sa.Boolean, nullable=False),
    sa.Column("ipv6_ra_mode", sa.String(16)),
    sa.Column("ipv6_address_mode", sa.String(16)),
    sa.Column("subnetpool_id", sa.String(36), sa.ForeignKey("subnetpools.id"), index=True),
    sa.Column("allocation_pools", Json, nullable=False),
    sa.Column("dns_nameservers", Json, nullable=False),
    sa.Column("host_routes", Json, nullable=False),
    sa.Column("service_types", Json, nullable=False),
    sa.Column("segment_id", sa.String(36)))

# `host` is the wanted binding (written by the API), `vif_type` its outcome; `status` is written by what agents
# report.  `status_since` is Unix time.  `plug_event`: nova has yet to hear that the port was plugged or unplugged.
ports = sa.Table(
    "ports", metadata, _id(), *_standard(),
    _owned_by("network_id", "networks.id", ondelete="RESTRICT"),
    sa.Column("mac_address", sa.String(17), nullable=False),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("status_since", sa.Float, nullable=False),
    sa.Column("device_id", sa.String(255), nullable=False, index=True),
    sa.Column("device_owner", sa.String(255), nullable=False),
    sa.Column("host", sa.String(255), nullable=False, index=True),
    sa.Column("vif_type", sa.String(64), nullable=False),
    sa.Column("vnic_type", sa.String(64), nullable=False),
    sa.Column("profile", Json, nullable=False),
    sa.Column("port_security_enabled", sa.Boolean, nullable=False),
    sa.Column("allowed_address_pairs", Json, nullable=False),
    sa.Column("extra_dhcp_opts", Json, nullable=False),
    sa.Column("dns_name", sa.String(255), nullable=False, default=""),
    sa.Column("plug_event", sa.String(32)),
    _owned_by("qos_policy_id", "qos_policies.id", ondelete=None, nullable=True),
    sa.UniqueConstraint("network_id", "mac_address"))
sa.Index("ports_plug_event", ports.c.plug_event, sqlite_where=ports.c.plug_event.is_not(None),
         postgresql_where=ports.c.plug_event.is_not(None))

# `position`: the order of a port's addresses
ip_allocations = sa.Table(
    "ip_allocations", metadata,
    sa.Column("subnet_id", sa.String(36), sa.ForeignKey("subnets.id", ondelete="RESTRICT"), primary_key=True),
    sa.Column("ip_address", sa.String(64), primary_key=True),
    _owned_by("port_id", "ports.id"),
    sa.Column("network_id", sa.String(36), nullable=False, index=True),
    sa.Column("position", sa.Integer, nullable=False))

security_groups = sa.Table(
    "security_groups", metadata, _id(), *_standard(),
    sa.Column("stateful", sa.Boolean, nullable=False))

# One default group a project: made when the project is first seen.
default_security_groups = sa.Table(
    "default_security_groups", metadata,
    sa.Column("project_id", sa.String(255), primary_key=True),
    _owned_by("security_group_id", "security_groups.id"))

address_groups = sa.Table(
    "address_groups", metadata, _id(), *_standard(),
    sa.Column("addresses", Json, nullable=False))

security_group_rules = sa.Table(
    "security_group_rules", metadata, _id(), *_standard(),
    _owned_by("security_group_id", "security_groups.id"),
    sa.Column("direction", sa.String(16), nullable=False),
    sa.Column("ethertype", sa.String(8), nullable=False),
    sa.Column("protocol", sa.String(40)),
    sa.Column("port_range_min", sa.Integer),
    sa.Column("port_range_max", sa.Integer),
    sa.Column("remote_ip_prefix", sa.String(64)),
    _owned_by("remote_group_id", "security_groups.id", nullable=True),
    sa.Column("remote_address_group_id", sa.String(36), sa.ForeignKey("address_groups.id"), index=True))

# What new groups begin with.  `remote_parent`: the group itself is the remote one.
default_security_group_rules = sa.Table(
    "default_security_group_rules", metadata, _id(),
    sa.Column("description", sa.String(255), nullable=False, default=""),
    sa.Column("direction", sa.String(16), nullable=False),
    sa.Column("ethertype", sa.String(8), nullable=False),
    sa.Column("protocol", sa.String(40)),
    sa.Column("port_range_min", sa.Integer),
    sa.Column("port_range_max", sa.Integer),
    sa.Column("remote_ip_prefix", sa.String(64)),
    sa.Column("remote_parent", sa.Boolean, nullable=False),
    _owned_by("remote_group_id", "security_groups.id", nullable=True),
    _owned_by("remote_address_group_id", "address_groups.id", nullable=True),
    sa.Column("used_in_default_sg", sa.Boolean, nullable=False),
    sa.Column("used_in_non_default_sg", sa.Boolean, nullable=False))

# One setting a project; "" is the whole system's.
default_statefulness = sa.Table(
    "default_statefulness", metadata, _id(),
    sa.Column("project_id", sa.String(255), nullable=False, unique=True),
    sa.Column("stateful", sa.Boolean, nullable=False))

port_security_groups = sa.Table(
    "port_security_groups", metadata,
    sa.Column("port_id", sa.String(36), sa.ForeignKey("ports.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("security_group_id", sa.String(36), sa.ForeignKey("security_groups.id", ondelete="RESTRICT"),
              primary_key=True, index=True))

# A project (or "*") that may use somebody else's object.
rbac_policies = sa.Table(
    "rbac_policies", metadata, _id(),
    sa.Column("project_id", sa.String(255), nullable=False, index=True),
    sa.Column("object_type", sa.String(32), nullable=False),
    sa.Column("object_id", sa.String(36), nullable=False, index=True),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("target_project", sa.String(255), nullable=False),
    sa.UniqueConstraint("object_type", "object_id", "action", "target_project"))

quotas = sa.Table(
    "quotas", metadata,
    sa.Column("project_id", sa.String(255), primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("hard_limit", sa.Integer, nullable=False))

# An agent writes its own row through the server, at each heartbeat (Unix time).
agents = sa.Table(
    "agents", metadata, _id(),
    sa.Column("agent_type", sa.String(64), nullable=False),
    sa.Column("binary", sa.String(64), nullable=False),
    sa.Column("topic", sa.String(64), nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("availability_zone", sa.String(255)),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("description", sa.String(255)),
    sa.Column("configurations", Json, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("heartbeat_at", sa.Float, nullable=False),
    sa.UniqueConstraint("agent_type", "host"))

routers = sa.Table(
    "routers", metadata, _id(), *_standard(),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("gateway_port_id", sa.String(36), sa.ForeignKey("ports.id")),
    sa.Column("gateway_network_id", sa.String(36), sa.ForeignKey("networks.id")),
    sa.Column("enable_snat", sa.Boolean, nullable=False),
    sa.Column("routes", Json, nullable=False),
    sa.Column("availability_zone_hints", Json, nullable=False))

# Which ports are a router's inner ones.  Not read off a port's device_id, which its owner may change.
router_ports = sa.Table(
    "router_ports", metadata,
    sa.Column("port_id", sa.String(36), sa.ForeignKey("ports.id", ondelete="CASCADE"), primary_key=True),
    _owned_by("router_id", "routers.id", ondelete="RESTRICT"))

# Which host has which router (at most one); host "": taken from its agent by an operator.  `error`: why the host
# could not wire it, as it said last.
router_bindings = sa.Table(
    "router_bindings", metadata,
    sa.Column("router_id", sa.String(36), sa.ForeignKey("routers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False, index=True),
    sa.Column("error", sa.Text, nullable=False, default=""))

floatingips = sa.Table(
    "floatingips", metadata, _id(), *_standard(),
    sa.Column("floating_ip_address", sa.String(64), nullable=False, index=True),
    sa.Column("floating_network_id", sa.String(36), sa.ForeignKey("networks.id"), nullable=False, index=True),
    sa.Column("floating_port_id", sa.String(36), sa.ForeignKey("ports.id"), nullable=False),
    sa.Column("fixed_port_id", sa.String(36), sa.ForeignKey("ports.id", ondelete="SET NULL"), index=True),
    sa.Column("fixed_ip_address", sa.String(64)),
    sa.Column("router_id", sa.String(36), sa.ForeignKey("routers.id"), index=True),
    sa.Column("status", sa.String(16), nullable=False),
    _owned_by("qos_policy_id", "qos_policies.id", ondelete=None, nullable=True))

port_forwardings = sa.Table(
    "port_forwardings", metadata, _id(),
    _owned_by("floatingip_id", "floatingips.id"),
    sa.Column("external_port", sa.Integer, nullable=False),
    sa.Column("internal_port", sa.Integer, nullable=False),
    sa.Column("external_last", sa.Integer, nullable=False),  # of ranges; the same port when it is one
    sa.Column("internal_last", sa.Integer, nullable=False),
    sa.Column("internal_ip_address", sa.String(64), nullable=False),
    sa.Column("protocol", sa.String(8), nullable=False),
    _owned_by("internal_port_id", "ports.id"),
    sa.Column("description", sa.String(255), nullable=False, default=""),
    sa.UniqueConstraint("floatingip_id", "protocol", "external_port"))

# The network and router that were made for a project without any, once they are whole.
auto_allocated_topologies = sa.Table(
    "auto_allocated_topologies", metadata,
    sa.Column("project_id", sa.String(255), primary_key=True),
    _owned_by("network_id", "networks.id"),
    sa.Column("router_id", sa.String(36), sa.ForeignKey("routers.id", ondelete="SET NULL"), index=True))

# Bindings of ports that wait to be activated (`port_bindings.py`); the active one stands in the port's row.
# `wired`: the host said so, and nova was told.
port_bindings = sa.Table(
    "port_bindings", metadata,
    sa.Column("port_id", sa.String(36), sa.ForeignKey("ports.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("host", sa.String(255), primary_key=True),
    sa.Column("vif_type", sa.String(64), nullable=False),
    sa.Column("vnic_type", sa.String(64), nullable=False),
    sa.Column("profile", Json, nullable=False),
    sa.Column("wired", sa.Boolean, nullable=False, default=False, server_default=sa.false()))

# A port whose traffic is to carry other ports' in VLANs.  No host here can do that (no 802.1q): a trunk stays DOWN.
trunks = sa.Table(
    "trunks", metadata, _id(), *_standard(),
    sa.Column("port_id", sa.String(36), sa.ForeignKey("ports.id", ondelete="CASCADE"), nullable=False, unique=True),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("status", sa.String(16), nullable=False))

# A port is in one trunk at most, and a VLAN once in a trunk: the keys say so.
trunk_subports = sa.Table(
    "trunk_subports", metadata,
    sa.Column("port_id", sa.String(36), sa.ForeignKey("ports.id", ondelete="CASCADE"), primary_key=True),
    _owned_by("trunk_id", "trunks.id"),
    sa.Column("segmentation_type", sa.String(32), nullable=False),
    sa.Column("segmentation_id", sa.Integer, nullable=False),
    sa.UniqueConstraint("trunk_id", "segmentation_type", "segmentation_id"))
