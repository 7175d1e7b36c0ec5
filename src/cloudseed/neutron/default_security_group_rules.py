"""The rules that new security groups begin with: templates for projects' default groups, and for all others.

A template whose `remote_group_id` is "PARENT" means the group that the rule comes to lie in.  Groups that are there
already keep the rules that they have.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, errors, listing, models, rule_records
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.server import Neutron

table = models.default_security_group_rules
PARENT = "PARENT"
MAX_RULES = 100  # every new group gets them all
_OF_A_RULE = ("direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix",
              "remote_group_id", "remote_address_group_id")


def _remote_group(values: list[str], ctx: Context) -> sa.ColumnElement[bool]:
    return sa.or_(*[table.c.remote_parent if value == PARENT else table.c.remote_group_id == value
                    for value in values])


SPEC = listing.spec(table, errors.DefaultSecurityGroupRuleNotFound, omit=("remote_parent", "remote_group_id"),
                    special={"remote_group_id": _remote_group})


def _record(row: Any) -> dict[str, Any]:
    return {**{name: getattr(row, name) for name in ("id", "description", *_OF_A_RULE, "used_in_default_sg",
                                                    "used_in_non_default_sg")},
            "remote_group_id": PARENT if row.remote_parent else row.remote_group_id}


async def list_default_security_group_rules(neutron: Neutron, ctx: Context,
                                            query: listing.Query) -> list[dict[str, Any]]:
    access.authorize(neutron, ctx, "get_default_security_group_rule", {})
    async with neutron.db.read() as tx:
        return [_record(row) for row in await listing.page(tx, sa.select(table), SPEC, query, ctx)]


async def _load(tx: Tx, rule_id: str) -> Any:
    row = await tx.first(sa.select(table).where(table.c.id == rule_id))
    if row is None:
        raise errors.DefaultSecurityGroupRuleNotFound(id=rule_id)
    return row


async def get_default_security_group_rule(neutron: Neutron, ctx: Context, rule_id: str) -> dict[str, Any]:
    access.authorize(neutron, ctx, "get_default_security_group_rule", {})
    async with neutron.db.read() as tx:
        return _record(await _load(tx, rule_id))


async def create_default_security_group_rules(neutron: Neutron, ctx: Context, wishes: list[Wish],
                                              attributes: Any) -> list[dict[str, Any]]:
    """Add templates.  Raises the errors of a rule's parts, DefaultSecurityGroupRuleExists."""
    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            values = wish.values
            access.authorize(neutron, ctx, "create_default_security_group_rule", values)
            rule_records.check(values)
            present = list(await tx.all(sa.select(table)))
            if len(present) >= MAX_RULES:
                raise errors.OverQuota(overs=["default_security_group_rule"])
            _check_new(values, present)
            await _check_remote(tx, values)
            parent = values["remote_group_id"] == PARENT
            made.append(str(uuid.uuid4()))
            await tx.execute(sa.insert(table).values(
                id=made[-1], remote_parent=parent, **{name: values[name] for name in (
                    "description", *_OF_A_RULE, "used_in_default_sg", "used_in_non_default_sg")}
                | ({"remote_group_id": None} if parent else {})))
        rows = {row.id: row for row in await listing.by_ids(tx, sa.select(table), table.c.id, made)}
    return [_record(rows[rule_id]) for rule_id in made]


async def _check_remote(tx: Tx, values: dict[str, Any]) -> None:
    groups, addresses = models.security_groups.c.id, models.address_groups.c.id
    group, address_group = values["remote_group_id"], values["remote_address_group_id"]
    if group not in (None, PARENT) and not await tx.scalar(sa.select(groups).where(groups == group)):
        raise errors.SecurityGroupNotFound(id=group)
    if address_group and not await tx.scalar(sa.select(addresses).where(addresses == address_group)):
        raise errors.AddressGroupNotFound(id=address_group)


def _key(values: dict[str, Any]) -> tuple[Any, ...]:
    return (*[values[name] for name in _OF_A_RULE if name not in ("protocol", "remote_ip_prefix")],
            rule_records.protocol_number(values["protocol"]), rule_records.normalized(values["remote_ip_prefix"]))


def _check_new(values: dict[str, Any], present: list[Any]) -> None:
    """One template of a kind for default groups, and one for the others."""
    for row in present:
        both = any(values[use] and getattr(row, use) for use in ("used_in_default_sg", "used_in_non_default_sg"))
        if both and _key(_record(row)) == _key(values):
            raise errors.DefaultSecurityGroupRuleExists(id=row.id)


async def delete_default_security_group_rule(neutron: Neutron, ctx: Context, rule_id: str,
                                             expected: int | None = None) -> None:
    access.authorize(neutron, ctx, "delete_default_security_group_rule", {})
    async with neutron.db.write() as tx:
        await _load(tx, rule_id)
        await tx.execute(sa.delete(table).where(table.c.id == rule_id))


async def rules_for(tx: Tx, group_id: str, project_id: str, default: bool) -> list[dict[str, Any]]:
    """Rows of the rules that a new group gets."""
    use = table.c.used_in_default_sg if default else table.c.used_in_non_default_sg
    found = []
    for row in await tx.all(sa.select(table).where(use).order_by(table.c.id)):
        parts = {name: getattr(row, name) for name in _OF_A_RULE}
        if row.remote_parent:
            parts["remote_group_id"] = group_id
        found.append(rule_records.new_row(group_id, project_id, **parts))
    return found
