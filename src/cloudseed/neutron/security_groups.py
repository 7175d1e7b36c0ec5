"""Security groups and their rules: what may reach a port, and what it may send.

A project's default group is made when the project is first seen; unless an administrator has it otherwise
(`default_security_group_rules.py`), everything may go out, and in what comes from its own members.  Every project
has exactly one; the table's key says so.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import (
    access,
    default_security_group_rules,
    default_statefulness,
    listing,
    models,
    quotas,
    rule_records,
)
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.converters import boolean
from cloudseed.neutron.errors import (
    SecurityGroupCannotRemoveDefault,
    SecurityGroupCannotUpdateDefault,
    SecurityGroupDefaultAlreadyExists,
    SecurityGroupInUse,
    SecurityGroupNotFound,
)
from cloudseed.neutron.networks import touch
from cloudseed.neutron.server import Neutron, now

table = models.security_groups
rules = models.security_group_rules
defaults = models.default_security_groups


_DEFAULT = sa.select(defaults.c.security_group_id).where(defaults.c.project_id == sa.bindparam("project_id"))


def _shared(values: list[str], ctx: Context) -> sa.ColumnElement[bool]:
    shared = table.c.id.in_(access.shared_ids(ctx, "security_group"))
    return sa.or_(*[shared if boolean(value) else sa.not_(shared) for value in values])


SPEC = listing.spec(table, SecurityGroupNotFound, special={"shared": _shared})


def _select(ctx: Context) -> sa.Select[Any]:
    return sa.select(table, access.shared_column(ctx, table, "security_group"))


async def _records(tx: Tx, rows: list[Any]) -> list[dict[str, Any]]:
    found: dict[str, list[dict[str, Any]]] = {row.id: [] for row in rows}
    for rule in await rule_records.of_groups(tx, list(found)):
        found[rule["security_group_id"]].append(rule)
    return [{"id": row.id, "name": row.name, "stateful": row.stateful, "tenant_id": row.project_id,
             "project_id": row.project_id, "description": row.description or "", "shared": bool(row.shared),
             "security_group_rules": found[row.id], "tags": row.tags, "created_at": row.created_at,
             "updated_at": row.updated_at, "revision_number": row.revision_number} for row in rows]


# ---- the default group

async def ensure_default(tx: Tx, project_id: str) -> str:
    """The id of the project's default group, made when missing."""
    known = (await tx.execute(_DEFAULT, {"project_id": project_id})).scalar()
    if known is not None:
        return str(known)
    stateful = await default_statefulness.of_project(tx, project_id)
    group_id = await _insert(tx, project_id, "default", "Default security group", stateful, [], default=True)
    await tx.execute(sa.insert(defaults).values(project_id=project_id, security_group_id=group_id))
    return group_id


async def _insert(tx: Tx, project_id: str, name: str, description: str, stateful: bool, tags: list[str], *,
                  default: bool = False) -> str:
    """A group with the rules that new ones begin with."""
    group_id, moment = str(uuid.uuid4()), now()
    await tx.execute(sa.insert(table).values(
        id=group_id, project_id=project_id, name=name, description=description, stateful=stateful, tags=tags,
        created_at=moment, updated_at=moment, revision_number=1))
    first = await default_security_group_rules.rules_for(tx, group_id, project_id, default)
    if not default:
        await quotas.check(tx, project_id, "security_group_rule", len(first))
    if first:
        await tx.execute(sa.insert(rules), first)
    return group_id


async def make_default(neutron: Neutron, ctx: Context) -> None:
    """See to it that the caller's project has its default group."""
    if not ctx.project_id:
        return
    async with neutron.db.read() as tx:
        known = (await tx.execute(_DEFAULT, {"project_id": ctx.project_id})).scalar()
    if known is None:
        async with neutron.db.write() as tx:
            await ensure_default(tx, ctx.project_id)


# ---- the API's operations

