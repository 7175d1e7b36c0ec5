"""What a token is for: a project, a domain, the system, or nothing; and which roles the user has there.

Roles come from assignments to the user and to the user's groups, on the target itself or inherited from what it
lies in, and with all that they imply.  Only global roles are named; a domain's own role counts through what it
implies.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from cloudseed.keystone import directory
from cloudseed.keystone.directory import Record
from cloudseed.keystone.models import assignments
from cloudseed.keystone.state import Keystone

PROJECT, DOMAIN, SYSTEM, UNSCOPED = "project", "domain", "system", ""


class Scope(NamedTuple):
    """`kind` is one of the constants above; `id` is "all" for the system, empty when unscoped."""

    kind: str
    id: str


NOTHING = Scope(UNSCOPED, "")
WHOLE_SYSTEM = Scope(SYSTEM, "all")


async def assigned_role_ids(ks: Keystone, user_id: str, scope: Scope) -> frozenset[str]:
    """Ids of the roles that assignments give a user there, without what they imply."""
    async def load() -> frozenset[str]:
        table = assignments.c
        groups = await directory.group_ids(ks, user_id)
        actor = sa.or_(sa.and_(table.actor_kind == "user", table.actor_id == user_id),
                       sa.and_(table.actor_kind == "group", table.actor_id.in_(groups)))
        target = sa.and_(table.target_kind == scope.kind, table.target_id == scope.id, table.inherited.is_(False))
        if scope.kind == PROJECT:
            above = await directory.ancestors(ks, scope.id)
            inherited = [sa.and_(table.target_kind == (DOMAIN if row.is_domain else PROJECT),
                                 table.target_id == row.id) for row in above]
            if inherited:
                target = sa.or_(target, sa.and_(table.inherited.is_(True), sa.or_(*inherited)))
        async with ks.db.read() as tx:
            return frozenset(await tx.scalars(sa.select(table.role_id).where(actor, target)))
    return await ks.memory.recall(("assigned", user_id, scope), load)


async def roles_on(ks: Keystone, user_id: str, scope: Scope) -> list[Record]:
    """The global roles that a user effectively has there, by name; empty when there are none."""
    assigned = await assigned_role_ids(ks, user_id, scope)
    return await name_roles(ks, set(assigned))


async def name_roles(ks: Keystone, role_ids: set[str]) -> list[Record]:
    """These roles and all that they imply, as a token names them."""
    if not role_ids:
        return []
    known = await directory.all_roles(ks)
    wanted = directory.with_implied(role_ids, await directory.implications(ks))
    return sorted((known[i] for i in wanted if i in known and known[i].domain_id is None), key=lambda row: row.name)
