"""Who and what there is, by id and by name: looked up on every authentication, so remembered.

Everything here is a plain read; the nouns' own files change it.  A row is a frozen record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Row

from cloudseed.keystone.models import implied_roles, memberships, projects, roles, users
from cloudseed.keystone.state import Keystone

Record = Row[Any]


async def _first(ks: Keystone, key: tuple[str, ...], table: sa.Table,
                 where: Callable[[], sa.ColumnElement[bool]]) -> Record | None:
    """`where` is built only when the row is not remembered: building it costs more than remembering."""
    async def load() -> Record | None:
        async with ks.db.read() as tx:
            return await tx.first(sa.select(table).where(where()))
    return await ks.memory.recall(key, load)


async def find_user(ks: Keystone, user_id: str) -> Record | None:
    return await _first(ks, ("user", user_id), users, lambda: users.c.id == user_id)


async def find_user_by_name(ks: Keystone, domain_id: str, name: str) -> Record | None:
    return await _first(ks, ("user", domain_id, name), users,
                        lambda: sa.and_(users.c.domain_id == domain_id, users.c.name == name))


async def find_project(ks: Keystone, project_id: str) -> Record | None:
    """A project or a domain (`is_domain`)."""
    return await _first(ks, ("project", project_id), projects, lambda: projects.c.id == project_id)


async def find_domain(ks: Keystone, domain_id: str) -> Record | None:
    row = await find_project(ks, domain_id)
    return row if row is not None and row.is_domain else None


async def find_domain_by_name(ks: Keystone, name: str) -> Record | None:
    return await _first(ks, ("domain-name", name), projects,
                        lambda: sa.and_(projects.c.is_domain.is_(True), projects.c.name == name))


async def find_project_by_name(ks: Keystone, domain_id: str, name: str) -> Record | None:
    return await _first(ks, ("project", domain_id, name), projects, lambda: sa.and_(
        projects.c.is_domain.is_(False), projects.c.domain_id == domain_id, projects.c.name == name))


async def all_roles(ks: Keystone) -> Mapping[str, Record]:
    """Every role by id."""
    async def load() -> Mapping[str, Record]:
        async with ks.db.read() as tx:
            return {row.id: row for row in await tx.all(sa.select(roles))}
    return await ks.memory.recall(("roles",), load)


async def implications(ks: Keystone) -> Mapping[str, frozenset[str]]:
    """Prior role id -> the ids that it implies directly."""
    async def load() -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        async with ks.db.read() as tx:
            for row in await tx.all(sa.select(implied_roles)):
                found.setdefault(row.prior_role_id, set()).add(row.implied_role_id)
        return {prior: frozenset(ids) for prior, ids in found.items()}
    return await ks.memory.recall(("implied",), load)


async def group_ids(ks: Keystone, user_id: str) -> tuple[str, ...]:
    """The groups that a user is in."""
    async def load() -> tuple[str, ...]:
        async with ks.db.read() as tx:
            return tuple(await tx.scalars(sa.select(memberships.c.group_id).where(memberships.c.user_id == user_id)))
    return await ks.memory.recall(("groups-of", user_id), load)


async def ancestors(ks: Keystone, project_id: str) -> list[Record]:
    """What a project lies in, nearest first, its domain last."""
    found: list[Record] = []
    row = await find_project(ks, project_id)
    while row is not None and row.parent_id is not None:
        row = await find_project(ks, row.parent_id)
        if row is not None:
            found.append(row)
    return found


def with_implied(role_ids: set[str], implied: Mapping[str, frozenset[str]]) -> set[str]:
    """`role_ids` and all that they imply, directly or not."""
    found, todo = set(role_ids), list(role_ids)
    while todo:
        new = implied.get(todo.pop(), frozenset()) - found
        found |= new
        todo.extend(new)
    return found
