"""Lists in SQL, the same for every resource: filters, order, pages.

A page is found by its marker's values in the order asked for (a keyset), so it costs the same however far it lies;
`offset` is there because clients may send it.
"""

from __future__ import annotations

import ast
import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudseed.cinder.errors import InvalidInput
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import CloudseedError, Invalid

MAX_LIMIT = 1000  # upstream's osapi_max_limit
_COMPARE = {"eq": "__eq__", "neq": "__ne__", "gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}
Filters = Mapping[str, str]
Condition = Callable[[str], Any]  # a filter's value -> SQL


class Page(NamedTuple):
    """What a client asked for.  `limit` None: nothing said of it; `order`: (key, "asc"|"desc") pairs."""

    limit: int | None
    marker: str | None
    offset: int
    order: list[tuple[str, str]]

    @property
    def size(self) -> int:
        return MAX_LIMIT if self.limit is None else min(self.limit, MAX_LIMIT)


def parse_page(params: Filters) -> Page:
    """`limit`, `marker`, `offset`, `sort`, `sort_key`, `sort_dir` of a query.  Raises Invalid."""
    return Page(_number(params, "limit"), params.get("marker") or None, _number(params, "offset") or 0,
                _order(params))


def _number(params: Filters, name: str) -> int | None:
    text = params.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?\d{1,18}", text):
        raise Invalid(f"{name} param must be an integer")
    if int(text) < 0:
        raise Invalid(f"{name} param must be positive")
    if name == "offset" and int(text) > 2**31 - 1:
        raise Invalid(f"Invalid input: '{name}' must be less than {2**31}")
    return int(text)


def _order(params: Filters) -> list[tuple[str, str]]:
    if "sort" in params:
        if "sort_key" in params or "sort_dir" in params:
            raise Invalid("The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with the "
                          "'sort' parameter.")
        pairs = []
        for item in params["sort"].strip().split(","):
            key, _, direction = item.strip().partition(":")
            pairs.append((key.strip() or "created_at", direction.strip() or "desc"))
    else:
        pairs = [(params.get("sort_key", "created_at").strip() or "created_at",
                  params.get("sort_dir", "desc").strip() or "desc")]
    for _, direction in pairs:
        if direction.lower() not in ("asc", "desc"):
            raise InvalidInput(reason=f"Unknown sort direction, must be one of asc, desc: {direction[:40]}")
    return [(key, direction.lower()) for key, direction in pairs]


class Listing:
    """How one table is listed.  `keys`: what it may be sorted by -> column."""

    def __init__(self, table: sa.Table, keys: Mapping[str, sa.Column[Any]], missing: Callable[[str], CloudseedError]
                 ) -> None:
        self._table = table
        self._keys = keys
        self._missing = missing

    def _columns(self, page: Page) -> list[tuple[sa.Column[Any], str]]:
        seen: dict[str, str] = {}
        for key, direction in page.order:
            if key not in self._keys:
                raise InvalidInput(reason=f"Invalid sort key {key[:80]!r}: it must be one of "
                                          f"{', '.join(sorted(self._keys))}.")
            seen.setdefault(key, direction)
        last = page.order[-1][1]
        for key in ("created_at", "id"):
            seen.setdefault(key, last)
        return [(self._keys[key], direction) for key, direction in seen.items()]

    async def rows(self, tx: Tx, page: Page, where: Sequence[Any], columns: Sequence[Any] | None = None,
                   visible: Sequence[Any] = ()) -> Sequence[Any]:
        """One page of rows.  Raises the table's not-found for an unknown marker (or one outside `visible`)."""
        order = self._columns(page)
        statement = sa.select(*(columns or [self._table])).where(*where, *visible)
        if page.marker is not None:
            row = await tx.first(sa.select(self._table).where(self._table.c.id == page.marker, *visible))
            if row is None:
                raise self._missing(page.marker)
            statement = statement.where(_after(row, order))
        if page.size == 0:
            return []
        for column, direction in order:
            value = _sortable(column)
            statement = statement.order_by(value.asc() if direction == "asc" else value.desc())
        statement = statement.limit(page.size)
        return await tx.all(statement.offset(page.offset) if page.offset else statement)

    async def count(self, tx: Tx, where: Sequence[Any]) -> int:
        found: int = await tx.scalar(sa.select(sa.func.count()).select_from(self._table).where(*where))
        return found


def _sortable(column: sa.Column[Any]) -> Any:
    """A column without nulls: a page after a null could not be found otherwise."""
    if not column.nullable:
        return column
    if isinstance(column.type, sa.Integer):
        return sa.func.coalesce(column, -1)
    if isinstance(column.type, sa.String):
        return sa.func.coalesce(column, "")
    return sa.func.coalesce(column, sa.literal(datetime.datetime.fromtimestamp(0, datetime.UTC), column.type))


def _after(row: Any, order: Sequence[tuple[sa.Column[Any], str]]) -> Any:
    """Rows after `row` in this order: the first key that differs decides."""
    alternatives: list[Any] = []
    equal: list[Any] = []
    for column, direction in order:
        value, expression = getattr(row, column.name), _sortable(column)
        if value is None:
            value = -1 if isinstance(column.type, sa.Integer) else \
                "" if isinstance(column.type, sa.String) else datetime.datetime.fromtimestamp(0, datetime.UTC)
        bound = sa.literal(value, column.type)
        alternatives.append(sa.and_(*equal, expression > bound if direction == "asc" else expression < bound))
        equal.append(expression == bound)
    return sa.or_(*alternatives)


# ---- conditions of filters

def equals(column: sa.Column[Any]) -> Condition:
    """Equality; a list (`['a', 'b']`, as some clients write it) means one of them."""

    def condition(text: str) -> Any:
        if text.startswith("[") and text.endswith("]"):
            found = literal(text)
            if isinstance(found, list):
                return column.in_([str(item) for item in found][:100])
        if isinstance(column.type, sa.Integer):
            return column == int(text) if re.fullmatch(r"\d{1,9}", text) else sa.false()
        return column == text

    return condition


def like(column: sa.Column[Any]) -> Condition:
    """A part of the text, as `name~=part` asks for it."""
    return lambda text: column.contains(text, autoescape=True)


def boolean(column: sa.Column[Any]) -> Condition:
    def condition(text: str) -> Any:
        lowered = text.strip().lower()
        if lowered in ("1", "t", "true", "on", "y", "yes"):
            return column.is_(True)
        if lowered in ("0", "f", "false", "off", "n", "no"):
            return column.is_(False)
        raise InvalidInput(reason=f"{column.name}={text[:40]!r} is not a boolean.")

    return condition


def times(column: sa.Column[Any]) -> Condition:
    """`gt:2026-01-01T00:00:00,lt:...`"""

    def condition(text: str) -> Any:
        conditions = []
        for item in text.split(","):
            operator, _, moment = item.strip().partition(":")
            if operator not in _COMPARE:
                raise Invalid(f"Invalid {operator[:40]} operator")
            conditions.append(getattr(column, _COMPARE[operator])(parse_time(moment)))
        return sa.and_(*conditions)

    return condition


def parse_time(text: str) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise Invalid(f"Invalid {text[:40]} value") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)


def pairs(table: sa.Table, owner: sa.Column[Any], thing: sa.Column[Any]) -> Condition:
    """`{"key": "value"}` (JSON's or Python's quotes): things that have all of these pairs in `table`."""

    def condition(text: str) -> Any:
        wanted = literal(text)
        if not isinstance(wanted, dict) or len(wanted) > 20:
            return sa.false()
        return sa.and_(*(thing.in_(sa.select(owner).where(table.c.key == str(key), table.c.value == str(value)))
                         for key, value in wanted.items()))

    return condition


def literal(text: str) -> Any:
    """A small literal out of a query string; None when it is none."""
    if len(text) > 2000:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
