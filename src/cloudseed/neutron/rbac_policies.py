"""RBAC policies: who else may use an object, be it one project or, with "*", everybody."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, errors, listing, models, networks, qos_policies, quotas
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.converters import is_uuid
from cloudseed.neutron.server import Neutron

table = models.rbac_policies
# object type -> (table, actions)
OBJECTS: dict[str, tuple[sa.Table, tuple[str, ...]]] = {
    "network": (models.networks, (access.SHARED, access.EXTERNAL)),
    "security_group": (models.security_groups, (access.SHARED,)),
    "address_group": (models.address_groups, (access.SHARED,)),
    "address_scope": (models.address_scopes, (access.SHARED,)),
    "subnetpool": (models.subnetpools, (access.SHARED,)),
    "qos_policy": (models.qos_policies, (access.SHARED,))}
SPEC = listing.spec(table, errors.RbacPolicyNotFound, names={"target_project": "target_tenant"})


def _record(row: Any) -> dict[str, Any]:
    return {"id": row.id, "project_id": row.project_id, "tenant_id": row.project_id, "action": row.action,
            "object_type": row.object_type, "object_id": row.object_id, "target_tenant": row.target_project}


def _visible(neutron: Neutron, ctx: Context) -> list[sa.ColumnElement[bool]]:
    if access.sees_all(neutron, ctx):
        return []
    return [access.own(ctx, table) | (table.c.target_project == (ctx.project_id or "*"))]


async def list_rbac_policies(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    async with neutron.db.read() as tx:
        rows = await listing.page(tx, sa.select(table).where(*_visible(neutron, ctx)), SPEC, query, ctx)
    return [_record(row) for row in rows]


async def _load(neutron: Neutron, ctx: Context, tx: Tx, policy_id: str) -> Any:
    row = await tx.first(sa.select(table).where(table.c.id == policy_id, *_visible(neutron, ctx)))
    if row is None:
        raise errors.RbacPolicyNotFound(id=policy_id)
    return row


async def get_rbac_policy(neutron: Neutron, ctx: Context, policy_id: str) -> dict[str, Any]:
    async with neutron.db.read() as tx:
        return _record(await _load(neutron, ctx, tx, policy_id))


def _check_target(neutron: Neutron, ctx: Context, action: str, target: str) -> None:
    if target != "*" and not is_uuid(target):
        raise errors.InvalidInput(reason=f"'{target}' is not a valid target project ID; expected a UUID or '*'")
    if target == "*" and not neutron.policy.check(f"{action}_rbac_policy:target_tenant", ctx.identity):
        raise errors.PolicyNotAuthorized(f"(rule:{action}_rbac_policy and rule:{action}_rbac_policy:target_tenant) is "
                                         "disallowed by policy")


async def create_rbac_policies(neutron: Neutron, ctx: Context, wishes: list[Wish],
                               attributes: Any) -> list[dict[str, Any]]:
    """Open objects; only their owners and administrators may.  Raises DuplicateRbacPolicy, InvalidInput."""
    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            values = wish.values
            access.authorize(neutron, ctx, "create_rbac_policy", values)
            _check_target(neutron, ctx, "create", values["target_tenant"])
            if values["object_type"] not in OBJECTS:
                raise errors.InvalidInput(reason=f"'{values['object_type']}' is not a valid RBAC object type")
            objects, actions = OBJECTS[values["object_type"]]
            if values["action"] not in actions:
                raise errors.InvalidInput(reason=f"'{values['action']}' is not a valid action for a "
                                                 f"{values['object_type']}; expected one of {list(actions)}")
            await _check_object(neutron, ctx, tx, objects, values)
            await quotas.check(tx, values["project_id"], "rbac_policy")
            made.append(await _insert(tx, values))
        rows = {row.id: row for row in await listing.by_ids(tx, sa.select(table), table.c.id, made)}
    return [_record(rows[policy_id]) for policy_id in made]


async def _check_object(neutron: Neutron, ctx: Context, tx: Tx, objects: sa.Table, values: dict[str, Any]) -> None:
    row = await tx.first(sa.select(objects.c.id, objects.c.project_id).where(
        objects.c.id == values["object_id"], *access.visible(neutron, ctx, objects, values["object_type"])))
    if row is None:
        raise errors.RbacPolicyNotFound(f"The {values['object_type']} {values['object_id']} could not be found.")
    if row.project_id != ctx.project_id and not access.is_admin(neutron, ctx):
        raise errors.InvalidInput(reason=f"Only admins can manipulate policies on {values['object_type']} objects "
                                         "they do not own")
    if values["action"] == access.EXTERNAL and not access.is_admin(neutron, ctx):
        # the host takes an address in an external network: a range of the user's choice would lead the host's own
        # traffic to him.  The network's attribute router:external is the administrator's for the same reason.
        raise errors.PolicyNotAuthorized("Only administrators make networks external (action access_as_external)")


async def _insert(tx: Tx, values: dict[str, Any]) -> str:
    key = {"object_type": values["object_type"], "object_id": values["object_id"], "action": values["action"],
           "target_project": values["target_tenant"]}
    if await tx.scalar(sa.select(table.c.id).where(*[table.c[name] == value for name, value in key.items()])):
        raise errors.DuplicateRbacPolicy()
    policy_id = str(uuid.uuid4())
    await tx.execute(sa.insert(table).values(id=policy_id, project_id=values["project_id"], **key))
    if values["action"] == access.EXTERNAL:
        await networks.touch(tx, models.networks, values["object_id"], external=True)
    return policy_id


async def update_rbac_policy(neutron: Neutron, ctx: Context, policy_id: str, wish: Wish) -> dict[str, Any]:
    """Name another target."""
    async with neutron.db.write() as tx:
        row = await _load(neutron, ctx, tx, policy_id)
        access.authorize(neutron, ctx, "update_rbac_policy", dict(row._mapping))
        target = wish.values.get("target_tenant", row.target_project)
        if target != row.target_project:
            _check_target(neutron, ctx, "update", target)
            await _check_unused(tx, row)
            twin = await tx.scalar(sa.select(table.c.id).where(
                table.c.object_type == row.object_type, table.c.object_id == row.object_id,
                table.c.action == row.action, table.c.target_project == target))
            if twin is not None:
                raise errors.DuplicateRbacPolicy()
            await tx.execute(sa.update(table).where(table.c.id == policy_id).values(target_project=target))
        return _record(await _load(neutron, ctx, tx, policy_id))


async def delete_rbac_policy(neutron: Neutron, ctx: Context, policy_id: str, expected: int | None = None) -> None:
    """Close an object again; RbacPolicyInUse while somebody uses it by this policy."""
    async with neutron.db.write() as tx:
        row = await _load(neutron, ctx, tx, policy_id)
        access.authorize(neutron, ctx, "delete_rbac_policy", dict(row._mapping))
        await _check_unused(tx, row)
        await tx.execute(sa.delete(table).where(table.c.id == policy_id))
        if row.action == access.EXTERNAL and not await tx.scalar(sa.select(table.c.id).where(
                table.c.object_id == row.object_id, table.c.action == access.EXTERNAL).limit(1)):
            await networks.touch(tx, models.networks, row.object_id, external=False)


async def _check_unused(tx: Tx, row: Any) -> None:
    """Nobody depends on the policy: no port (or group member) of a project that has no other way to the object."""
    if row.object_type == qos_policies.TYPE:
        policy = await tx.first(sa.select(models.qos_policies).where(models.qos_policies.c.id == row.object_id))
        if policy is not None:
            await qos_policies.check_unshared(tx, policy.id, policy.project_id, row.target_project)
        return
    if row.object_type not in ("network", "security_group"):
        return
    objects, ports = OBJECTS[row.object_type][0], models.ports
    owner = sa.select(objects.c.project_id).where(objects.c.id == row.object_id).scalar_subquery()
    others = sa.select(table.c.target_project).where(table.c.object_id == row.object_id, table.c.id != row.id)
    if row.object_type == "network":
        users = sa.select(ports.c.id).where(ports.c.network_id == row.object_id,
                                            ports.c.device_owner.not_like("network:%"))
        if row.action == access.EXTERNAL:
            users = sa.select(ports.c.id).where(ports.c.network_id == row.object_id, ports.c.device_owner.in_(
                ("network:router_gateway", "network:floatingip")))
    else:
        members = models.port_security_groups
        users = sa.select(ports.c.id).join(members, members.c.port_id == ports.c.id).where(
            members.c.security_group_id == row.object_id)
    users = users.where(ports.c.project_id != owner, ports.c.project_id.not_in(others), sa.literal("*").not_in(others))
    if row.target_project != "*":
        users = users.where(ports.c.project_id == row.target_project)
    if await tx.scalar(users.limit(1)) is not None:
        raise errors.RbacPolicyInUse(id=row.object_id)
