"""Policies that keystone keeps for other services as plain documents; nothing here interprets them."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.keystone import checks, rows
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import NotFound
from cloudseed.keystone.lists import Filters, fetch
from cloudseed.keystone.models import policies
from cloudseed.keystone.state import Keystone


async def get_policy(ks: Keystone, ctx: Context, policy_id: str, rule: str = "get_policy") -> Record:
    ks.enforce(ctx, rule)
    async with ks.db.read() as tx:
        row = await tx.first(sa.select(policies).where(policies.c.id == policy_id))
    if row is None:
        raise NotFound("policy", policy_id)
    return row


async def list_policies(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    ks.enforce(ctx, "list_policies")
    async with ks.db.read() as tx:
        return await fetch(tx, policies, filters, "policy")


async def create_policy(ks: Keystone, ctx: Context, *, kind: str, blob: str, extra: dict[str, Any]) -> Record:
    ks.enforce(ctx, "create_policy")
    checks.check_text("blob", blob)
    values = {"id": uuid.uuid4().hex, "type": checks.check_name("type", kind), "blob": blob, "extra": extra}
    async with ks.changing(ctx, forget=False) as tx:
        return await rows.add(tx, policies, values)


async def update_policy(ks: Keystone, ctx: Context, policy_id: str, patch: dict[str, Any],
                        extra: dict[str, Any]) -> Record:
    row = await get_policy(ks, ctx, policy_id, "update_policy")
    if "type" in patch:
        patch["type"] = checks.check_name("type", patch["type"])
    checks.check_text("blob", patch.get("blob"))
    rows.add_extra(row, patch, extra)
    async with ks.changing(ctx, forget=False) as tx:
        return await rows.change(tx, policies, "policy", policy_id, patch)


async def delete_policy(ks: Keystone, ctx: Context, policy_id: str) -> None:
    await get_policy(ks, ctx, policy_id, "delete_policy")
    async with ks.changing(ctx, forget=False) as tx:
        await tx.execute(sa.delete(policies).where(policies.c.id == policy_id))
