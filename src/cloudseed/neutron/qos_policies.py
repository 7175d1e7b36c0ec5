"""QoS policies: named limits that networks, ports and floating addresses refer to.

A port is limited by its own policy, else by its network's; ports of neutron itself never are.  Rules of a policy take
effect where it is used at once: hosts read them with everything else that they wire.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, errors, listing, models, qos_types
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.converters import boolean
from cloudseed.neutron.revisions import touch
from cloudseed.neutron.server import Neutron, now

table = models.qos_policies
defaults = models.default_qos_policies
rbac = models.rbac_policies
TYPE = "qos_policy"  # of RBAC policies
_DEFAULT = sa.exists().where(defaults.c.qos_policy_id == table.c.id)
# tables whose rows may name a policy, and what upstream calls such a row
USERS = ((models.networks, "network"), (models.ports, "port"), (models.floatingips, "floatingip"))


def _shared(values: list[str], ctx: Context) -> sa.ColumnElement[bool]:
    shared = table.c.id.in_(access.shared_ids(ctx, TYPE))
    return sa.or_(*[shared if boolean(value) else sa.not_(shared) for value in values])


def _is_default(values: list[str], ctx: Context) -> sa.ColumnElement[bool]:
    return sa.or_(*[_DEFAULT if boolean(value) else sa.not_(_DEFAULT) for value in values])


SPEC = listing.spec(table, errors.QosPolicyNotFound, special={"shared": _shared, "is_default": _is_default})


def _select(ctx: Context) -> sa.Select[Any]:
    return sa.select(table, _DEFAULT.label("is_default"), access.shared_column(ctx, table, TYPE))


async def _records(tx: Tx, rows: list[Any]) -> list[dict[str, Any]]:
    rules: dict[str, list[dict[str, Any]]] = {row.id: [] for row in rows}
    for rule in await qos_types.of_policies(tx, list(rules)):
        rules[rule.qos_policy_id].append({**qos_types.record(rule), "type": rule.type,
                                          "qos_policy_id": rule.qos_policy_id})
    return [{"id": row.id, "name": row.name, "project_id": row.project_id, "tenant_id": row.project_id,
             "shared": bool(row.shared), "is_default": bool(row.is_default), "rules": rules[row.id],
             "description": row.description or "", "tags": row.tags, "created_at": row.created_at,
             "updated_at": row.updated_at, "revision_number": row.revision_number} for row in rows]


async def list_qos_policies(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    """The visible policies with their rules."""
    async with neutron.db.read() as tx:
        statement = _select(ctx).where(*access.visible(neutron, ctx, table, TYPE))
        return await _records(tx, await listing.page(tx, statement, SPEC, query, ctx))


async def load(neutron: Neutron, ctx: Context, tx: Tx, policy_id: str) -> Any:
    """A visible policy's row; QosPolicyNotFound."""
    row = await tx.first(_select(ctx).where(table.c.id == policy_id, *access.visible(neutron, ctx, table, TYPE)))
    if row is None:
        raise errors.QosPolicyNotFound(id=policy_id)
    return row


async def get_qos_policy(neutron: Neutron, ctx: Context, policy_id: str) -> dict[str, Any]:
    """One visible policy."""
    async with neutron.db.read() as tx:
        return (await _records(tx, [await load(neutron, ctx, tx, policy_id)]))[0]


async def create_qos_policies(neutron: Neutron, ctx: Context, wishes: list[Wish],
                              attributes: Any) -> list[dict[str, Any]]:
    """Create policies without rules.  Raises QoSPolicyDefaultAlreadyExists."""
    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            values, moment, policy_id = wish.values, now(), str(uuid.uuid4())
            access.authorize(neutron, ctx, "create_policy", values, wish.differs(attributes))
            await tx.execute(sa.insert(table).values(
                id=policy_id, created_at=moment, updated_at=moment, revision_number=0,
                **{name: values[name] for name in ("project_id", "name", "description", "tags")}))
            await _set_shared(neutron, ctx, tx, policy_id, values["project_id"], values["shared"])
            await _set_default(tx, policy_id, values["project_id"], values["is_default"])
            made.append(policy_id)
        rows = await listing.by_ids(tx, _select(ctx), table.c.id, made)
        records = {record["id"]: record for record in await _records(tx, rows)}
    return [records[policy_id] for policy_id in made]


async def _set_shared(neutron: Neutron, ctx: Context, tx: Tx, policy_id: str, project_id: str, shared: bool) -> None:
    """Open the policy to everybody, for who may, or close it."""
    mine = (rbac.c.object_type == TYPE, rbac.c.object_id == policy_id, rbac.c.target_project == "*")
    there = await tx.scalar(sa.select(rbac.c.id).where(*mine)) is not None
    if shared and not there:
        if not neutron.policy.check("create_rbac_policy:target_tenant", ctx.identity):
            raise errors.PolicyNotAuthorized(rule="create_rbac_policy:target_tenant")
        await tx.execute(sa.insert(rbac).values(id=str(uuid.uuid4()), project_id=project_id, object_type=TYPE,
                                                object_id=policy_id, action=access.SHARED, target_project="*"))
    elif there and not shared:
        await check_unshared(tx, policy_id, project_id, "*")
        await tx.execute(sa.delete(rbac).where(*mine))


