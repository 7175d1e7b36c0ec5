"""GET /v3/role_assignments: who has which role where, as assigned or as effective.

Effective means: groups become their members, inherited assignments become assignments on what lies below, and
implied roles are added, each with a link to what it comes from.  The number of statements does not depend on the
number of assignments.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.keystone import directory, projects
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Invalid
from cloudseed.keystone.models import assignments, groups, memberships, roles, users
from cloudseed.keystone.models import projects as projects_table
from cloudseed.keystone.state import Keystone


class Query(msgspec.Struct, kw_only=True):
    """The query of the list; ids are None where nothing is asked."""

    user_id: str | None = None
    group_id: str | None = None
    role_id: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    system: bool = False
    inherited: bool | None = None
    effective: bool = False
    include_names: bool = False
    include_subtree: bool = False


class Assignment(NamedTuple):
    """`source`: the assignment as it stands, for the link; `implied_by`: the role that brought this one;
    `via_group`: the membership that brought it; `inherited`: shown as handed down."""

    actor_kind: str
    actor_id: str
    target_kind: str
    target_id: str
    role_id: str
    inherited: bool
    source: Record
    implied_by: str | None = None
    via_group: str | None = None


class Names(NamedTuple):
    """id -> record, for `include_names`."""

    users: dict[str, Record]
    groups: dict[str, Record]
    projects: dict[str, Record]
    roles: dict[str, Record]


def check_query(query: Query) -> None:
    if query.effective and query.group_id:
        raise Invalid("Combining effective and group filter will always result in an empty list.")
    if query.effective and query.domain_id and query.inherited:
        raise Invalid("Combining effective, domain and inherited filters will always result in an empty list.")
    if query.user_id and query.group_id:
        raise Invalid("Specify a user or group, not both.")
    if sum(map(bool, (query.project_id, query.domain_id, query.system))) > 1:
        raise Invalid("Specify a domain, a project or the system, not several of them.")
    if query.include_subtree and not query.project_id:
        raise Invalid("scope.project.id must be specified if include_subtree is also specified.")


async def list_assignments(ks: Keystone, ctx: Context, query: Query) -> tuple[list[Assignment], Names]:
    check_query(query)
    rule = "list_role_assignments_for_tree" if query.include_subtree else "list_role_assignments"
    target_domain = query.domain_id
    if query.project_id:
        project = await directory.find_project(ks, query.project_id)
        target_domain = (project.domain_id or project.id) if project is not None else None
    if target_domain is None and ctx.identity.domain_id:
        target_domain = ctx.identity.domain_id
    ks.enforce(ctx, rule, {"target.domain_id": target_domain})
    wanted = {query.project_id} if query.project_id else set()
    if query.project_id and query.include_subtree:
        wanted |= {row.id for row in await projects.subtree(ks, query.project_id)}
    async with ks.db.read() as tx:
        rows = await tx.all(await _statement(ks, query, wanted))
        found = [Assignment(row.actor_kind, row.actor_id, row.target_kind, row.target_id, row.role_id,
                            row.inherited, row) for row in rows]
        if query.effective:
            found = await _effective(ks, tx, found)
        found = [item for item in found if _fits(item, query, wanted)]
        if ctx.identity.domain_id and not ks.allows(ctx, rule, {}):
            found = await _within(tx, found, ctx.identity.domain_id)
        names = await _names(tx, found) if query.include_names else Names({}, {}, {}, {})
    return found, names


async def _statement(ks: Keystone, query: Query, wanted: set[str]) -> sa.Select[Any]:
    """What can matter for the answer, narrowed by the database as far as it can."""
    table = assignments.c
    statement = sa.select(assignments).order_by(table.actor_kind, table.actor_id, table.target_kind, table.target_id,
                                                table.role_id)
    if query.user_id:
        own = sa.and_(table.actor_kind == "user", table.actor_id == query.user_id)
        if query.effective:
            own = sa.or_(own, sa.and_(table.actor_kind == "group",
                                      table.actor_id.in_(await directory.group_ids(ks, query.user_id))))
        statement = statement.where(own)
    elif query.group_id:
        statement = statement.where(table.actor_kind == "group", table.actor_id == query.group_id)
    if query.system:
        statement = statement.where(table.target_kind == "system")
    if not query.effective:
        if query.role_id:
            statement = statement.where(table.role_id == query.role_id)
        if wanted:
            statement = statement.where(table.target_kind == "project", table.target_id.in_(wanted))
        if query.domain_id:
            statement = statement.where(table.target_kind == "domain", table.target_id == query.domain_id)
        if query.inherited is not None:
            statement = statement.where(table.inherited.is_(query.inherited))
    return statement


def _fits(item: Assignment, query: Query, wanted: set[str]) -> bool:
    return ((not query.role_id or item.role_id == query.role_id)
            and (not query.user_id or (item.actor_kind, item.actor_id) == ("user", query.user_id))
            and (not wanted or (item.target_kind == "project" and item.target_id in wanted))
            and (not query.domain_id or (item.target_kind, item.target_id) == ("domain", query.domain_id))
            and (not query.system or item.target_kind == "system")
            and (query.inherited is None or item.source.inherited is query.inherited))


async def _effective(ks: Keystone, tx: Tx, found: list[Assignment]) -> list[Assignment]:
    members: dict[str, list[str]] = {}
    for row in await tx.all(sa.select(memberships)):
        members.setdefault(row.group_id, []).append(row.user_id)
    children: dict[str, list[str]] = {}
    if any(item.inherited for item in found):
        for row in await tx.all(sa.select(projects_table.c.id, projects_table.c.parent_id)):
            children.setdefault(row.parent_id, []).append(row.id)
    implied = await directory.implications(ks)
    out: list[Assignment] = []
    for item in found:
        expanded = [item] if item.actor_kind == "user" else [
            item._replace(actor_kind="user", actor_id=user_id, via_group=item.actor_id)
            for user_id in members.get(item.actor_id, ())]
        for one in expanded:
            targets = _below(children, one.target_id) if one.inherited else [one.target_id]
            for target_id in targets:
                placed = one._replace(target_kind="project", target_id=target_id) if one.inherited else one
                out.append(placed)
                out.extend(placed._replace(role_id=role_id, implied_by=one.role_id)
                           for role_id in sorted(directory.with_implied({one.role_id}, implied) - {one.role_id}))
    # a domain's own roles matter by what they imply alone: no token names them
    known = await directory.all_roles(ks)
    return [item for item in out if item.role_id in known and known[item.role_id].domain_id is None]


def _below(children: dict[str, list[str]], root: str) -> list[str]:
    found, todo = [], list(children.get(root, ()))
    while todo:
        current = todo.pop()
        found.append(current)
        todo.extend(children.get(current, ()))
    return found


async def _within(tx: Tx, found: list[Assignment], domain_id: str) -> list[Assignment]:
    """For a domain's reader: what is assigned on the domain and on its projects."""
    inside = set(await tx.scalars(sa.select(projects_table.c.id).where(projects_table.c.domain_id == domain_id)))
    return [item for item in found if item.target_id == domain_id or item.target_id in inside]


async def _names(tx: Tx, found: list[Assignment]) -> Names:
    """The records behind the ids, a statement a table."""
    async def by_id(table: sa.Table, ids: set[str]) -> dict[str, Record]:
        return {row.id: row for row in await tx.all(sa.select(table).where(table.c.id.in_(ids)))} if ids else {}

    people = await by_id(users, {item.actor_id for item in found if item.actor_kind == "user"})
    sets = await by_id(groups, {item.actor_id for item in found if item.actor_kind == "group"})
    known_roles = await by_id(roles, {item.role_id for item in found})
    places = await by_id(projects_table, {item.target_id for item in found})
    homes = {row.domain_id for table in (people, sets, known_roles, places) for row in table.values()}
    places |= await by_id(projects_table, {home for home in homes if home} - set(places))
    return Names(people, sets, places, known_roles)
