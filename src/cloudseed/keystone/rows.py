"""What the nouns of keystone have in common when they are listed, made and changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.keystone import checks
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Invalid, NotFound
from cloudseed.keystone.lists import Filters
from cloudseed.keystone.state import Keystone


def keep_to_own_domain(ks: Keystone, ctx: Context, rule: str, attribute: str, filters: Filters) -> None:
    """Check the rule of a list.  Whoever has a domain's token, and may not see all or named none, sees the domain's."""
    domain_id = ctx.identity.domain_id
    ks.enforce(ctx, rule, {attribute: domain_id})
    if domain_id is not None and (not ks.allows(ctx, rule, {}) or "domain_id" not in filters.exact):
        filters.exact["domain_id"] = domain_id


async def add(tx: Tx, table: sa.Table, values: dict[str, Any]) -> Record:
    """Insert a row; as it is then."""
    await tx.execute(sa.insert(table).values(**values))
    row = await tx.first(sa.select(table).where(table.c.id == values["id"]))
    assert row is not None
    return row


async def change(tx: Tx, table: sa.Table, noun: str, item_id: str, patch: dict[str, Any]) -> Record:
    """Set attributes; the row as it is then.  Raises NotFound when it went away meanwhile."""
    if patch:
        await tx.execute(sa.update(table).where(table.c.id == item_id).values(**patch))
    fresh = await tx.first(sa.select(table).where(table.c.id == item_id))
    if fresh is None:
        raise NotFound(noun, item_id)
    return fresh


def check_patch(noun: str, row: Record, patch: dict[str, Any], extra: dict[str, Any], *,
                fixed: Sequence[str] = ("domain_id",), name_length: int = 255) -> None:
    """Check what a patch says of the attributes that many nouns have, and put the client's own attributes in.

    `fixed`: attributes that may be sent, but as they are.  Raises Invalid.
    """
    for name in fixed:
        if name in patch and patch.pop(name) != getattr(row, name):
            raise Invalid(f"The attribute {name} of a {noun} cannot be changed.")
    if "name" in patch:
        patch["name"] = checks.check_name("name", patch["name"], name_length)
    checks.check_text("description", patch.get("description"))
    add_extra(row, patch, extra)


def add_extra(row: Record, patch: dict[str, Any], extra: dict[str, Any]) -> None:
    """Invented attributes after a change: null removes one, as upstream does."""
    if extra:
        patch["extra"] = {key: value for key, value in {**row.extra, **extra}.items() if value is not None}
