"""Who may see and do what: the policy's rules on records, and the same visibility as SQL for lists.

A thing that somebody may not see is not found (404); one that he sees and may not change is forbidden (403).
Visible are one's own, what is shared through an RBAC policy, and, for administrators and services, everything.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.neutron import models
from cloudseed.neutron.errors import PolicyNotAuthorized, RevisionNumberConstraintFailed
from cloudseed.neutron.server import Neutron

SHARED = "access_as_shared"
EXTERNAL = "access_as_external"


def is_admin(neutron: Neutron, ctx: Context) -> bool:
    return neutron.policy.check("context_is_admin", ctx.identity)


def sees_all(neutron: Neutron, ctx: Context) -> bool:
    """Administrators and other services."""
    return is_admin(neutron, ctx) or neutron.policy.check("service_api", ctx.identity)


def is_service(ctx: Context) -> bool:
    """Another service asks, for itself or for a user."""
    return "service" in ctx.identity.roles


def authorize(neutron: Neutron, ctx: Context, action: str, target: dict[str, Any],
              attributes: Iterable[str] = ()) -> None:
    """`action` on a record, and `action:attribute` for each attribute that has such a rule; else PolicyNotAuthorized.

    `target` is the record (for a creation the checked wish, whose project is the caller's own unless he may name
    another); `network:project_id` in it is the owner of its network.
    """
    target = {**target, "tenant_id": target.get("project_id"), "network:tenant_id": target.get("network:project_id")}
    if not neutron.policy.check(action, ctx.identity, target):
        raise PolicyNotAuthorized(rule=action)
    for attribute in attributes:
        rule = f"{action}:{attribute}"
        if rule in neutron.policy.rules and not neutron.policy.check(rule, ctx.identity, target):
            raise PolicyNotAuthorized(f"(rule:{action} and rule:{rule}) is disallowed by policy")


def hidden(neutron: Neutron, ctx: Context, name: str, attributes: Iterable[str]) -> list[str]:
    """Attributes that the caller may not see (rules `get_<name>:<attribute>`, which look at the caller alone)."""
    return [attribute for attribute in attributes if f"get_{name}:{attribute}" in neutron.policy.rules
            and not neutron.policy.check(f"get_{name}:{attribute}", ctx.identity, {})]


def check_revision(row: Any, expected: int | None) -> None:
    if expected is not None and row.revision_number != expected:
        raise RevisionNumberConstraintFailed(expected=expected, current=row.revision_number)


# ---- visibility as SQL

def shared_ids(ctx: Context, object_type: str, *actions: str) -> sa.Select[tuple[str]]:
    """Ids of the objects that RBAC policies open to the caller's project."""
    rbac = models.rbac_policies.c
    return sa.select(rbac.object_id).where(
        rbac.object_type == object_type, rbac.action.in_(actions or (SHARED,)),
        rbac.target_project.in_(("*", ctx.project_id or "*")))


def own(ctx: Context, table: sa.Table) -> sa.ColumnElement[bool]:
    return table.c.project_id == ctx.project_id if ctx.project_id else sa.false()


def visible(neutron: Neutron, ctx: Context, table: sa.Table,
            object_type: str | None = None) -> list[sa.ColumnElement[bool]]:
    """Conditions under which rows of `table` are visible to the caller; none for who sees all."""
    if sees_all(neutron, ctx):
        return []
    mine = own(ctx, table)
    networks = models.networks
    if table is models.networks:
        return [mine | networks.c.id.in_(shared_ids(ctx, "network", SHARED, EXTERNAL))]
    if table is models.subnets:
        # those of external networks too: the extension subnet-external-network
        return [mine | table.c.network_id.in_(shared_ids(ctx, "network", SHARED, EXTERNAL))
                | table.c.network_id.in_(sa.select(networks.c.id).where(own(ctx, networks)))]
    if table is models.ports:
        return [mine | table.c.network_id.in_(sa.select(networks.c.id).where(own(ctx, networks)))]
    if object_type is not None:
        return [mine | table.c.id.in_(shared_ids(ctx, object_type))]
    return [mine]


def seen(neutron: Neutron, ctx: Context, build: Callable[[Context], sa.Select[Any]], table: sa.Table,
         object_type: str | None = None) -> sa.Select[Any]:
    """`build`'s statement, reduced to the rows of `table` that are visible to the caller.

    The same object for all callers who see the same: building it costs more than running it.  So `build` must look at
    nothing of the context but its project."""
    key = (build, table, object_type, sees_all(neutron, ctx), ctx.project_id)
    found = _seen.get(key)
    if found is None:
        if len(_seen) >= _SEEN_MOST:
            _seen.clear()
        found = _seen[key] = build(ctx).where(*visible(neutron, ctx, table, object_type))
    return found


_SEEN_MOST = 512
_seen: dict[tuple[Any, ...], sa.Select[Any]] = {}


@functools.lru_cache(512)
def by_id(statement: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    """A statement that `seen` gave, for the row with the id `this`."""
    return statement.where(table.c.id == sa.bindparam("this"))


def shared_column(ctx: Context, table: sa.Table, object_type: str) -> sa.ColumnElement[bool]:
    """`shared` as the caller sees it: an RBAC policy opens the row to everybody or to his project."""
    return _shared_column(ctx.project_id or "*", table, object_type)


@functools.lru_cache(256)  # it is in nearly every statement, and building it costs more than running it
def _shared_column(project_id: str, table: sa.Table, object_type: str) -> sa.ColumnElement[bool]:
    rbac = models.rbac_policies.c
    return sa.exists().where(rbac.object_id == table.c.id, rbac.object_type == object_type, rbac.action == SHARED,
                             rbac.target_project.in_(("*", project_id))).label("shared")
