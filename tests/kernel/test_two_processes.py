"""Engines of several processes on one PostgreSQL database: each order is carried on by one of them, at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Database
from cloudseed.kernel.operations import Engine, OperationTables, OperationType, Run, Step
from tests.support.databases import ON_POSTGRESQL, beside, open_database

pytestmark = pytest.mark.skipif(not ON_POSTGRESQL, reason="one process alone uses SQLite; see CLOUDSEED_TEST_DATABASE")
metadata = sa.MetaData()
tables = OperationTables(metadata)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(tmp_path / "ops.sqlite", "ops", metadata)
    yield opened
    await opened.close()


class Process:
    """An engine with connections of its own, as another process has them."""

    def __init__(self, db: Database, lease_s: float = 30.0) -> None:
        self.db = beside(db)
        self.engine = Engine(self.db, tables, lease_s=lease_s, sole=False)
        self.did: list[str] = []
        self.hold: asyncio.Event | None = None
        self.kind = OperationType("test.do", (Step("do", self._do, self._undo),))
        self.engine.register(self.kind)

    async def _do(self, run: Run) -> None:
        self.did.append(run.resource_id)
        if self.hold is not None:
            await self.hold.wait()

    async def _undo(self, run: Run) -> None:
        self.did.append(f"undo {run.resource_id}")

    async def order(self, resource: str) -> None:
        async with self.db.write() as tx:
            await self.engine.submit(tx, self.kind, resource, {}, Context())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        await self.engine.recover()
        task = asyncio.create_task(self.engine.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait({task})
            await self.db.close()


async def test_an_order_made_elsewhere_starts_at_once(db: Database) -> None:
    orderer = Process(db)
    async with Process(db).running() as worker:
        for number in range(3):
            await worker.engine.idle(5)
            began = time.monotonic()
            await orderer.order(f"r{number}")
            while len(worker.did) <= number:
                await asyncio.sleep(0.005)
                assert time.monotonic() - began < 2, "found by the poll alone"
    assert orderer.did == []
    await orderer.db.close()


async def test_each_order_is_carried_on_by_one(db: Database) -> None:
    async with Process(db).running() as one, Process(db).running() as two:
        for number in range(40):
            await (one, two)[number % 2].order(f"r{number}")
        assert await one.engine.idle(20)
    assert sorted(one.did + two.did) == sorted(f"r{number}" for number in range(40))


async def test_a_cancel_reaches_the_process_that_works(db: Database) -> None:
    orderer = Process(db)
    async with Process(db).running() as worker:
        worker.hold = asyncio.Event()
        await orderer.order("r")
        while not worker.did:
            await asyncio.sleep(0.005)
        async with orderer.db.write() as tx:
            await orderer.engine.cancel(tx, "r")
        assert await worker.engine.idle(3)
    assert worker.did == ["r", "undo r"]
    await orderer.db.close()


async def test_whose_lease_ran_out_stops_in_the_middle(db: Database) -> None:
    """A process that was stopped for longer than its lease does nothing more for what another has taken."""
    async with Process(db, lease_s=0.9).running() as stopped:
        stopped.hold = asyncio.Event()
        await stopped.order("r")
        while not stopped.did:
            await asyncio.sleep(0.005)
        (drive,) = stopped.engine._tasks.values()
        async with db.write() as tx:  # as if it had slept: its lease is over, and another has it
            await tx.execute(sa.update(tables.operations).values(lease_owner="another", lease_until=db.now() + 60))
        await asyncio.wait({drive}, timeout=5)
        assert drive.done() and stopped.did == ["r"]
    async with db.read() as tx:
        assert await tx.scalar(sa.select(tables.operations.c.status)) == "running"


async def test_a_wrong_clock_steals_nothing(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Process(db).running() as worker:
        worker.hold = asyncio.Event()
        await worker.order("r")
        while not worker.did:
            await asyncio.sleep(0.005)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 3600)
        async with Process(db).running() as wrong:
            await wrong.engine._claim_all()
            assert abs(wrong.db.now() - real()) < 60
            assert wrong.did == [] and not wrong.engine._tasks
        worker.hold.set()
        assert await worker.engine.idle(5)
    assert worker.did == ["r"]
