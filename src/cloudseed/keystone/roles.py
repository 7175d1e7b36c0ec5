"""Roles, and which of them imply others.

A global role can be assigned anywhere and is named in tokens; a domain's own role is assigned within its domain
and counts through what it implies.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.keystone import checks, directory, rows
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.keystone.lists import Filters, fetch
from cloudseed.keystone.models import implied_roles, roles
from cloudseed.keystone.state import Keystone
from cloudseed.keystone.targets import target


def _rule(verb: str, row: Record | None) -> str:
    return f"{verb}_domain_role" if row is not None and row.domain_id else f"{verb}_role"


async def get_role(ks: Keystone, ctx: Context, role_id: str, verb: str = "get") -> Record:
    row = (await directory.all_roles(ks)).get(role_id)
    ks.enforce(ctx, _rule(verb, row), target("role", row))
    if row is None:
        raise NotFound("role", role_id)
    return row


async def list_roles(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    """Global roles, or those of the domain in the filter."""
    domain_id = filters.exact.get("domain_id")
    ks.enforce(ctx, "list_domain_roles" if domain_id else "list_roles")
    filters.exact["domain_id"] = domain_id or ""
    async with ks.db.read() as tx:
        return await fetch(tx, roles, filters, "role")


async def create_role(ks: Keystone, ctx: Context, *, name: str, domain_id: str | None, description: str | None,
                      options: dict[str, Any] | None, extra: dict[str, Any]) -> Record:
    ks.enforce(ctx, "create_domain_role" if domain_id else "create_role")
    if domain_id and await directory.find_domain(ks, domain_id) is None:
        raise NotFound("domain", domain_id)
    checks.check_text("description", description)
    values = {"id": uuid.uuid4().hex, "name": checks.check_name("name", name), "domain_id": domain_id,
              "description": description, "options": checks.merge_options({}, options, checks.RESOURCE_OPTIONS),
              "extra": extra}
    async with ks.changing(ctx, conflict=Conflict("role", f"Duplicate entry found with name {name}"),
                           forget=False) as tx:
        return await rows.add(tx, roles, values)


async def update_role(ks: Keystone, ctx: Context, role_id: str, patch: dict[str, Any],
                      extra: dict[str, Any]) -> Record:
    row = await get_role(ks, ctx, role_id, "update")
    checks.check_immutable("role", row, patch.get("options"))
    rows.check_patch("role", row, patch, extra)
    if "options" in patch:
        patch["options"] = checks.merge_options(row.options, patch["options"], checks.RESOURCE_OPTIONS)
    async with ks.changing(ctx, conflict=Conflict("role", f"the name {patch.get('name')} is taken")) as tx:
        return await rows.change(tx, roles, "role", role_id, patch)


async def delete_role(ks: Keystone, ctx: Context, role_id: str) -> None:
    """Its assignments and implications go with it."""
    row = await get_role(ks, ctx, role_id, "delete")
    checks.check_immutable("role", row)
    async with ks.changing(ctx) as tx:
        await tx.execute(sa.delete(roles).where(roles.c.id == role_id))


# --- implied roles


async def _pair(ks: Keystone, prior_id: str, implied_id: str | None = None) -> tuple[Record, Record | None]:
    known = await directory.all_roles(ks)
    for role_id in (prior_id, implied_id):
        if role_id is not None and role_id not in known:
            raise NotFound("role", role_id)
    return known[prior_id], known[implied_id] if implied_id is not None else None


async def implied_by(ks: Keystone, ctx: Context, prior_id: str) -> tuple[Record, list[Record]]:
    """A role, and those that it implies directly."""
    ks.enforce(ctx, "list_implied_roles")
    prior, _ = await _pair(ks, prior_id)
    known = await directory.all_roles(ks)
    ids = (await directory.implications(ks)).get(prior_id, frozenset())
    return prior, sorted((known[i] for i in ids), key=lambda row: row.name)


async def get_implied(ks: Keystone, ctx: Context, prior_id: str, implied_id: str,
                      rule: str = "get_implied_role") -> tuple[Record, Record]:
    ks.enforce(ctx, rule)
    prior, implied = await _pair(ks, prior_id, implied_id)
    assert implied is not None
    if implied_id not in (await directory.implications(ks)).get(prior_id, frozenset()):
        raise NotFound("implied role", f"{prior_id} does not imply {implied_id}")
    return prior, implied


async def add_implied(ks: Keystone, ctx: Context, prior_id: str, implied_id: str) -> tuple[Record, Record]:
    ks.enforce(ctx, "create_implied_role")
    prior, implied = await _pair(ks, prior_id, implied_id)
    assert implied is not None
    if implied.name == "admin" and implied.domain_id is None:
        raise Forbidden(f"The role {implied_id} (admin) cannot be implied by another.")
    if implied.domain_id is not None and prior.domain_id is None:
        raise Forbidden(f"The role {implied_id} is a domain's own and cannot be implied by a global one.")
    links = await directory.implications(ks)
    if prior_id == implied_id or prior_id in directory.with_implied({implied_id}, links):
        raise Invalid(f"Role {prior_id} cannot imply {implied_id}: that one already implies it.")
    async with ks.changing(ctx) as tx:
        known = await tx.first(sa.select(implied_roles).where(implied_roles.c.prior_role_id == prior_id,
                                                              implied_roles.c.implied_role_id == implied_id))
        if known is None:
            await tx.execute(sa.insert(implied_roles).values(prior_role_id=prior_id, implied_role_id=implied_id))
    return prior, implied


async def remove_implied(ks: Keystone, ctx: Context, prior_id: str, implied_id: str) -> None:
    await get_implied(ks, ctx, prior_id, implied_id, "delete_implied_role")
    async with ks.changing(ctx) as tx:
        await tx.execute(sa.delete(implied_roles).where(implied_roles.c.prior_role_id == prior_id,
                                                        implied_roles.c.implied_role_id == implied_id))


async def inferences(ks: Keystone, ctx: Context) -> list[tuple[Record, list[Record]]]:
    """Every role that implies others, with those."""
    ks.enforce(ctx, "list_role_inference_rules")
    known = await directory.all_roles(ks)
    return [(known[prior], sorted((known[i] for i in implied), key=lambda row: row.name))
            for prior, implied in (await directory.implications(ks)).items()]