async def check_unshared(tx: Tx, policy_id: str, project_id: str, target: str) -> None:
    """RbacPolicyInUse while somebody to whom only this sharing (`target`: a project, or "*") opens it uses it."""
    others = sa.select(rbac.c.target_project).where(rbac.c.object_type == TYPE, rbac.c.object_id == policy_id,
                                                    rbac.c.target_project != target)
    if target != "*" and "*" in await tx.scalars(others):
        return
    for users, _ in USERS:
        concerned = users.c.project_id == target if target != "*" else users.c.project_id.not_in(others)
        if await tx.scalar(sa.select(users.c.id).where(
                users.c.qos_policy_id == policy_id, users.c.project_id != project_id, concerned).limit(1)):
            raise errors.RbacPolicyInUse(id=policy_id)


async def _set_default(tx: Tx, policy_id: str, project_id: str, default: bool) -> None:
    held = await tx.scalar(sa.select(defaults.c.qos_policy_id).where(defaults.c.project_id == project_id))
    if default and held not in (None, policy_id):
        raise errors.QoSPolicyDefaultAlreadyExists(project=project_id)
    if default and held is None:
        await tx.execute(sa.insert(defaults).values(project_id=project_id, qos_policy_id=policy_id))
    elif not default and held == policy_id:
        await tx.execute(sa.delete(defaults).where(defaults.c.project_id == project_id))


async def update_qos_policy(neutron: Neutron, ctx: Context, policy_id: str, wish: Wish) -> dict[str, Any]:
    """Rename, share, or make it the project's default."""
    values = wish.values
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, policy_id)
        access.check_revision(row, wish.expected_revision)
        access.authorize(neutron, ctx, "update_policy", dict(row._mapping), values)
        if "shared" in values:
            await _set_shared(neutron, ctx, tx, policy_id, row.project_id, values["shared"])
        if "is_default" in values:
            await _set_default(tx, policy_id, row.project_id, values["is_default"])
        await touch(tx, table, policy_id, **{name: values[name] for name in ("name", "description") if name in values})
        return (await _records(tx, [await load(neutron, ctx, tx, policy_id)]))[0]


async def delete_qos_policy(neutron: Neutron, ctx: Context, policy_id: str, expected: int | None = None) -> None:
    """Remove a policy that nobody uses; QosPolicyInUse."""
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, policy_id)
        access.check_revision(row, expected)
        access.authorize(neutron, ctx, "delete_policy", dict(row._mapping))
        for users, kind in USERS:
            used = await tx.scalar(sa.select(users.c.id).where(users.c.qos_policy_id == policy_id).limit(1))
            if used is not None:
                raise errors.QosPolicyInUse(id=policy_id, kind=kind, used=used)
        await tx.execute(sa.delete(rbac).where(rbac.c.object_type == TYPE, rbac.c.object_id == policy_id))
        await tx.execute(sa.delete(table).where(table.c.id == policy_id))


# ---- who uses a policy

async def default_of(tx: Tx, project_id: str) -> str | None:
    """The policy that the project's new networks get."""
    found: str | None = await tx.scalar(sa.select(defaults.c.qos_policy_id).where(defaults.c.project_id == project_id))
    return found


async def check_use(neutron: Neutron, ctx: Context, tx: Tx, kind: str, user_id: str, wanted: str | None,
                    held: str | None = None) -> None:
    """Whether a row of `kind` (see USERS), which names policy `held`, may name `wanted` instead.

    Raises QosPolicyNotFound, PolicyRemoveAuthorizationError (who may not see the old one may not take it away: an
    administrator's limit stays), QosRuleNotSupported and the like for rules that cannot be kept.
    """
    if wanted == held:
        return
    if held is not None:
        try:
            await load(neutron, ctx, tx, held)
        except errors.QosPolicyNotFound:
            raise errors.PolicyRemoveAuthorizationError(id=held) from None
    if wanted is not None:
        await load(neutron, ctx, tx, wanted)
        qos_types.check_supported(kind, user_id, {rule.type for rule in await qos_types.of_policies(tx, [wanted])})


async def users_of(tx: Tx, policy_id: str) -> list[tuple[str, str]]:
    """One row of each kind that uses the policy, as (kind, id)."""
    found = []
    for users, kind in USERS:
        used = await tx.scalar(sa.select(users.c.id).where(users.c.qos_policy_id == policy_id).limit(1))
        if used is not None:
            found.append((kind, used))
    return found

