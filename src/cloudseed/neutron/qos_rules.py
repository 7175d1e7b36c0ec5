"""The rules of QoS policies: of each type and direction one at most."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, errors, listing, models, qos_policies
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.qos_types import TYPES, check_supported, of_policies, record
from cloudseed.neutron.revisions import touch
from cloudseed.neutron.server import Neutron

table = models.qos_rules
SPECS = {name: listing.spec(table, errors.QosRuleNotFound, omit=("qos_policy_id", "type"),
                            names={"rate": kind.rate, "burst": kind.burst}) for name, kind in TYPES.items()}


async def _load(tx: Tx, policy_id: str, type_name: str, rule_id: str) -> Any:
    row = await tx.first(sa.select(table).where(table.c.id == rule_id, table.c.qos_policy_id == policy_id,
                                                table.c.type == type_name))
    if row is None:
        raise errors.QosRuleNotFound(id=rule_id, policy=policy_id)
    return row


async def _policy(neutron: Neutron, ctx: Context, tx: Tx, action: str, type_name: str, policy_id: str) -> Any:
    """The policy, if the caller may do that to its rules."""
    policy = await qos_policies.load(neutron, ctx, tx, policy_id)
    access.authorize(neutron, ctx, f"{action}_policy_{type_name}_rule", dict(policy._mapping))
    return policy


async def policy_of(neutron: Neutron, type_name: str, rule_id: str) -> str:
    """The policy that has a rule, for URLs that do not say; QosRuleNotFound."""
    async with neutron.db.read() as tx:
        found: str | None = await tx.scalar(sa.select(table.c.qos_policy_id).where(table.c.id == rule_id,
                                                                                   table.c.type == type_name))
    if found is None:
        raise errors.QosRuleNotFound(id=rule_id, policy=None)
    return found


async def list_qos_rules(neutron: Neutron, ctx: Context, type_name: str, policy_id: str,
                         query: listing.Query) -> list[dict[str, Any]]:
    async with neutron.db.read() as tx:
        await _policy(neutron, ctx, tx, "get", type_name, policy_id)
        statement = sa.select(table).where(table.c.qos_policy_id == policy_id, table.c.type == type_name)
        return [record(row) for row in await listing.page(tx, statement, SPECS[type_name], query, ctx)]


async def get_qos_rule(neutron: Neutron, ctx: Context, type_name: str, policy_id: str, rule_id: str) -> dict[str, Any]:
    async with neutron.db.read() as tx:
        await _policy(neutron, ctx, tx, "get", type_name, policy_id)
        return record(await _load(tx, policy_id, type_name, rule_id))


async def create_qos_rule(neutron: Neutron, ctx: Context, type_name: str, policy_id: str,
                          given: Wish) -> dict[str, Any]:
    """Add a rule; hosts follow at once.  Raises QoSRulesConflict, QosRuleNotSupported, ..."""
    kind, values, rule_id = TYPES[type_name], given.values, str(uuid.uuid4())
    async with neutron.db.write() as tx:
        await _policy(neutron, ctx, tx, "create", type_name, policy_id)
        for user, user_id in await qos_policies.users_of(tx, policy_id):
            check_supported(user, user_id, {type_name})
        new = {"id": rule_id, "qos_policy_id": policy_id, "type": type_name, "rate": values[kind.rate],
               "burst": values[kind.burst] if kind.burst else 0,
               "direction": values["direction"] if kind.directed else ""}
        await _check_beside(tx, new)
        await tx.execute(sa.insert(table).values(**new))
        made = record(await _load(tx, policy_id, type_name, rule_id))
        await touch(tx, qos_policies.table, policy_id)
    await neutron.look_again(ctx)
    return made


async def update_qos_rule(neutron: Neutron, ctx: Context, type_name: str, policy_id: str, rule_id: str,
                          given: Wish) -> dict[str, Any]:
    kind, values = TYPES[type_name], given.values
    columns = {kind.rate: "rate", kind.burst: "burst", "direction": "direction"}
    async with neutron.db.write() as tx:
        await _policy(neutron, ctx, tx, "update", type_name, policy_id)
        row = await _load(tx, policy_id, type_name, rule_id)
        changes = {columns[name]: value for name, value in values.items()}
        await _check_beside(tx, {**row._mapping, **changes})
        if changes:
            await tx.execute(sa.update(table).where(table.c.id == rule_id).values(**changes))
            await touch(tx, qos_policies.table, policy_id)
        changed = record(await _load(tx, policy_id, type_name, rule_id))
    await neutron.look_again(ctx)
    return changed


async def delete_qos_rule(neutron: Neutron, ctx: Context, type_name: str, policy_id: str, rule_id: str) -> None:
    async with neutron.db.write() as tx:
        await _policy(neutron, ctx, tx, "delete", type_name, policy_id)
        await _load(tx, policy_id, type_name, rule_id)
        await tx.execute(sa.delete(table).where(table.c.id == rule_id))
        await touch(tx, qos_policies.table, policy_id)
    await neutron.look_again(ctx)


async def _check_beside(tx: Tx, new: dict[str, Any]) -> None:
    """A rule contradicts none that its policy has."""
    for row in await of_policies(tx, [new["qos_policy_id"]]):
        if row.id == new["id"] or row.direction != new["direction"]:
            continue
        if row.type == new["type"]:
            raise errors.QoSRulesConflict(type=row.type, id=row.id, policy=row.qos_policy_id)
        pair = {row.type: row.rate, new["type"]: new["rate"]}
        least, most = pair.get("minimum_bandwidth"), pair.get("bandwidth_limit")
        if least is not None and most is not None and least > most:
            raise errors.QoSRuleParameterConflict(value=new["rate"], policy=row.qos_policy_id, type=row.type,
                                                  held=row.rate)
