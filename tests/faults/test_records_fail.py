"""An operation whose own record cannot be written (a full disk) goes on from its record, soon."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import NoSpace
from cloudseed.kernel.operations import Engine, OperationTables, OperationType, Run, Step, engine
from cloudseed.kernel.operations.records import Records
from tests.support.databases import open_database

metadata = sa.MetaData()
tables = OperationTables(metadata)


class FullDisk:
    """Records whose write of that number (0: begun, 1: the step done, 2: all done) finds no space."""

    def __init__(self, failing: int) -> None:
        self.failing = failing
        self.writes = 0
        self._save = Records.save

    async def save(self, records: Records, run: Run, **values: Any) -> None:
        self.writes += 1
        if self.writes - 1 == self.failing:
            raise NoSpace("the disk is full")
        await self._save(records, run, **values)


@pytest.mark.parametrize(("failing", "times"), [(0, 1), (1, 2), (2, 1)], ids=["begun", "step", "done"])
async def test_it_goes_on_without_waiting_for_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, times: int
) -> None:
    """The lease would last a minute.  A step that had ended, but was not recorded, is asked again."""
    monkeypatch.setattr(engine, "POLL_S", 0.1)
    done: list[str] = []

    async def do(run: Run) -> None:
        done.append(run.resource_id)

    kind = OperationType("test.once", (Step("only", do),))
    db = open_database(tmp_path / "ops.sqlite", "ops", metadata)
    disk = FullDisk(failing)
    monkeypatch.setattr(Records, "save", lambda records, run, **values: disk.save(records, run, **values))
    driver = Engine(db, tables, lease_s=60.0)
    driver.register(kind)
    task = asyncio.create_task(driver.run())
    try:
        async with db.write() as tx:
            await driver.submit(tx, kind, "thing", {}, Context())
        driver.wake()
        assert await driver.idle(5.0)
        (story,) = await driver.story("thing")
        assert (story["status"], done) == ("done", ["thing"] * times)
        assert disk.writes > failing
    finally:
        task.cancel()
        await asyncio.wait({task})
        await db.close()
