"""Filters and pages of lists, applied in SQL.

`name=x` is exact; upstream's inexact filters match parts: `name__contains`, `name__startswith`, `name__endswith`,
and blind to case `name__icontains`, `name__istartswith`, `name__iendswith`, `name__iexact`.  Lists are in the order
of ids, so that a marker stays good while things come and go.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.kernel.http.request import Request
from cloudseed.keystone.errors import NotFound

MAX_LIMIT = 1000


class Filters(NamedTuple):
    """`exact`: attribute -> value.  `inexact`: (attribute, comparator, value)."""

    exact: dict[str, Any]
    inexact: list[tuple[str, str, str]]
    limit: int | None = None
    marker: str | None = None


BOOLEANS = ("enabled", "is_domain")


def parse_filters(req: Request, names: Collection[str]) -> Filters:
    """The filters among `names` that the query holds; others are ignored, as upstream does.  Raises Invalid."""
    exact: dict[str, Any] = {}
    inexact: list[tuple[str, str, str]] = []
    for key in req.params:
        name, mark, comparator = key.partition("__")
        if name not in names:
            continue
        value = req.text_param(key)
        if value is None:
            continue
        if mark:
            if comparator.removeprefix("i") in ("contains", "startswith", "endswith") or comparator == "iexact":
                inexact.append((name, comparator, value))
        elif name in BOOLEANS:
            exact[name] = req.bool_param(name)
        else:
            exact[name] = value
    limit = req.int_param("limit", None, minimum=0)
    return Filters(exact, inexact, min(limit or MAX_LIMIT, MAX_LIMIT) if limit is not None else None,
                   req.text_param("marker"))


def _clause(column: Any, comparator: str, value: str) -> sa.ColumnElement[bool]:
    if comparator == "iexact":
        return sa.func.lower(column) == value.lower()
    kind = comparator.removeprefix("i")
    if comparator.startswith("i"):
        column, value = sa.func.lower(column), value.lower()
    # LIKE is blind to case in SQLite: compare parts instead
    length = len(value)
    if kind == "contains":
        return sa.true() if not value else \
            sa.func.length(sa.func.replace(column, value, "")) < sa.func.length(column)
    if kind == "startswith":
        return sa.func.substr(column, 1, length) == value
    return sa.and_(sa.func.length(column) >= length,
                   sa.func.substr(column, sa.func.length(column) - length + 1, length) == value)


async def fetch(tx: Tx, table: sa.Table, filters: Filters, noun: str,
                statement: sa.Select[Any] | None = None) -> list[Any]:
    """The rows of `table` (or of a statement on it) that fit, in the order of ids.  Raises NotFound for a marker
    that is not there."""
    statement = sa.select(table) if statement is None else statement
    for name, value in filters.exact.items():
        if name in table.c:
            column = table.c[name]
            statement = statement.where(column.is_(None) if value == "" and column.nullable else column == value)
    for name, comparator, value in filters.inexact:
        if name in table.c:
            statement = statement.where(_clause(table.c[name], comparator, value))
    if filters.marker is not None:
        if not await tx.scalar(sa.select(sa.func.count()).where(table.c.id == filters.marker)):
            raise NotFound(noun, filters.marker)
        statement = statement.where(table.c.id > filters.marker)
    if filters.limit is not None:
        statement = statement.limit(filters.limit)
    return list(await tx.all(statement.order_by(table.c.id)))
