"""Server groups: servers that belong together on hosts, or apart.  The scheduler reads policy and members."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import Invalid, NotFound, OverQuota
from cloudseed.nova import quotas
from cloudseed.nova.models import server_group_members, server_groups, servers

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

Group = sa.Row[Any]


async def list_groups(nova: Nova, ctx: Context, *, everybodys: bool, limit: int,
                      offset: int) -> tuple[list[Group], dict[str, list[str]]]:
    """Groups by name, and the members of each."""
    query = sa.select(server_groups).order_by(server_groups.c.name, server_groups.c.id)
    if not everybodys:
        query = query.where(server_groups.c.project_id == ctx.project_id)
    async with nova.db.read() as tx:
        rows = list(await tx.all(query.limit(limit).offset(offset)))
        return rows, await _members(tx, [row.id for row in rows])


async def _members(tx: Tx, ids: Iterable[str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    joined = server_group_members.join(servers, servers.c.id == server_group_members.c.server_id)
    for row in await tx.all(sa.select(server_group_members).select_from(joined).where(
            server_group_members.c.group_id.in_(list(ids)), servers.c.deleted_at.is_(None))
            .order_by(servers.c.created_at)):
        members.setdefault(row.group_id, []).append(row.server_id)
    return members


async def get_group(nova: Nova, ctx: Context, group_id: str, rule: str) -> tuple[Group, list[str]]:
    async with nova.db.read() as tx:
        row = await _find(nova, tx, ctx, group_id)
        nova.policy.enforce(rule, ctx.identity, {"project_id": row.project_id, "user_id": row.user_id})
        return row, (await _members(tx, [group_id])).get(group_id, [])


async def _find(nova: Nova, tx: Tx, ctx: Context, group_id: str) -> Group:
    row = await tx.first(sa.select(server_groups).where(server_groups.c.id == group_id))
    if row is None or (row.project_id != ctx.project_id
                       and not nova.policy.check("context_is_admin", ctx.identity)):
        raise NotFound(f"Instance group {group_id} could not be found.")
    return row


async def create_group(nova: Nova, ctx: Context, name: str, policy: str, rules: dict[str, int]) -> Group:
    group_id = str(uuid.uuid4())
    async with nova.db.write() as tx:
        for user_id in (None, ctx.user_id):
            limit = (await quotas.get_limits(tx, ctx.project_id, user_id))["server_groups"]
            used = (await quotas.get_usage_by_resource(tx, ctx.project_id, user_id))["server_groups"]
            if 0 <= limit <= used:
                raise OverQuota("Quota exceeded, too many server groups.")
        await tx.execute(sa.insert(server_groups).values(
            id=group_id, project_id=ctx.project_id, user_id=ctx.user_id, name=name, policy=policy, rules=rules))
        return await _find(nova, tx, ctx, group_id)


async def delete_group(nova: Nova, ctx: Context, group_id: str) -> None:
    """Forget the group; its servers stay."""
    async with nova.db.write() as tx:
        row = await _find(nova, tx, ctx, group_id)
        nova.policy.enforce("os_compute_api:os-server-groups:delete", ctx.identity,
                            {"project_id": row.project_id, "user_id": row.user_id})
        await tx.execute(sa.delete(server_group_members).where(server_group_members.c.group_id == group_id))
        await tx.execute(sa.delete(server_groups).where(server_groups.c.id == group_id))


async def check_group(nova: Nova, ctx: Context, group_id: str) -> None:
    """A group that a new server names must be the project's.  Raises Invalid."""
    async with nova.db.read() as tx:
        row = await tx.first(sa.select(server_groups.c.id).where(
            server_groups.c.id == group_id, server_groups.c.project_id == ctx.project_id))
    if row is None:
        raise Invalid(f"Instance group {group_id} could not be found.")


async def check_room(nova: Nova, tx: Tx, ctx: Context, group_id: str, count: int) -> None:
    """There is room for `count` more members, and the group is still there.  Raises OverQuota, Invalid."""
    if await tx.first(sa.select(server_groups.c.id).where(server_groups.c.id == group_id)) is None:
        raise Invalid(f"Instance group {group_id} could not be found.")
    limit = (await quotas.get_limits(tx, ctx.project_id, ctx.user_id))["server_group_members"]
    if 0 <= limit < await quotas.count_group_members(tx, group_id, ctx.user_id) + count:
        raise OverQuota("Quota exceeded, too many servers in group")
