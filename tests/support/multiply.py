"""Makes a cloud of many things out of one with a few: copies rows that a test made, with all that belongs to them.

    seed = Seed(cloud); await seed.remember()         # what was there before
    ...                                               # one thing of each kind, made through the API
    await seed.multiply(range(1, 10))                 # nine more of each, in every service's database

A copy of a row has ids of its own, and so have the rows that name it, in every service: a copied server has its
own port, allocation and image.  What must be unique (names, addresses) is made so.
"""

from __future__ import annotations

import importlib
import re
import uuid
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from tests.support.cloud import Cloud

_ID = re.compile(r"^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$")
_LEFT = ("operations", "operation_steps", "changes")  # the engines' own
Row = dict[str, Any]


class Seed:
    """The rows that came after `remember`."""

    def __init__(self, cloud: Cloud) -> None:
        self._databases = cloud.env.databases
        self._tables = {name: [table for table in importlib.import_module(f"cloudseed.{name}.models")
                               .metadata.sorted_tables if table.name not in _LEFT] for name in self._databases}
        self._before: dict[str, set[tuple[Any, ...]]] = {}
        self._new: dict[str, list[Row]] | None = None
        self._next_number = 1000

    async def _rows(self) -> dict[str, list[Row]]:
        found = {}
        for service, tables in self._tables.items():
            async with self._databases[service].read() as tx:
                for table in tables:
                    found[f"{service}.{table.name}"] = [dict(row._mapping) for row in await tx.all(sa.select(table))]
        return found

    async def remember(self) -> None:
        self._before = {name: {self._key(name, row) for row in rows} for name, rows in (await self._rows()).items()}

    def _key(self, name: str, row: Row) -> tuple[Any, ...]:
        service, _, table = name.partition(".")
        (found,) = (each for each in self._tables[service] if each.name == table)
        return tuple(row[column.name] for column in found.primary_key.columns)

    async def multiply(self, copies: Iterable[int]) -> None:
        """Copy what is new once for each number, which must not have been used before."""
        if self._new is None:
            self._new = {name: [row for row in rows if self._key(name, row) not in self._before[name]]
                         for name, rows in (await self._rows()).items()}
        old = {value for keys in self._before.values() for key in keys for value in key}
        unique = {f"{service}.{table.name}": {name for names in _unique_sets(table) for name in names}
                  for service, tables in self._tables.items() for table in tables}
        ids = {row[column] for name, rows in self._new.items() for row in rows for column in unique[name]
               if isinstance(row[column], str) and _ID.match(row[column])} - old
        copies = list(copies)
        for service, tables in self._tables.items():
            async with self._databases[service].write() as tx:
                numbers: dict[tuple[str, int, int], int] = {}  # (table, copy, number) -> the copy's number
                for table in tables:
                    rows = [_copied(table, row, copy, ids, numbers, self._number)
                            for copy in copies for row in self._new[f"{service}.{table.name}"]]
                    if rows:
                        await tx.execute(sa.insert(table), rows)

    def _number(self) -> int:
        self._next_number += 1
        return self._next_number


def _copied(table: sa.Table, row: Row, copy: int, ids: set[str], numbers: dict[tuple[str, int, int], int],
            number: Any) -> Row:
    made: Row = {}
    moved = set()
    for column in table.columns:
        value = row[column.name]
        owner = next((key.column.table.name for key in column.foreign_keys), None)
        if isinstance(value, str) and value in ids:
            fresh = uuid.uuid5(uuid.UUID(value), str(copy))
            value = fresh.hex if len(value) == 32 else str(fresh)
        elif type(value) is int and owner is not None:
            value = numbers.get((owner, copy, value), value)
        elif type(value) is int and column.primary_key:
            numbers[table.name, copy, value] = value = number()
        if value != row[column.name]:
            moved.add(column.name)
        made[column.name] = value
    for unique in _unique_sets(table):
        if moved.isdisjoint(unique):
            name = next((n for n in unique if isinstance(made[n], str) and not table.c[n].foreign_keys), None)
            if name is not None:
                made[name] = _other(name, made[name], number())
                moved.add(name)
    return made


def _unique_sets(table: sa.Table) -> list[list[str]]:
    found = [[column.name for column in table.primary_key.columns]]
    found += [[column.name for column in constraint.columns] for constraint in table.constraints
              if isinstance(constraint, sa.UniqueConstraint)]
    found += [[column.name for column in index.columns] for index in table.indexes if index.unique]
    return found


def _other(column: str, value: str, number: int) -> str:
    if "mac" in column:
        return f"fa:16:3e:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    if "ip" in column and "." in value:
        return f"10.{200 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    return f"{value}-{number}"
