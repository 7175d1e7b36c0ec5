"""Rules of security groups: listed, added and removed; one of a kind in its group."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, errors, listing, models, quotas, rule_records, security_groups
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.networks import touch
from cloudseed.neutron.rule_records import new_row, record
from cloudseed.neutron.server import Neutron

table = models.security_group_rules
_SAME = ("security_group_id", "direction", "ethertype", "protocol", "port_range_min", "port_range_max",
         "remote_ip_prefix", "remote_group_id", "remote_address_group_id")
SPEC = listing.spec(table, errors.SecurityGroupRuleNotFound, omit=("name",))


def _visible(neutron: Neutron, ctx: Context) -> list[sa.ColumnElement[bool]]:
    """One's own, and those of one's own groups (an administrator may have added some)."""
    if access.sees_all(neutron, ctx):
        return []
    groups = models.security_groups
    return [access.own(ctx, table) | table.c.security_group_id.in_(
        sa.select(groups.c.id).where(*access.visible(neutron, ctx, groups, "security_group")))]


async def list_security_group_rules(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    """The visible rules that the query asks for."""
    await security_groups.make_default(neutron, ctx)
    async with neutron.db.read() as tx:
        rows = await listing.page(tx, rule_records.select().where(*_visible(neutron, ctx)), SPEC, query, ctx)
    return [record(rule) for rule in rows]


async def _load(neutron: Neutron, ctx: Context, tx: Tx, rule_id: str) -> Any:
    rule = await tx.first(rule_records.select().where(table.c.id == rule_id, *_visible(neutron, ctx)))
    if rule is None:
        raise errors.SecurityGroupRuleNotFound(id=rule_id)
    return rule


async def get_security_group_rule(neutron: Neutron, ctx: Context, rule_id: str) -> dict[str, Any]:
    """One visible rule."""
    async with neutron.db.read() as tx:
        return record(await _load(neutron, ctx, tx, rule_id))


async def create_security_group_rules(neutron: Neutron, ctx: Context, wishes: list[Wish],
                                      attributes: Any) -> list[dict[str, Any]]:
    """Add rules, all or none.  Raises the errors of `check`, SecurityGroupRuleExists, SecurityGroupNotFound."""
    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            values = wish.values
            rule_records.check(values)
            group = await security_groups.load(neutron, ctx, tx, values["security_group_id"])
            access.authorize(neutron, ctx, "create_security_group_rule", values, wish.differs(attributes))
            if group.project_id != values["project_id"] and not access.is_admin(neutron, ctx):
                raise errors.SecurityGroupNotFound(id=group.id)  # shared with us, not ours to change
            await _check_remote(neutron, ctx, tx, values)
            await quotas.check(tx, values["project_id"], "security_group_rule")
            await _check_new(tx, values)
            new = new_row(**{"group_id": values["security_group_id"], **{name: values[name] for name in (
                "project_id", "direction", "ethertype", "protocol", "port_range_min", "port_range_max",
                "remote_ip_prefix", "remote_group_id", "remote_address_group_id", "description", "tags")}})
            await tx.execute(sa.insert(table).values(**new))
            await touch(tx, models.security_groups, group.id)
            made.append(new["id"])
        records = {r.id: record(r) for r in await listing.by_ids(tx, rule_records.select(), table.c.id, made)}
    await neutron.look_again(ctx)
    return [records[rule_id] for rule_id in made]


async def _check_remote(neutron: Neutron, ctx: Context, tx: Tx, values: dict[str, Any]) -> None:
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
    prefix = rule_records.normalized(values["remote_ip_prefix"])
    return (*[values[name] for name in _SAME if name not in ("protocol", "remote_ip_prefix")],
            rule_records.protocol_number(values["protocol"]), None if prefix in ("0.0.0.0/0", "::/0") else prefix)


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
