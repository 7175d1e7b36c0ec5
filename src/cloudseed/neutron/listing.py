"""Lists: filters, sorting and pages as neutron's query strings say them, done in SQL.

Every attribute is a filter; repeated, its values are alternatives.  Pages are cut by key, not by offset, so that
they stay right while rows come and go.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.request import Request
from cloudseed.neutron import converters as to
from cloudseed.neutron.errors import BadRequest, HTTPBadRequest

RESERVED = ("fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir")
MAX_TAGS = 100  # in one filter; a thing has 50 at most
Condition = sa.ColumnElement[bool]
Filter = Callable[[list[str], Context], Condition]


class Query(NamedTuple):
    """A list request.  `sort`: (attribute, descending)."""

    filters: Mapping[str, list[str]] = {}
    fields: tuple[str, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None
    marker: str | None = None
    reverse: bool = False


class Spec(NamedTuple):
    """How a resource's attributes are found in SQL: by column (the type decides how text is read), or by a
    function from values to a condition.  `sortable`: attribute -> column."""

    table: sa.Table
    columns: Mapping[str, sa.ColumnElement[Any]]
    special: Mapping[str, Filter]
    not_found: type[NotFound]

    def knows(self, name: str) -> bool:
        return name in self.columns or name in self.special


def spec(table: sa.Table, not_found: type[NotFound], *, names: Mapping[str, str] | None = None,
         omit: Sequence[str] = (), special: Mapping[str, Filter] | None = None) -> Spec:
    """The Spec of a table: its plain columns under their own names, but for `names` (column -> attribute)."""
    columns = {(names or {}).get(column.name, column.name): column for column in table.c
               if column.name not in omit and type(column.type).__name__ != "Json"}
    more: dict[str, Filter] = dict(special or {})
    if "project_id" in columns:
        columns["tenant_id"] = columns["project_id"]
    if "tags" in table.c:
        more |= {"tags": _tags(table, True, True), "tags-any": _tags(table, False, True),
                 "not-tags": _tags(table, True, False), "not-tags-any": _tags(table, False, False)}
    if "updated_at" in columns:
        more["changed_since"] = lambda values, ctx: table.c.updated_at >= values[-1][:19]
    return Spec(table, columns, more, not_found)


def _tags(table: sa.Table, every: bool, positive: bool) -> Filter:
    def condition(values: list[str], ctx: Context) -> Condition:
        wanted = list(dict.fromkeys(tag for value in values for tag in value.split(",")))
        if len(wanted) > MAX_TAGS:
            raise HTTPBadRequest(f"A filter names {len(wanted)} tags; it may name {MAX_TAGS}")
        # tags are a JSON list of text: a tag stands behind "[" or "," with its quotes, which inside tags are escaped
        text = table.c.tags.cast(sa.Text)
        found = [sa.or_(*[text.contains(before + msgspec.json.encode(tag).decode(), autoescape=True)
                          for before in "[,"]) for tag in wanted]
        met = sa.and_(*found) if every else sa.or_(*found)
        return met if positive else sa.not_(met)

    return condition


def parse(req: Request, spec: Spec) -> Query:
    """The query string.  Raises with upstream's texts for unknown filters, bad limits and sort orders."""
    given: dict[str, list[str]] = {name: value if isinstance(value, list) else [value]
                                   for name, value in req.params.items()}
    if not given:
        return Query()
    filters = {name: values for name, values in given.items() if name not in RESERVED}
    unknown = [name[:255] for name in filters if not spec.knows(name)]
    if unknown:
        raise HTTPBadRequest(f"{unknown} is invalid attribute for filtering")
    for values in filters.values():
        if any(ord(c) < 32 for value in values for c in value):
            raise HTTPBadRequest("A filter holds control characters")
    limit = None
    if "limit" in given:
        text = given["limit"][-1]
        if not (text.isascii() and text.isdecimal()) or len(text) > 9:
            raise BadRequest(resource="limit", reason=f"Limit must be an integer 0 or greater and not '{text[:64]}'")
        limit = int(text) or None
    return Query(filters, tuple(given.get("fields", ())), _sort(given, spec), limit,
                 given.get("marker", [None])[-1], req.bool_param("page_reverse"))


def _sort(given: dict[str, list[str]], spec: Spec) -> tuple[tuple[str, bool], ...]:
    keys, directions = given.get("sort_key", []), given.get("sort_dir", [])
    if keys and not directions:
        directions = ["asc"] * len(keys)
    if len(keys) != len(directions):
        raise HTTPBadRequest("The number of sort_keys and sort_dirs must be same")
    for direction in directions:
        if direction not in ("asc", "desc"):
            raise HTTPBadRequest(f"['{direction[:64]}'] is invalid value for sort_dirs, valid value is 'asc' and "
                                 "'desc'")
    bad = [key[:255] for key in keys if key not in spec.columns]
    if bad:
        raise HTTPBadRequest(f"{bad} is invalid attribute for sort_keys")
    # a key that is repeated changes nothing, and SQL has a limit for them
    found: dict[str, bool] = {}
    for key, direction in zip(keys, directions, strict=True):
        found.setdefault(key, direction == "desc")
    return tuple(found.items())


