"""Groups of users: what a group may do, its members may."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.keystone import checks, directory, rows
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Conflict, NotFound
from cloudseed.keystone.lists import Filters, fetch
from cloudseed.keystone.models import assignments, groups, memberships, users
from cloudseed.keystone.projects import own_domain
from cloudseed.keystone.state import Keystone
from cloudseed.keystone.targets import target


async def find_group(ks: Keystone, group_id: str) -> Record | None:
    async with ks.db.read() as tx:
        return await tx.first(sa.select(groups).where(groups.c.id == group_id))


async def get_group(ks: Keystone, ctx: Context, group_id: str, rule: str = "get_group") -> Record:
    row = await find_group(ks, group_id)
    ks.enforce(ctx, rule, target("group", row))
    if row is None:
        raise NotFound("group", group_id)
    return row


async def list_groups(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    rows.keep_to_own_domain(ks, ctx, "list_groups", "target.group.domain_id", filters)
    async with ks.db.read() as tx:
        return await fetch(tx, groups, filters, "group")


async def create_group(ks: Keystone, ctx: Context, *, name: str, domain_id: str | None, description: str,
                       extra: dict[str, Any]) -> Record:
    domain_id = domain_id or own_domain(ctx)
    ks.enforce(ctx, "create_group", {"target.group.domain_id": domain_id})
    if await directory.find_domain(ks, domain_id) is None:
        raise NotFound("domain", domain_id)
    checks.check_text("description", description)
    values = {"id": uuid.uuid4().hex, "name": checks.check_name("name", name), "domain_id": domain_id,
              "description": description, "extra": extra}
    conflict = Conflict("group", f"Duplicate entry found with name {name} at domain ID {domain_id}")
    async with ks.changing(ctx, conflict=conflict, forget=False) as tx:
        return await rows.add(tx, groups, values)


async def update_group(ks: Keystone, ctx: Context, group_id: str, patch: dict[str, Any],
                       extra: dict[str, Any]) -> Record:
    row = await get_group(ks, ctx, group_id, "update_group")
    rows.check_patch("group", row, patch, extra)
    if "description" in patch and patch["description"] is None:
        patch["description"] = ""
    async with ks.changing(ctx, conflict=Conflict("group", f"the name {patch.get('name')} is taken"),
                           forget=False) as tx:
        return await rows.change(tx, groups, "group", group_id, patch)


async def delete_group(ks: Keystone, ctx: Context, group_id: str) -> None:
    await get_group(ks, ctx, group_id, "delete_group")
    async with ks.changing(ctx) as tx:
        await tx.execute(sa.delete(assignments).where(assignments.c.actor_kind == "group",
                                                      assignments.c.actor_id == group_id))
        await tx.execute(sa.delete(groups).where(groups.c.id == group_id))


async def users_in_group(ks: Keystone, ctx: Context, group_id: str, filters: Filters) -> list[Record]:
    await get_group(ks, ctx, group_id, "list_users_in_group")
    statement = sa.select(users).join(memberships, memberships.c.user_id == users.c.id).where(
        memberships.c.group_id == group_id)
    async with ks.db.read() as tx:
        return await fetch(tx, users, filters, "user", statement)


async def _both(ks: Keystone, ctx: Context, group_id: str, user_id: str, rule: str) -> None:
    group, user = await find_group(ks, group_id), await directory.find_user(ks, user_id)
    ks.enforce(ctx, rule, {**target("group", group), **target("user", user)})
    if user is None:
        raise NotFound("user", user_id)
    if group is None:
        raise NotFound("group", group_id)


async def check_member(ks: Keystone, ctx: Context, group_id: str, user_id: str) -> None:
    await _both(ks, ctx, group_id, user_id, "check_user_in_group")
    if group_id not in await directory.group_ids(ks, user_id):
        raise NotFound("user in group", f"{user_id} in {group_id}")


async def add_member(ks: Keystone, ctx: Context, group_id: str, user_id: str) -> None:
    await _both(ks, ctx, group_id, user_id, "add_user_to_group")
    async with ks.changing(ctx) as tx:
        known = await tx.first(sa.select(memberships).where(memberships.c.user_id == user_id,
                                                            memberships.c.group_id == group_id))
        if known is None:
            await tx.execute(sa.insert(memberships).values(user_id=user_id, group_id=group_id))


async def remove_member(ks: Keystone, ctx: Context, group_id: str, user_id: str) -> None:
    await _both(ks, ctx, group_id, user_id, "remove_user_from_group")
    async with ks.changing(ctx) as tx:
        gone = await tx.execute(sa.delete(memberships).where(memberships.c.user_id == user_id,
                                                             memberships.c.group_id == group_id))
    if gone.rowcount == 0:
        raise NotFound("user in group", f"{user_id} in {group_id}")
