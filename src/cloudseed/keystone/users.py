"""Users: who can log in."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import utcnow
from cloudseed.keystone import checks, compliance, directory, revocations, rows
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from cloudseed.keystone.lists import Filters, fetch
from cloudseed.keystone.models import assignments, groups, memberships, users
from cloudseed.keystone.passwords import MAX_LENGTH
from cloudseed.keystone.projects import own_domain
from cloudseed.keystone.state import Keystone
from cloudseed.keystone.targets import target

OPTIONS: Mapping[str, type] = {
    "ignore_change_password_upon_first_use": bool, "ignore_password_expiry": bool,
    "ignore_lockout_failure_attempts": bool, "ignore_user_inactivity": bool, "lock_password": bool,
    "multi_factor_auth_enabled": bool, "multi_factor_auth_rules": list}


def check_options(current: Mapping[str, Any], patch: Mapping[str, Any] | None) -> dict[str, Any]:
    merged = checks.merge_options(current, patch, OPTIONS)
    for rule in merged.get("multi_factor_auth_rules") or []:
        if not isinstance(rule, list) or not rule or not all(isinstance(method, str) and method for method in rule):
            raise Invalid("Invalid input for field/attribute options. multi_factor_auth_rules must be a list of "
                          "lists of methods.")
    return merged


def check_password(password: str | None) -> None:
    if password is not None and (not password or len(password) > MAX_LENGTH):
        raise Invalid(f"Invalid input for field/attribute password. It must have 1 to {MAX_LENGTH} characters.")


async def get_user(ks: Keystone, ctx: Context, user_id: str, rule: str = "get_user") -> Record:
    """Raises NotFound, or Forbidden to those who may not know."""
    row = await directory.find_user(ks, user_id)
    ks.enforce(ctx, rule, target("user", row))
    if row is None:
        raise NotFound("user", user_id)
    return row


async def list_users(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    rows.keep_to_own_domain(ks, ctx, "list_users", "target.domain_id", filters)
    async with ks.db.read() as tx:
        return await fetch(tx, users, filters, "user")


async def create_user(ks: Keystone, ctx: Context, *, name: str, domain_id: str | None, password: str | None,
                      enabled: bool, default_project_id: str | None, options: dict[str, Any] | None,
                      extra: dict[str, Any]) -> Record:
    domain_id = domain_id or own_domain(ctx)
    ks.enforce(ctx, "create_user", {"target.user.domain_id": domain_id})
    if await directory.find_domain(ks, domain_id) is None:
        raise NotFound("domain", domain_id)
    check_password(password)
    values = {"id": uuid.uuid4().hex, "name": checks.check_name("name", name), "domain_id": domain_id,
              "enabled": enabled, "default_project_id": await _default_project(ks, default_project_id),
              "options": check_options({}, options), "extra": extra}
    if password is not None:
        values |= {"password_hash": await ks.passwords.hash(password), "password_created_at": utcnow()}
    conflict = Conflict("user", f"Duplicate entry found with name {name} at domain ID {domain_id}")
    async with ks.changing(ctx, conflict=conflict, forget=False) as tx:
        return await rows.add(tx, users, values)


async def _default_project(ks: Keystone, project_id: str | None) -> str | None:
    if project_id is not None:
        checks.check_text("default_project_id", project_id, minimum=1, maximum=64)
        row = await directory.find_project(ks, project_id)
        if row is not None and row.is_domain:
            raise Invalid("User's default project ID cannot be a domain ID.")
    return project_id


async def update_user(ks: Keystone, ctx: Context, user_id: str, patch: dict[str, Any],
                      extra: dict[str, Any]) -> Record:
    row = await get_user(ks, ctx, user_id, "update_user")
    rows.check_patch("user", row, patch, extra)
    if patch.get("default_project_id"):
        await _default_project(ks, patch["default_project_id"])
    if "options" in patch:
        patch["options"] = check_options(row.options, patch["options"])
    ends_tokens = patch.get("enabled") is False
    if "password" in patch:
        password = patch.pop("password")
        check_password(password)
        if password is not None and row.options.get("lock_password") and patch.get("options", row.options).get(
                "lock_password"):
            raise Invalid(f"The password of user {user_id} is locked (option lock_password).")
        patch |= {"password_hash": None if password is None else await ks.passwords.hash(password),
                  "password_created_at": utcnow(), "password_expires_at": None}
        ends_tokens = True
    async with ks.changing(ctx, conflict=Conflict("user", f"the name {patch.get('name')} is taken")) as tx:
        if "password_hash" in patch:
            await compliance.keep(ks, tx, row)
        if patch.get("enabled"):
            await compliance.unlock(tx, user_id)
        if ends_tokens:
            await revocations.revoke(tx, user_id=user_id)
        return await rows.change(tx, users, "user", user_id, patch)


async def delete_user(ks: Keystone, ctx: Context, user_id: str) -> None:
    await get_user(ks, ctx, user_id, "delete_user")
    async with ks.changing(ctx) as tx:
        await tx.execute(sa.delete(assignments).where(assignments.c.actor_kind == "user",
                                                      assignments.c.actor_id == user_id))
        await tx.execute(sa.delete(users).where(users.c.id == user_id))


async def change_password(ks: Keystone, ctx: Context, user_id: str, original: str, new: str) -> None:
    """By the user, who proves knowledge of the old one; needs no token.  Ends all the user's tokens."""
    row = await directory.find_user(ks, user_id)
    check_password(new)
    right = await ks.passwords.verify(original[:MAX_LENGTH + 1], row.password_hash if row is not None else None)
    await compliance.check_lockout(ks, row, right)
    if row is None or not right or not row.enabled:
        raise Unauthenticated(f"wrong original password or no such user: {user_id}")
    if row.options.get("lock_password"):
        raise Forbidden(f"The password of user {user_id} is locked (option lock_password).")
    await compliance.check_history(ks, row, new)
    hashed = await ks.passwords.hash(new)
    async with ks.changing(ctx) as tx:
        await compliance.keep(ks, tx, row)
        await tx.execute(sa.update(users).where(users.c.id == user_id, users.c.password_hash == row.password_hash)
                         .values(password_hash=hashed, password_created_at=utcnow(), password_expires_at=None))
        await revocations.revoke(tx, user_id=user_id)


async def groups_of_user(ks: Keystone, ctx: Context, user_id: str, filters: Filters) -> list[Record]:
    await get_user(ks, ctx, user_id, "list_groups_for_user")
    statement = sa.select(groups).join(memberships, memberships.c.group_id == groups.c.id).where(
        memberships.c.user_id == user_id)
    async with ks.db.read() as tx:
        return await fetch(tx, groups, filters, "group", statement)
