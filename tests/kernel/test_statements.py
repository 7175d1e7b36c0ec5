"""Statements that ran before go to the driver by a plan: what they give must not differ from the first time."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cloudseed.kernel import statements
from cloudseed.kernel.db import Json, Tx, UtcDateTime
from tests.support.databases import open_database

metadata = sa.MetaData()
things = sa.Table(
    "things", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(9), unique=True),
    sa.Column("tags", Json, default=list), sa.Column("size", sa.Integer, default=7), sa.Column("on", sa.Boolean),
    sa.Column("at", UtcDateTime))
MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)


@pytest.fixture
async def tx(tmp_path: Path) -> AsyncIterator[Tx]:
    db = open_database(tmp_path / "db", "t", metadata)
    async with db.write() as tx:
        yield tx
    await db.close()


@pytest.fixture(autouse=True)
def planned(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each statement went by a plan."""
    went: list[bool] = []
    real = statements.Plan.arguments

    def arguments(self: statements.Plan, *args: Any) -> Any:
        found = real(self, *args)
        went.append(found is not None)
        return found

    monkeypatch.setattr(statements.Plan, "arguments", arguments)
    return went


async def test_rows_values_and_defaults_are_the_same_again(tx: Tx, planned: list[bool]) -> None:
    for number in range(1, 4):
        made = await tx.execute(sa.insert(things).values(name=f"n{number}", on=True, at=MOMENT))
        assert made.inserted_primary_key == (number,) and made.rowcount == 1
    assert planned.count(True) >= 2
    seen = [await tx.first(sa.select(things).where(things.c.name == f"n{number}")) for number in (1, 2, 3)]
    for number, row in enumerate(seen, 1):
        assert row is not None
        assert tuple(row) == (number, f"n{number}", [], 7, True, MOMENT)
        assert (row.at, row.tags, row._mapping["on"], row._mapping[things.c.size]) == (MOMENT, [], True, 7)
        assert row._asdict()["name"] == f"n{number}"
    row = seen[2]
    assert row is not None
    row.tags.append("mine")  # a default that is made each time is nobody else's
    assert (await tx.scalars(sa.select(things.c.tags)))[2] == []


async def test_lists_of_every_length(tx: Tx, planned: list[bool]) -> None:
    for name in "abc":
        await tx.execute(sa.insert(things), [{"name": name, "tags": [name]}])
    prebuilt = sa.select(things.c.name).order_by("name").where(
        things.c.name.in_(sa.bindparam("names", expanding=True)), things.c.size == sa.bindparam("size"))
    del planned[:]
    for names in ([], ["a"], ["b"], ["a", "c"], [], ["c", "b", "x"], ["a"] * 60, ["b"] * 1100, ["a"]):
        wanted = sorted({*names} & {*"abc"})
        assert await tx.scalars(prebuilt, {"names": names, "size": 7}) == wanted
        assert await tx.scalars(prebuilt, {"size": 8, "names": names}) == []
        assert await tx.scalars(sa.select(things.c.name).where(things.c.name.in_(names)).order_by("name")) == wanted
        assert len(await tx.all(sa.select(things.c.id).where(things.c.name.not_in(names)))) == 3 - len(wanted)
    assert planned.count(True) > 20
    assert False in planned  # long lists go the long way


async def test_changes_and_what_they_return(tx: Tx) -> None:
    for name in "abc":
        await tx.execute(sa.insert(things).values(name=name))
    for name, size in (("a", 1), ("b", None), ("x", 3)):
        changed = await tx.execute(sa.update(things).where(things.c.name == name).values(size=size, tags={"k": size}))
        assert changed.rowcount == (name != "x")
    assert await tx.all(sa.select(things.c.size, things.c.tags).order_by(things.c.id)) == [
        (1, {"k": 1}), (None, {"k": None}), (7, [])]
    for expected in (8, 9):
        row = await tx.first(sa.update(things).where(things.c.name == "c").values(size=things.c.size + 1)
                             .returning(things.c.size))
        assert row is not None and row.size == expected
    for name in "ab":
        assert (await tx.execute(sa.delete(things).where(things.c.name == name))).rowcount == 1
    assert await tx.scalar(sa.select(sa.func.count()).select_from(things)) == 1


async def test_errors_are_sqlalchemys_each_time(tx: Tx) -> None:
    await tx.execute(sa.insert(things).values(name="a"))
    for _ in range(3):
        with pytest.raises(sa.exc.IntegrityError, match=r"UNIQUE|unique"):
            async with tx.savepoint():
                await tx.execute(sa.insert(things).values(name="a"))
    missing = sa.select(things).where(things.c.name == sa.bindparam("name"))
    assert await tx.first(missing, {"name": "x"}) is None
    for _ in range(3):
        with pytest.raises(sa.exc.StatementError, match="required for bind parameter 'name'"):
            await tx.first(missing)


async def test_null_is_not_a_value(tx: Tx) -> None:
    """`= NULL` and `IS NULL` are different texts, whichever came first."""
    await tx.execute(sa.insert(things).values(name=None, size=1))
    await tx.execute(sa.insert(things).values(name="a", size=2))
    for name, size in (("a", 2), (None, 1), ("a", 2), (None, 1)):
        assert await tx.scalar(sa.select(things.c.size).where(things.c.name == name)) == size


async def test_one_statement_by_itself(tmp_path: Path) -> None:
    """`look` sees what was committed, and takes one statement; an error in it leaves the next look whole."""
    db = open_database(tmp_path / "db", "t", metadata)
    async with db.write() as tx:
        await tx.execute(sa.insert(things).values(name="a"))
    async with db.look() as tx:
        assert await tx.scalars(sa.select(things.c.name)) == ["a"]
        with pytest.raises(RuntimeError, match="use `read`"):
            await tx.scalars(sa.select(things.c.name))
    with pytest.raises(sa.exc.DBAPIError):
        async with db.look() as tx:
            await tx.all(sa.select(sa.literal_column("nothing")).select_from(things))
    for _ in range(3):  # the long way, then by a plan
        async with db.look() as tx:
            assert await tx.scalar(sa.select(sa.func.count()).select_from(things)) == 1
    async with db.write() as tx:
        await tx.execute(sa.insert(things).values(name="b"))
    async with db.look() as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(things)) == 2
    await db.close()
