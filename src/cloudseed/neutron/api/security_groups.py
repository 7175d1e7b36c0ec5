"""/v2.0/security-groups and /v2.0/security-group-rules"""

from __future__ import annotations

from typing import Any

from cloudseed.neutron import converters as to
from cloudseed.neutron import (
    default_security_group_rules,
    default_statefulness,
    security_group_rules,
    security_groups,
)
from cloudseed.neutron.api.collection import Kind
from cloudseed.neutron.attributes import READ_ONLY, REQUIRED, Attribute, standard


def ethertype(value: Any) -> str:
    found = {"ipv4": "IPv4", "ipv6": "IPv6"}.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise to.Reason(f"{str(value)[:255]} is not in valid_values")
    return found


def protocol(value: Any) -> str | None:
    """A name or a number; what it may be is checked with the rest of the rule."""
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return None if value is None else str(value)
    raise to.Reason(f"'{str(value)[:255]}' is not a protocol")


def prefix(value: Any) -> str | None:
    """An address or a network, kept as given but for a missing prefix length."""
    if value is None:
        return None
    to.ip_or_cidr(value)
    return value if "/" in value else f"{value}/{32 if '.' in value else 128}"


SECURITY_GROUPS = Kind("security_group", "security_groups", {
    **standard(),
    "stateful": Attribute(to.boolean, None),  # as the project has it
    **dict.fromkeys(("shared", "security_group_rules"), READ_ONLY),
}, security_groups.SPEC, security_groups.list_security_groups, security_groups.get_security_group,
    security_groups.create_security_groups, security_groups.update_security_group,
    security_groups.delete_security_group)

_FIXED = {
    "security_group_id": Attribute(to.string(), REQUIRED, put=False),
    "direction": Attribute(to.one_of(("ingress", "egress")), REQUIRED, put=False),
    "ethertype": Attribute(ethertype, "IPv4", put=False),
    "protocol": Attribute(protocol, None, put=False),
    "port_range_min": Attribute(to.integer(-(2**31), 2**31 - 1, none=True), None, put=False),
    "port_range_max": Attribute(to.integer(-(2**31), 2**31 - 1, none=True), None, put=False),
    "remote_ip_prefix": Attribute(prefix, None, put=False),
    "remote_group_id": Attribute(to.string(none=True), None, put=False),
    "remote_address_group_id": Attribute(to.identifier(none=True), None, put=False),
}

SECURITY_GROUP_RULES = Kind("security_group_rule", "security_group_rules", {
    **standard(named=False), **_FIXED,
    **dict.fromkeys(("normalized_cidr", "belongs_to_default_sg"), READ_ONLY),
}, security_group_rules.SPEC, security_group_rules.list_security_group_rules,
    security_group_rules.get_security_group_rule, security_group_rules.create_security_group_rules,
    None, security_group_rules.delete_security_group_rule)


def _remote_group(value: Any) -> str | None:
    return None if value is None else str(value if value == default_security_group_rules.PARENT
                                          else to.identifier()(value))


_PROJECT = {name: Attribute(to.string(255), "", put=False) for name in ("project_id", "tenant_id")}

DEFAULT_SECURITY_GROUP_RULES = Kind("default_security_group_rule", "default_security_group_rules", {
    **_PROJECT, **{name: attribute for name, attribute in _FIXED.items() if name != "security_group_id"},
    "id": READ_ONLY,
    "description": Attribute(to.string(255), "", put=False),
    "remote_group_id": Attribute(_remote_group, None, put=False),
    "used_in_default_sg": Attribute(to.boolean, False, put=False),
    "used_in_non_default_sg": Attribute(to.boolean, True, put=False),
}, default_security_group_rules.SPEC, default_security_group_rules.list_default_security_group_rules,
    default_security_group_rules.get_default_security_group_rule,
    default_security_group_rules.create_default_security_group_rules, None,
    default_security_group_rules.delete_default_security_group_rule)

DEFAULT_STATEFULNESS = Kind(default_statefulness.RULE, default_statefulness.RULE, {
    "id": READ_ONLY,
    "project_id": Attribute(to.string(255, none=True), "", put=False),
    "tenant_id": Attribute(to.string(255, none=True), "", put=False),
    "stateful": Attribute(to.boolean, True),
}, default_statefulness.SPEC, default_statefulness.list_default_statefulness,
    default_statefulness.get_default_statefulness, default_statefulness.create_default_statefulness,
    default_statefulness.update_default_statefulness, default_statefulness.delete_default_statefulness)