async def list_security_groups(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    """The visible groups with their rules."""
    await make_default(neutron, ctx)
    async with neutron.db.read() as tx:
        statement = _select(ctx).where(*access.visible(neutron, ctx, table, "security_group"))
        return await _records(tx, await listing.page(tx, statement, SPEC, query, ctx))


async def load(neutron: Neutron, ctx: Context, tx: Tx, group_id: str) -> Any:
    """A visible group's row; SecurityGroupNotFound."""
    row = await tx.first(_select(ctx).where(table.c.id == group_id,
                                            *access.visible(neutron, ctx, table, "security_group")))
    if row is None:
        raise SecurityGroupNotFound(id=group_id)
    return row


async def get_security_group(neutron: Neutron, ctx: Context, group_id: str) -> dict[str, Any]:
    """One visible group."""
    async with neutron.db.read() as tx:
        return (await _records(tx, [await load(neutron, ctx, tx, group_id)]))[0]


async def create_security_groups(neutron: Neutron, ctx: Context, wishes: list[Wish],
                                 attributes: Any) -> list[dict[str, Any]]:
    """Create groups; the name "default" is taken by the project's own."""
    async with neutron.db.write() as tx:
        made = []
        for wish in wishes:
            values = wish.values
            access.authorize(neutron, ctx, "create_security_group", values, wish.differs(attributes))
            await ensure_default(tx, values["project_id"])
            if values["name"] == "default":
                raise SecurityGroupDefaultAlreadyExists()
            await quotas.check(tx, values["project_id"], "security_group")
            if values["stateful"] is None:
                values["stateful"] = await default_statefulness.of_project(tx, values["project_id"])
            made.append(await _insert(tx, values["project_id"], values["name"], values["description"],
                                      values["stateful"], values["tags"]))
        records = {r["id"]: r for r in await _records(tx, await listing.by_ids(tx, _select(ctx), table.c.id, made))}
    return [records[group_id] for group_id in made]


async def _is_default(tx: Tx, group_id: str) -> bool:
    return await tx.scalar(sa.select(defaults.c.project_id)
                           .where(defaults.c.security_group_id == group_id)) is not None


async def update_security_group(neutron: Neutron, ctx: Context, group_id: str, wish: Wish) -> dict[str, Any]:
    """Change a group.  The default's name stays; `stateful` only while no port uses the group."""
    values = wish.values
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, group_id)
        access.check_revision(row, wish.expected_revision)
        access.authorize(neutron, ctx, "update_security_group", dict(row._mapping), values)
        if "name" in values and values["name"] != row.name and await _is_default(tx, group_id):
            raise SecurityGroupCannotUpdateDefault()
        if values.get("name") == "default" != row.name:
            raise SecurityGroupDefaultAlreadyExists()
        if values.get("stateful", row.stateful) != row.stateful and await _used(tx, group_id):
            raise SecurityGroupInUse(id=group_id, reason="in use")
        await touch(tx, table, group_id, **values)
        record = (await _records(tx, [await load(neutron, ctx, tx, group_id)]))[0]
    await neutron.look_again(ctx)
    return record


async def _used(tx: Tx, group_id: str) -> bool:
    members = models.port_security_groups
    return await tx.scalar(sa.select(members.c.port_id).where(members.c.security_group_id == group_id)
                           .limit(1)) is not None


async def delete_security_group(neutron: Neutron, ctx: Context, group_id: str, expected: int | None = None) -> None:
    """Remove a group and its rules, also those elsewhere that name it; not while a port uses it."""
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, group_id)
        access.check_revision(row, expected)
        access.authorize(neutron, ctx, "delete_security_group", dict(row._mapping))
        if await _used(tx, group_id):
            raise SecurityGroupInUse(id=group_id, reason="in use")
        if await _is_default(tx, group_id) and not access.is_admin(neutron, ctx):
            raise SecurityGroupCannotRemoveDefault()
        rbac = models.rbac_policies
        await tx.execute(sa.delete(rbac).where(rbac.c.object_type == "security_group", rbac.c.object_id == group_id))
        await tx.execute(sa.delete(table).where(table.c.id == group_id))
    await neutron.look_again(ctx)


async def check_groups(neutron: Neutron, ctx: Context, tx: Tx, group_ids: list[str], project_id: str) -> None:
    """Every group exists and may be used by a port of `project_id`; SecurityGroupNotFound names the first that
    may not."""
    conditions = access.visible(neutron, ctx, table, "security_group")
    found = set(await tx.scalars(sa.select(table.c.id).where(table.c.id.in_(group_ids), *conditions)))
    for group_id in group_ids:
        if group_id not in found:
            raise SecurityGroupNotFound(id=group_id)
