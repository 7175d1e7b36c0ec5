"""Grants: a user or group has a role on a project, a domain or the system."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.keystone import directory
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Forbidden, NotFound
from cloudseed.keystone.groups import find_group
from cloudseed.keystone.models import assignments
from cloudseed.keystone.scopes import DOMAIN, PROJECT, SYSTEM, Scope
from cloudseed.keystone.state import Keystone
from cloudseed.keystone.targets import target


class Actor(NamedTuple):
    """`kind`: user or group."""

    kind: str
    id: str


class Grant(NamedTuple):
    """`inherited`: for the projects below the target, not for the target itself."""

    actor: Actor
    on: Scope
    inherited: bool = False

    def where(self) -> sa.ColumnElement[bool]:
        table = assignments.c
        return sa.and_(table.actor_kind == self.actor.kind, table.actor_id == self.actor.id,
                       table.target_kind == self.on.kind, table.target_id == self.on.id,
                       table.inherited.is_(self.inherited))


def _rule(grant: Grant, verb: str) -> str:
    """The rule's name: identity:list_grants, identity:list_system_grants_for_user, ..."""
    if grant.on.kind != SYSTEM:
        return f"{verb}_grants" if verb == "list" else f"{verb}_grant"
    return f"{verb}_system_grant{'s' if verb == 'list' else ''}_for_{grant.actor.kind}"


async def _enforce(ks: Keystone, ctx: Context, grant: Grant, verb: str, role_id: str | None = None) -> Record | None:
    """The role, after all that the grant names was found and the caller may do this with it."""
    role = (await directory.all_roles(ks)).get(role_id) if role_id is not None else None
    actor = await directory.find_user(ks, grant.actor.id) if grant.actor.kind == "user" \
        else await find_group(ks, grant.actor.id)
    on = None
    if grant.on.kind == PROJECT:
        on = await directory.find_project(ks, grant.on.id)
    elif grant.on.kind == DOMAIN:
        on = await directory.find_domain(ks, grant.on.id)
    ks.enforce(ctx, _rule(grant, verb), {**target("role", role), **target(grant.actor.kind, actor),
                                         **target(grant.on.kind, on)})
    if role_id is not None and role is None:
        raise NotFound("role", role_id)
    if on is None and grant.on.kind != SYSTEM:
        raise NotFound(grant.on.kind, grant.on.id)
    # a grant to somebody who is gone can still be revoked, as upstream allows
    if actor is None and verb != "revoke":
        raise NotFound(grant.actor.kind, grant.actor.id)
    # upstream asks this of projects alone; on a domain such a role is a record, which no token names
    if verb == "create" and grant.on.kind == PROJECT and role is not None and role.domain_id is not None \
            and on is not None and on.domain_id != role.domain_id:
        raise Forbidden(f"Project {on.id} must be in the same domain as the role {role.id} being assigned.")
    return role


async def list_grants(ks: Keystone, ctx: Context, grant: Grant) -> list[Record]:
    """The roles that are assigned directly."""
    await _enforce(ks, ctx, grant, "list")
    known = await directory.all_roles(ks)
    async with ks.db.read() as tx:
        ids = await tx.scalars(sa.select(assignments.c.role_id).where(grant.where()).order_by(assignments.c.role_id))
    return [known[role_id] for role_id in ids if role_id in known]


async def check_grant(ks: Keystone, ctx: Context, grant: Grant, role_id: str) -> None:
    await _enforce(ks, ctx, grant, "check", role_id)
    async with ks.db.read() as tx:
        if await tx.first(sa.select(assignments).where(grant.where(), assignments.c.role_id == role_id)) is None:
            raise _missing(grant, role_id)


def _missing(grant: Grant, role_id: str) -> NotFound:
    return NotFound("role assignment", f"role {role_id} of {grant.actor.kind} {grant.actor.id} on "
                                       f"{grant.on.kind} {grant.on.id}")


async def create_grant(ks: Keystone, ctx: Context, grant: Grant, role_id: str) -> None:
    await _enforce(ks, ctx, grant, "create", role_id)
    async with ks.changing(ctx) as tx:
        if await tx.first(sa.select(assignments).where(grant.where(), assignments.c.role_id == role_id)) is None:
            await tx.execute(sa.insert(assignments).values(
                actor_kind=grant.actor.kind, actor_id=grant.actor.id, target_kind=grant.on.kind,
                target_id=grant.on.id, role_id=role_id, inherited=grant.inherited))


async def revoke_grant(ks: Keystone, ctx: Context, grant: Grant, role_id: str) -> None:
    """Tokens that rested on it lose the role at once, and die when it was their last."""
    await _enforce(ks, ctx, grant, "revoke", role_id)
    async with ks.changing(ctx) as tx:
        gone = await tx.execute(sa.delete(assignments).where(grant.where(), assignments.c.role_id == role_id))
        if gone.rowcount == 0:
            raise _missing(grant, role_id)