def _condition(column: sa.ColumnElement[Any], values: list[str]) -> Condition:
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return column.in_([to.boolean(value) for value in values])
    if isinstance(kind, sa.Integer):
        numbers = [int(value) for value in values if value.lstrip("-").isdecimal() and len(value) < 18]
        return column.in_(numbers)
    if isinstance(kind, sa.Float):  # a time, shown as text: no number that a client can name
        return sa.false()
    return column.in_(values)


def where(spec: Spec, query: Query, ctx: Context) -> list[Condition]:
    """The filters as conditions."""
    return [spec.special[name](values, ctx) if name in spec.special else _condition(spec.columns[name], values)
            for name, values in query.filters.items()]


async def page(tx: Tx, statement: sa.Select[Any], spec: Spec, query: Query, ctx: Context, *,
               reused: bool = False) -> list[Any]:
    """The rows of `statement` (already limited to what is visible) that the query asks for, in its order.  `reused`:
    the same object comes again (`access.seen`), so what is made of it is worth keeping."""
    order = [(spec.columns[name], descending != query.reverse) for name, descending in query.sort]
    order.append((spec.table.c.id, query.reverse))
    if reused and query.marker is None and (columns := _texts(spec, query)) is not None:
        rows = list(await tx.all(_page(statement, columns, tuple(order), query.limit), {
            f"filter_{number}": values for number, values in enumerate(query.filters.values())}))
        return rows[::-1] if query.reverse else rows
    conditions = where(spec, query, ctx)
    if query.marker is not None and query.limit is not None:
        conditions.append(await _after(tx, spec, order, query.marker))
    statement = statement.where(*conditions).order_by(*[c.desc() if down else c.asc() for c, down in order])
    if query.limit is not None:
        statement = statement.limit(query.limit)
    rows = list(await tx.all(statement))
    return rows[::-1] if query.reverse else rows


def _texts(spec: Spec, query: Query) -> tuple[sa.ColumnElement[Any], ...] | None:
    """The columns that are filtered; None where a filter is more than a list of texts."""
    found = []
    for name, values in query.filters.items():
        column = spec.columns.get(name)
        if column is None or name in spec.special or not isinstance(column.type, sa.String) or len(values) > 100:
            return None
        found.append(column)
    return tuple(found)


@functools.lru_cache(512)  # the same few lists are asked for over and over: building one costs more than running it
def _page(statement: sa.Select[Any], columns: tuple[sa.ColumnElement[Any], ...],
          order: tuple[tuple[sa.ColumnElement[Any], bool], ...], limit: int | None) -> sa.Select[Any]:
    found = statement.where(*[column.in_(sa.bindparam(f"filter_{number}", expanding=True))
                              for number, column in enumerate(columns)])
    found = found.order_by(*[column.desc() if down else column.asc() for column, down in order])
    return found if limit is None else found.limit(limit)


async def _after(tx: Tx, spec: Spec, order: list[tuple[sa.ColumnElement[Any], bool]], marker: str) -> Condition:
    """Rows behind the marker's in this order:  (a > x) or (a = x and b > y) or ..."""
    row = await tx.first(sa.select(*[column for column, _ in order]).where(spec.table.c.id == marker))
    if row is None:
        raise spec.not_found(id=marker)
    steps: list[Condition] = []
    same: list[Condition] = []
    for (column, down), value in zip(order, row, strict=True):
        if value is not None:
            steps.append(sa.and_(*same, column < value if down else column > value))
        same.append(column == value)
    return sa.or_(*steps)


def links(req: Request, query: Query, items: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """`<resources>_links`: the next and the previous page; none without a limit."""
    if query.limit is None or not items:
        return []
    full = len(items) >= query.limit
    found = []
    if full or query.reverse:
        found.append({"rel": "next", "href": _href(req, _key(items[-1]), False)})
    if full or not query.reverse:
        found.append({"rel": "previous", "href": _href(req, _key(items[0]), True)})
    return found


def _key(item: Mapping[str, Any]) -> str:
    key: str = item["id"] if "id" in item else item["network_id"]
    return key


def _href(req: Request, marker: str, reverse: bool) -> str:
    kept = [(name, item) for name, value in req.params.items() if name not in ("marker", "page_reverse")
            for item in (value if isinstance(value, list) else [value])]
    kept.append(("marker", marker))
    if reverse:
        kept.append(("page_reverse", "True"))
    return f"{req.base_url}{req.path}?{urlencode(kept)}"


def among(column: sa.ColumnElement[Any]) -> Condition:
    """`column` is one of the ids that `cached` is given."""
    return column.in_(sa.bindparam("ids", expanding=True))


async def cached(tx: Tx, statement: sa.Select[Any], ids: Sequence[str]) -> list[Any]:
    """Rows of a statement that was built once, with `among`: on hot paths building costs more than running."""
    rows: list[Any] = []
    for start in range(0, len(ids), 10_000):
        rows.extend((await tx.execute(statement, {"ids": ids[start:start + 10_000]})).all())
    return rows


async def by_ids(tx: Tx, statement: sa.Select[Any], column: sa.ColumnElement[Any], ids: Sequence[str]) -> list[Any]:
    """Rows whose `column` is one of `ids`.  One statement for each 10,000 ids."""
    rows: list[Any] = []
    for start in range(0, len(ids), 10_000):
        rows.extend(await tx.all(statement.where(column.in_(ids[start:start + 10_000]))))
    return rows
