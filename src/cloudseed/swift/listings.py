"""Listings in name order: which names are on the page, computed by the database.

With a delimiter, all names that share what is before it are one entry ("subdir").  A plain scan would read
every name below each; instead one recursive statement jumps from each entry to the first name after it:

    WITH RECURSIVE walk(name, n) AS (
      SELECT min(name) over [low, high)
      UNION ALL
      SELECT (SELECT min(o.name) FROM objects o WHERE o.name < high AND o.name >= <just after walk.name, or
              just after everything below its subdir>), n + 1 FROM walk WHERE name IS NOT NULL AND n < limit)

so a page costs one index seek an entry, in one statement.  Names hold no NUL, so name || U+0001 is the first
possible name after `name`; text compares by code point in Python and in SQLite (binary collation) alike.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import PreconditionFailed

MAX_LIMIT = 10_000
_LAST = "\U0010ffff" * 3


class Query(NamedTuple):
    """What a client asked to see."""

    limit: int = MAX_LIMIT
    marker: str = ""
    end_marker: str = ""
    prefix: str = ""
    delimiter: str = ""
    reverse: bool = False


class Subdir(NamedTuple):
    name: str


def parse_limit(value: str | None) -> int:
    """The `limit` parameter.  Raises PreconditionFailed (412), as swift, past the maximum."""
    if not value:
        return MAX_LIMIT
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        return MAX_LIMIT
    limit = int(value)
    if limit > MAX_LIMIT:
        raise PreconditionFailed(f"Maximum limit is {MAX_LIMIT}")
    return limit


def after(text: str) -> str:
    """The first string after all that begin with `text`."""
    while text:
        last = ord(text[-1])
        if last < 0x10FFFF:
            return text[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
        text = text[:-1]
    return _LAST


def bounds(query: Query) -> tuple[str, str]:
    """The names that can be on the page: low <= name < high."""
    low, high = query.prefix, after(query.prefix) if query.prefix else _LAST
    first, last = (query.end_marker, query.marker) if query.reverse else (query.marker, query.end_marker)
    if first:
        beyond = first + "\x01"
        if not query.reverse and query.delimiter and first.startswith(query.prefix):
            # a marker that is itself a subdir stands for all that is below it
            end = first.find(query.delimiter, len(query.prefix))
            if end >= 0 and end + len(query.delimiter) == len(first):
                beyond = after(first)
        low = max(low, beyond)
    if last:
        high = min(high, last)
    return low, high


_FORWARD = """
WITH RECURSIVE walk(name, n) AS (
  SELECT (SELECT min(o.name) FROM {table} o WHERE o.{scope} = :scope AND o.name >= :low AND o.name < :high), 1
  UNION ALL
  SELECT (SELECT min(o.name) FROM {table} o WHERE o.{scope} = :scope AND o.name < :high AND o.name >=
    CASE WHEN instr(substr(walk.name, CAST(:skip AS INTEGER)), :delimiter) > 0
      THEN substr(walk.name, 1,
        CAST(:skip - 2 + instr(substr(walk.name, CAST(:skip AS INTEGER)), :delimiter) AS INTEGER)) || :beyond
      ELSE walk.name || :least END), n + 1
  FROM walk WHERE walk.name IS NOT NULL AND n < :limit)
SELECT name FROM walk WHERE name IS NOT NULL
"""
_BACKWARD = """
WITH RECURSIVE walk(name, n) AS (
  SELECT (SELECT max(o.name) FROM {table} o WHERE o.{scope} = :scope AND o.name >= :low AND o.name < :high), 1
  UNION ALL
  SELECT (SELECT max(o.name) FROM {table} o WHERE o.{scope} = :scope AND o.name >= :low AND o.name <
    CASE WHEN instr(substr(walk.name, CAST(:skip AS INTEGER)), :delimiter) > 0
      THEN substr(walk.name, 1,
        CAST(:skip - 2 + instr(substr(walk.name, CAST(:skip AS INTEGER)), :delimiter) AS INTEGER)) || :delimiter
      ELSE walk.name END), n + 1
  FROM walk WHERE walk.name IS NOT NULL AND n < :limit)
SELECT name FROM walk WHERE name IS NOT NULL
"""


async def walk(tx: Tx, table: str, scope: str, value: int | str, query: Query) -> list[str | Subdir]:
    """The entries of one page, in order: names, and subdirs where `query.delimiter` is given.

    `table`, `scope`: the table's name and the column that must equal `value` (our own constants).
    """
    low, high = bounds(query)
    if low >= high or query.limit <= 0:
        return []
    if not query.delimiter:
        columns = sa.table(table, sa.column("name"), sa.column(scope))
        name = columns.c.name
        statement = sa.select(name).where(columns.c[scope] == value, name >= low, name < high) \
            .order_by(name.desc() if query.reverse else name).limit(query.limit)
        return list(await tx.scalars(statement))
    template = _BACKWARD if query.reverse else _FORWARD
    # the two names are constants of ours, the rest is bound
    walking = sa.text(template.format(table=table, scope=scope)).bindparams(
        scope=value, low=low, high=high, skip=len(query.prefix) + 1, delimiter=query.delimiter, limit=query.limit,
        **({} if query.reverse else {"beyond": after(query.delimiter), "least": "\x01"}))
    entries: list[str | Subdir] = []
    for name in await tx.scalars(walking):
        end = name.find(query.delimiter, len(query.prefix))
        entries.append(Subdir(name[:end + len(query.delimiter)]) if end >= 0 else name)
    return entries
