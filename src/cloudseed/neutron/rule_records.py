"""What a security group rule is: its row, its record, and what its parts may be, as upstream checks them."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import errors, listing, models
from cloudseed.neutron.server import now

table = models.security_group_rules
PROTOCOLS = {"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "igmp": 2, "ip": 0,
             "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59,
             "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17,
             "udplite": 136, "vrrp": 112}
_WITH_PORTS = {6: "TCP", 17: "UDP", 33: "DCCP", 132: "SCTP", 136: "UDPLITE"}
_ICMP, _ICMPV6 = 1, 58
_IPV6_ONLY = (41, 43, 44, 58, 59, 60)


def new_row(group_id: str, project_id: str, direction: str, ethertype: str, **more: Any) -> dict[str, Any]:
    """A rule's row; fields not named are null."""
    moment = now()
    return {"id": str(uuid.uuid4()), "project_id": project_id, "name": "", "description": None, "tags": [],
            "security_group_id": group_id, "direction": direction, "ethertype": ethertype, "protocol": None,
            "port_range_min": None, "port_range_max": None, "remote_ip_prefix": None, "remote_group_id": None,
            "remote_address_group_id": None, "created_at": moment, "updated_at": moment, "revision_number": 0, **more}


def select() -> sa.Select[Any]:
    defaults = models.default_security_groups
    return sa.select(table, defaults.c.project_id.label("default_of")).outerjoin(
        defaults, defaults.c.security_group_id == table.c.security_group_id)


def record(rule: Any) -> dict[str, Any]:
    prefix = rule.remote_ip_prefix
    return {
        "id": rule.id, "project_id": rule.project_id, "tenant_id": rule.project_id,
        "security_group_id": rule.security_group_id, "ethertype": rule.ethertype, "direction": rule.direction,
        "protocol": rule.protocol, "port_range_min": rule.port_range_min, "port_range_max": rule.port_range_max,
        "remote_ip_prefix": prefix, "normalized_cidr": normalized(prefix), "remote_group_id": rule.remote_group_id,
        "remote_address_group_id": rule.remote_address_group_id, "belongs_to_default_sg": rule.default_of is not None,
        "description": rule.description, "tags": rule.tags, "created_at": rule.created_at,
        "updated_at": rule.updated_at, "revision_number": rule.revision_number}


def normalized(prefix: str | None) -> str | None:
    """The prefix with the bits below it cleared."""
    return None if prefix is None else str(ipaddress.ip_network(prefix, strict=False))


_OF_GROUPS = select().where(listing.among(table.c.security_group_id)).order_by(table.c.id)


async def of_groups(tx: Tx, group_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The rules of these groups: one statement."""
    rows = await listing.cached(tx, _OF_GROUPS, group_ids)
    return [record(rule) for rule in rows]


# ---- what a rule may be

def protocol_number(protocol: str | None) -> int | None:
    if protocol is None:
        return None
    return int(protocol) if protocol.isdecimal() else PROTOCOLS[protocol]


def check(values: dict[str, Any]) -> None:
    """The parts of a rule fit one another; gives protocol and prefix their one form.  Raises as upstream does."""
    values["protocol"] = _protocol(values["protocol"], values["ethertype"])
    number = protocol_number(values["protocol"])
    if number in _IPV6_ONLY and values["ethertype"] == "IPv4":
        raise errors.SecurityGroupEthertypeConflictWithProtocol(ethertype="IPv4", protocol=values["protocol"])
    remotes = [name for name in ("remote_ip_prefix", "remote_group_id", "remote_address_group_id") if values[name]]
    if len(remotes) > 1:
        raise errors.SecurityGroupMultipleRemoteEntites()
    prefix = values["remote_ip_prefix"]
    if prefix is not None and f"IPv{ipaddress.ip_interface(prefix).version}" != values["ethertype"]:
        raise errors.SecurityGroupRuleParameterConflict(ethertype=values["ethertype"], cidr=prefix)
    _check_ports(values, number)


def _protocol(value: Any, ethertype: str) -> str | None:
    if value is None:
        return None
    name = str(value).lower()
    if name == "any":
        return None
    if name.isdecimal() and name.isascii() and int(name[:5]) <= 255 and len(name) <= 3:
        return str(int(name))
    if name not in PROTOCOLS:
        known = ", ".join(f"'{p}'" for p in PROTOCOLS)
        raise errors.SecurityGroupRuleInvalidProtocol(protocol=str(value)[:64], values=f"(None, 'any', {known})")
    return "ipv6-icmp" if ethertype == "IPv6" and name in ("icmp", "icmpv6") else name


def _check_ports(values: dict[str, Any], number: int | None) -> None:
    low, high = values["port_range_min"], values["port_range_max"]
    if low is None and high is None:
        return
    if number is None:
        raise errors.SecurityGroupProtocolRequiredWithPorts()
    if number in (_ICMP, _ICMPV6):
        for value, attr, field in ((low, "port_range_min", "type"), (high, "port_range_max", "code")):
            if value is not None and not 0 <= value <= 255:
                raise errors.SecurityGroupInvalidIcmpValue(field=field, attr=attr, value=value)
        if low is None:
            raise errors.SecurityGroupMissingIcmpType(value=high)
    elif number in _WITH_PORTS:
        for value in (low, high):
            if value is not None and not 1 <= value <= 65535:
                raise errors.SecurityGroupInvalidPortValue(port=value)
        if low is None or high is None or low > high:
            raise errors.SecurityGroupInvalidPortRange()
    else:
        raise errors.SecurityGroupInvalidProtocolForPort(protocol=number)
