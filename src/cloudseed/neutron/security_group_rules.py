"""Rules of security groups: checked as upstream checks them, one of a kind in its group."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, errors, listing, models, quotas
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.networks import touch
from cloudseed.neutron.server import Neutron, now

table = models.security_group_rules
PROTOCOLS = {"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "igmp": 2, "ip": 0,
             "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59,
             "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17,
             "udplite": 136, "vrrp": 112}
_WITH_PORTS = {6: "TCP", 17: "UDP", 33: "DCCP", 132: "SCTP", 136: "UDPLITE"}
_ICMP, _ICMPV6 = 1, 58
_IPV6_ONLY = (41, 43, 44, 58, 59, 60)
_SAME = ("security_group_id", "direction", "ethertype", "protocol", "port_range_min", "port_range_max",
         "remote_ip_prefix", "remote_group_id", "remote_address_group_id")
SPEC = listing.spec(table, errors.SecurityGroupRuleNotFound, omit=("name",))


def row(group_id: str, project_id: str, direction: str, ethertype: str, **more: Any) -> dict[str, Any]:
    """A rule's row; fields not named are null."""
    moment = now()
    return {"id": str(uuid.uuid4()), "project_id": project_id, "name": "", "description": None, "tags": [],
            "security_group_id": group_id, "direction": direction, "ethertype": ethertype, "protocol": None,
            "port_range_min": None, "port_range_max": None, "remote_ip_prefix": None, "remote_group_id": None,
            "remote_address_group_id": None, "created_at": moment, "updated_at": moment, "revision_number": 0, **more}


def _select() -> sa.Select[Any]:
    defaults = models.default_security_groups
    return sa.select(table, defaults.c.project_id.label("default_of")).outerjoin(
        defaults, defaults.c.security_group_id == table.c.security_group_id)


def _record(rule: Any) -> dict[str, Any]:
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


async def of_groups(tx: Tx, group_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The rules of these groups: one statement."""
    rows = await listing.by_ids(tx, _select().order_by(table.c.id), table.c.security_group_id, group_ids)
    return [_record(rule) for rule in rows]


def _visible(neutron: Neutron, ctx: Context) -> list[sa.ColumnElement[bool]]:
    """One's own, and those of one's own groups (an administrator may have added some)."""
    if access.sees_all(neutron, ctx):
        return []
    groups = models.security_groups
    return [access.own(ctx, table) | table.c.security_group_id.in_(
        sa.select(groups.c.id).where(*access.visible(neutron, ctx, groups, "security_group")))]


async def list_security_group_rules(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    """The visible rules that the query asks for."""
    from cloudseed.neutron.security_groups import make_default

    await make_default(neutron, ctx)
    async with neutron.db.read() as tx:
        rows = await listing.page(tx, _select().where(*_visible(neutron, ctx)), SPEC, query, ctx)
    return [_record(rule) for rule in rows]


async def _load(neutron: Neutron, ctx: Context, tx: Tx, rule_id: str) -> Any:
    rule = await tx.first(_select().where(table.c.id == rule_id, *_visible(neutron, ctx)))
    if rule is None:
        raise errors.SecurityGroupRuleNotFound(id=rule_id)
    return rule


async def get_security_group_rule(neutron: Neutron, ctx: Context, rule_id: str) -> dict[str, Any]:
    """One visible rule."""
    async with neutron.db.read() as tx:
        return _record(await _load(neutron, ctx, tx, rule_id))


async def create_security_group_rules(neutron: Neutron, ctx: Context, wishes: list[Wish],
                                      attributes: Any) -> list[dict[str, Any]]:
    """Add rules, all or none.  Raises the errors of `check`, SecurityGroupRuleExists, SecurityGroupNotFound."""
    from cloudseed.neutron import security_groups

    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            values = wish.values
            check(values)
            group = await security_groups.load(neutron, ctx, tx, values["security_group_id"])
            access.authorize(neutron, ctx, "create_security_group_rule", values, wish.differs(attributes))
            if group.project_id != values["project_id"] and not access.is_admin(neutron, ctx):
                raise errors.SecurityGroupNotFound(id=group.id)  # shared with us, not ours to change
            await _check_remote(neutron, ctx, tx, values)
            await quotas.check(tx, values["project_id"], "security_group_rule")
            await _check_new(tx, values)
            new = row(**{"group_id": values["security_group_id"], **{name: values[name] for name in (
                "project_id", "direction", "ethertype", "protocol", "port_range_min", "port_range_max",
                "remote_ip_prefix", "remote_group_id", "remote_address_group_id", "description", "tags")}})
            await tx.execute(sa.insert(table).values(**new))
            await touch(tx, models.security_groups, group.id)
            made.append(new["id"])
        records = {r.id: _record(r) for r in await listing.by_ids(tx, _select(), table.c.id, made)}
    await neutron.look_again(ctx)
    return [records[rule_id] for rule_id in made]


async def _check_remote(neutron: Neutron, ctx: Context, tx: Tx, values: dict[str, Any]) -> None:
    from cloudseed.neutron import security_groups

    if values["remote_group_id"] is not None:
        await security_groups.load(neutron, ctx, tx, values["remote_group_id"])
    if values["remote_address_group_id"] is not None:
        groups = models.address_groups
        known = await tx.scalar(sa.select(groups.c.id).where(
            groups.c.id == values["remote_address_group_id"],
            *access.visible(neutron, ctx, groups, "address_group")))
        if known is None:
            raise errors.AddressGroupNotFound(id=values["remote_address_group_id"])


async def _check_new(tx: Tx, values: dict[str, Any]) -> None:
    alike = await tx.all(sa.select(table).where(
        table.c.security_group_id == values["security_group_id"], table.c.direction == values["direction"],
        table.c.ethertype == values["ethertype"]))
    key = _key(values)
    for rule in alike:
        if _key(dict(rule._mapping)) == key:
            raise errors.SecurityGroupRuleExists(id=rule.id)


def _key(values: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two rules the same: names and numbers of a protocol are one, 0.0.0.0/0 is any."""
    prefix = normalized(values["remote_ip_prefix"])
    return (*[values[name] for name in _SAME if name not in ("protocol", "remote_ip_prefix")],
            protocol_number(values["protocol"]), None if prefix in ("0.0.0.0/0", "::/0") else prefix)


async def delete_security_group_rule(neutron: Neutron, ctx: Context, rule_id: str,
                                     expected: int | None = None) -> None:
    """Remove a rule."""
    async with neutron.db.write() as tx:
        rule = await _load(neutron, ctx, tx, rule_id)
        access.check_revision(rule, expected)
        access.authorize(neutron, ctx, "delete_security_group_rule", dict(rule._mapping))
        await tx.execute(sa.delete(table).where(table.c.id == rule_id))
        await touch(tx, models.security_groups, rule.security_group_id)
    await neutron.look_again(ctx)


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
