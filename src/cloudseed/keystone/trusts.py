"""Trusts: a user (the trustor) lets another (the trustee) act with some of the own roles on a project.

A trust is made by its trustor alone.  With `impersonation` the trustee's token names the trustor.  A trust may end
at a time or after a number of uses, and it ends when the trustor loses a role that it hands on (`meanings.py`).
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import utcnow
from cloudseed.keystone import directory, revocations, rows, scopes
from cloudseed.keystone.application_credentials import RoleRef, check_no_trust, check_unrestricted, parse_time
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Forbidden, Invalid, NotFound
from cloudseed.keystone.lists import Filters, fetch
from cloudseed.keystone.models import trusts
from cloudseed.keystone.scopes import PROJECT, Scope
from cloudseed.keystone.state import Keystone
from cloudseed.keystone.targets import target

MAX_REDELEGATION = 3


def is_alive(row: Record) -> bool:
    return row.deleted_at is None and (row.expires_at is None or row.expires_at > utcnow()) \
        and row.remaining_uses != 0


async def get_trust(ks: Keystone, ctx: Context, trust_id: str, rule: str = "get_trust") -> Record:
    async with ks.db.read() as tx:
        row = await tx.first(sa.select(trusts).where(trusts.c.id == trust_id))
    if row is None or not is_alive(row):
        raise NotFound("trust", trust_id)  # before the policy, as upstream: the trustor of a trust that was ends so
    ks.enforce(ctx, rule, target("trust", row))
    return row


async def list_trusts(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    """All for an administrator; one's own with the filter trustor_user_id or trustee_user_id."""
    asked = [side for side in ("trustor", "trustee") if f"{side}_user_id" in filters.exact]
    if not asked:
        ks.enforce(ctx, "list_trusts")
    for side in asked:
        ks.enforce(ctx, f"list_trusts_for_{side}", {
            f"target.trust.{side}_user_id": filters.exact[f"{side}_user_id"]})
    statement = sa.select(trusts).where(trusts.c.deleted_at.is_(None))
    async with ks.db.read() as tx:
        return [row for row in await fetch(tx, trusts, filters, "trust", statement) if is_alive(row)]


async def create_trust(ks: Keystone, ctx: Context, *, trustor_user_id: str, trustee_user_id: str,
                       project_id: str | None, impersonation: bool, roles: list[RoleRef], expires_at: str | None,
                       remaining_uses: int | None, allow_redelegation: bool, redelegation_count: int | None,
                       extra: dict[str, Any]) -> Record:
    ks.enforce(ctx, "create_trust", {"target.trust.trustor_user_id": trustor_user_id})
    check_no_trust(ctx)
    await check_unrestricted(ks, ctx)
    if remaining_uses is not None and not 1 <= remaining_uses < 2**31:
        raise Invalid("Invalid input for field/attribute remaining_uses. It must be a positive number.")
    if redelegation_count is not None and not 0 <= redelegation_count <= MAX_REDELEGATION:
        raise Forbidden(f"Requested redelegation depth must be within 0 to {MAX_REDELEGATION}.")
    if allow_redelegation and remaining_uses is not None:
        raise Invalid("A trust that may be handed on cannot have a number of uses.")
    if await directory.find_user(ks, trustee_user_id) is None:
        raise NotFound("user", trustee_user_id)
    role_ids = await _role_ids(ks, trustor_user_id, project_id, roles)
    values = {"id": uuid.uuid4().hex, "trustor_user_id": trustor_user_id, "trustee_user_id": trustee_user_id,
              "project_id": project_id, "impersonation": impersonation,
              "expires_at": parse_time("expires_at", expires_at), "remaining_uses": remaining_uses,
              "redelegation_count": (MAX_REDELEGATION if redelegation_count is None else redelegation_count)
              if allow_redelegation else 0, "redelegated_trust_id": None, "roles": role_ids, "extra": extra}
    async with ks.changing(ctx, forget=False) as tx:
        return await rows.add(tx, trusts, values)


async def _role_ids(ks: Keystone, trustor_id: str, project_id: str | None, wanted: list[RoleRef]) -> list[str]:
    """The trustor must have every role on the project."""
    if project_id is None:
        if wanted:
            raise Invalid("Roles of a trust need a project_id.")
        return []
    if await directory.find_project(ks, project_id) is None:
        raise NotFound("project", project_id)
    if not wanted:
        raise Forbidden("At least one role should be specified.")
    known = await directory.all_roles(ks)
    has = {row.id for row in await scopes.roles_on(ks, trustor_id, Scope(PROJECT, project_id))}
    ids = []
    for ref in wanted:
        found = known.get(ref.id) if ref.id is not None else next(
            (row for row in known.values() if row.name == ref.name and row.domain_id is None), None)
        if found is None:
            raise NotFound("role", str(ref.id or ref.name))
        if found.id not in has:
            raise Forbidden(f"The trustor does not have the role {found.name} on project {project_id}.")
        ids.append(found.id)
    return list(dict.fromkeys(ids))


async def delete_trust(ks: Keystone, ctx: Context, trust_id: str) -> None:
    """Its tokens die with it."""
    await get_trust(ks, ctx, trust_id, "delete_trust")
    await check_unrestricted(ks, ctx)
    now: datetime.datetime = utcnow()
    async with ks.changing(ctx) as tx:
        await tx.execute(sa.update(trusts).where(trusts.c.id == trust_id).values(deleted_at=now))
        await revocations.revoke(tx, trust_id=trust_id)


async def roles_of(ks: Keystone, row: Record) -> list[Record]:
    known = await directory.all_roles(ks)
    return [known[role_id] for role_id in row.roles if role_id in known]
