"""Pages of a table, sorted by any columns, cut in SQL: the rows after the marker's, in the sort's own order."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.kernel.http.paging import Page

Column = Any


class Sort(NamedTuple):
    """Columns with their directions, most significant first.  The id always follows, so the order is total."""

    keys: tuple[tuple[Column, bool], ...]  # (column, descending)


async def page_of(tx: Tx, query: sa.Select[Any], id_column: Column, page: Page, sort: Sort,
                  missing: Exception, marker_query: sa.Select[Any] | None = None) -> tuple[list[sa.Row[Any]], bool]:
    """A page of `query`, and whether more follow.  Two statements at most.

    `marker_query` says where the marker may lie when that is more than what is listed; raises `missing` when it
    is not there.  SQL, for keys (a desc, id asc) and a marker row m:
        WHERE a < m.a OR (a = m.a AND id > m.id) ORDER BY a DESC, id LIMIT n + 1
    Nulls sort before everything, as SQLite and MariaDB do.
    """
    keys = [*sort.keys]
    if all(column is not id_column for column, _ in keys):
        keys.append((id_column, keys[-1][1] if keys else False))
    if page.marker is not None:
        base = query if marker_query is None else marker_query
        marker = await tx.first(base.with_only_columns(*(column.label(f"k{i}") for i, (column, _) in enumerate(keys)))
                                .where(id_column == page.marker))
        if marker is None:
            raise missing
        query = query.where(_after(keys, list(marker)))
    for column, descending in keys:
        query = query.order_by(column.desc() if descending else column.asc())
    rows = list(await tx.all(query.limit(page.limit + 1)))
    return rows[:page.limit], len(rows) > page.limit > 0


def _after(keys: list[tuple[Column, bool]], values: list[Any]) -> sa.ColumnElement[bool]:
    choices = []
    for index, (column, descending) in enumerate(keys):
        same = [_equal(keys[i][0], values[i]) for i in range(index)]
        choices.append(sa.and_(*same, _beyond(column, values[index], descending)))
    return sa.or_(*choices)


def _equal(column: Column, value: Any) -> sa.ColumnElement[bool]:
    return column.is_(None) if value is None else column == value  # type: ignore[no-any-return]


def _beyond(column: Column, value: Any, descending: bool) -> sa.ColumnElement[bool]:
    if value is None:
        return sa.false() if descending else column.is_not(None)
    return sa.or_(column < value, column.is_(None)) if descending else column > value
