"""Records as policy rules see them: `target.<noun>.<field>`.  Always from the database."""

from __future__ import annotations

from typing import Any

from cloudseed.keystone.directory import Record


def target(noun: str, row: Record | None) -> dict[str, Any]:
    """`target.user.id`, `target.user.domain_id` and so on; nothing for what is not there."""
    if row is None:
        return {}
    found = {f"target.{noun}.{key}": value for key, value in row._mapping.items()
             if isinstance(value, str | bool) or value is None}
    if noun == "user":
        found["user_id"] = row.id
    return found
