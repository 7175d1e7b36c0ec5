"""The engine that drives durable operations: order, retries, undo, cancelling, leases, and every kill point."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cloudseed.kernel import errors
from cloudseed.kernel.context import Context
from cloudseed.kernel.operations import Backtrack, Engine, Killed, OperationTables, OperationType, Run, Step, faults
from cloudseed.kernel.operations import engine as operation_engine
from tests.support.databases import open_database

metadata = sa.MetaData()
tables = OperationTables(metadata)


class World:
    """What three steps do: each puts its name into a set, each undo takes it out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.things: set[str] = set()
        self.calls: list[str] = []
        self.failing: dict[str, list[BaseException]] = {}
        self.failed: list[str] = []
        self.hold: asyncio.Event | None = None
        self.type = OperationType(
            "test.make",
            tuple(Step(name, self._do(name), self._undo(name), patience_s=5) for name in ("one", "two", "three")),
            self._failed,
        )

    def _do(self, name: str) -> Any:
        async def do(run: Run) -> None:
            self.calls.append(name)
            self.things.add(f"{run.resource_id}-{name}")
            run.data[name] = True
            if self.hold is not None and name == "two":
                await self.hold.wait()
            if self.failing.get(name):
                raise self.failing[name].pop(0)

        return do

    def _undo(self, name: str) -> Any:
        async def undo(run: Run) -> None:
            self.calls.append(f"undo-{name}")
            self.things.discard(f"{run.resource_id}-{name}")

        return undo

    async def _failed(self, run: Run, error: errors.CloudseedError) -> None:
        self.failed.append(error.message)

    @contextlib.asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        db = open_database(self.path / "ops.sqlite", "ops", metadata)
        engine = Engine(db, tables)
        engine.register(self.type)
        await engine.recover()
        task = asyncio.create_task(engine.run())
        try:
            yield engine
        finally:
            task.cancel()
            await asyncio.wait({task})
            await db.close()

    async def order(self, engine: Engine, resource: str = "r") -> str:
        async with engine._db.write() as tx:
            operation_id = await engine.submit(tx, self.type, resource, {}, Context())
        engine.wake()
        return operation_id


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def status(engine: Engine, resource: str = "r") -> str:
    status: str = (await engine.story(resource))[-1]["status"]
    return status


async def test_steps_run_in_order_and_are_told(world: World) -> None:
    async with world.engine() as engine:
        await world.order(engine)
        assert await engine.idle(5)
        story = await engine.story("r")
    assert world.calls == ["one", "two", "three"] and story[0]["status"] == "done"
    assert [(s["step"], s["outcome"]) for s in story[0]["steps"]] == [("one", "ok"), ("two", "ok"), ("three", "ok")]


async def test_a_failure_undoes_all_and_names_the_reason(world: World) -> None:
    world.failing["two"] = [errors.Conflict("the host is full")]
    async with world.engine() as engine:
        await world.order(engine)
        assert await engine.idle(5)
        assert await status(engine) == "failed"
    assert world.things == set() and world.failed == ["the host is full"]
    assert world.calls == ["one", "two", "undo-two", "undo-one"]


async def test_what_may_pass_is_asked_again(world: World) -> None:
    world.failing["two"] = [errors.Timeout("no answer"), errors.Unavailable("restarting")]
    async with world.engine() as engine:
        await world.order(engine)
        assert await engine.idle(5)
        assert await status(engine) == "done"
    assert world.calls.count("two") == 3


async def test_a_bug_in_a_step_fails_the_operation_without_its_text(world: World) -> None:
    world.failing["three"] = [RuntimeError("secret")]
    async with world.engine() as engine:
        await world.order(engine)
        assert await engine.idle(5)
    assert world.things == set() and "secret" not in world.failed[0]


async def test_backtracking_undoes_and_tries_again(world: World) -> None:
    world.failing["three"] = [Backtrack("two", errors.NoCapacity("full"))]
    async with world.engine() as engine:
        await world.order(engine)
        assert await engine.idle(5)
        assert await status(engine) == "done"
    assert world.calls == ["one", "two", "three", "undo-three", "undo-two", "two", "three"]


async def test_backtracking_ends(world: World) -> None:
    world.failing["three"] = [Backtrack("two", errors.NoCapacity("full")) for _ in range(9)]
    async with world.engine() as engine:
        await world.order(engine)
        assert await engine.idle(5)
        assert await status(engine) == "failed"
    assert world.failed == ["full"] and world.things == set()


async def test_cancelling_cuts_a_step_short_and_the_next_operation_follows(world: World) -> None:
    world.hold = asyncio.Event()
    async with world.engine() as engine:
        await world.order(engine)
        async with asyncio.timeout(5):
            while "two" not in world.calls:
                await asyncio.sleep(0.01)
        async with engine._db.write() as tx:
            await engine.cancel(tx, "r")
        world.hold.set()
        world.hold = None
        await world.order(engine)
        assert await engine.idle(5)
        story = await engine.story("r")
    assert [op["status"] for op in story] == ["cancelled", "done"]
    assert world.things == {"r-one", "r-two", "r-three"}


async def test_an_interrupted_stream_is_undone_not_resumed(world: World) -> None:
    steps = (Step("one", world._do("one"), world._undo("one"), resumable=False),)
    world.type = OperationType("test.stream", steps, world._failed)
    faults.arm(_kill("test.stream:one:after"))
    try:
        async with world.engine() as engine:
            with pytest.raises(Killed):
                await engine.run_here(world.type, "r", {}, Context())
    finally:
        faults.arm(None)
    assert world.things == {"r-one"}
    async with world.engine() as engine:
        assert await engine.idle(5)
        assert await status(engine) == "failed"
    assert world.things == set()


async def test_run_here_returns_or_raises(world: World) -> None:
    async with world.engine() as engine:
        run = await engine.run_here(world.type, "r", {}, Context())
        assert run.data == {"one": True, "two": True, "three": True}
        world.failing["two"] = [errors.NoSpace("disk full")]
        with pytest.raises(errors.NoSpace, match="disk full"):
            await engine.run_here(world.type, "s", {}, Context())
    assert world.things == {"r-one", "r-two", "r-three"}


def _kill(point: str) -> Any:
    def hook(name: str) -> None:
        if name == point:
            faults.arm(None)
            raise Killed(name)

    return hook


MOMENTS = [f"{step}:{moment}" for step in ("one", "two", "three") for moment in ("before", "after", "recorded")]


@pytest.mark.parametrize("point", MOMENTS)
async def test_killed_anywhere_it_ends_the_same(world: World, point: str) -> None:
    await _die(world, f"test.make:{point}")
    async with world.engine() as engine:
        assert await engine.idle(5)
        assert await status(engine) == "done"
    assert world.things == {"r-one", "r-two", "r-three"}


@pytest.mark.parametrize("point", [f"{step}:undo-{m}" for step in ("one", "two", "three") for m in ("before", "after")])
async def test_killed_while_undoing_it_is_undone_all_the_same(world: World, point: str) -> None:
    world.failing["three"] = [errors.Conflict("no")]
    await _die(world, f"test.make:{point}")
    async with world.engine() as engine:
        assert await engine.idle(5)
        assert await status(engine) == "failed"
    assert world.things == set() and world.failed[-1] == "no"


async def _die(world: World, point: str) -> None:
    died = asyncio.Event()

    def hook(name: str) -> None:
        if name == point:
            faults.arm(None)
            died.set()
            raise Killed(name)

    faults.arm(hook)
    async with world.engine() as engine:
        await world.order(engine)
        async with asyncio.timeout(5):
            await died.wait()
            await asyncio.sleep(0)


async def test_two_engines_do_not_run_the_same_operation(world: World) -> None:
    world.hold = asyncio.Event()
    async with world.engine() as engine:
        await world.order(engine)
        async with asyncio.timeout(5):
            while "two" not in world.calls:
                await asyncio.sleep(0.01)
        other = Engine(engine._db, tables, {world.type.kind: world.type}, sole=False)
        await other._claim_all()
        assert not other._tasks
        world.hold.set()
        assert await engine.idle(5)
    assert world.calls == ["one", "two", "three"]


async def test_what_a_caller_leaves_in_the_middle_goes_on_at_once(world: World) -> None:
    """Not when the lease has ended, half a minute later."""
    world.hold = asyncio.Event()
    async with world.engine() as engine:
        caller = asyncio.create_task(engine.run_here(world.type, "r", {}, Context()))
        async with asyncio.timeout(5):
            while "two" not in world.calls:
                await asyncio.sleep(0.01)
        caller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await caller
        assert caller.cancelled()
        world.hold.set()
        assert await engine.idle(5)
        assert await status(engine) == "done"
    assert world.calls == ["one", "two", "two", "three"]


async def test_while_the_broker_is_away_patience_does_not_end(world: World) -> None:
    world.failing["two"] = [errors.BrokerAway() for _ in range(3)]
    world.type = world.type._replace(steps=tuple(step._replace(patience_s=0.0) for step in world.type.steps))
    async with world.engine() as engine:
        await world.order(engine)
        assert await engine.idle(5)
        assert await status(engine) == "done"
    assert world.calls == ["one", "two", "two", "two", "two", "three"]


async def test_no_more_at_once_than_the_kind_allows_and_the_eldest_first(world: World) -> None:
    """Also of more orders than are claimed at once; those of a kind without a limit do not wait for them."""
    world.hold = asyncio.Event()
    world.type = world.type._replace(at_once=40)
    other = OperationType("test.other", (Step("other", world._do("other")),))
    async with world.engine() as engine:
        engine.register(other)
        ids = [await world.order(engine, f"r{number}") for number in range(100)]
        async with engine._db.write() as tx:
            await engine.submit(tx, other, "o", {}, Context())
        engine.wake()
        async with asyncio.timeout(10):
            while "other" not in world.calls or world.calls.count("two") < 40:
                await asyncio.sleep(0.01)
            while len(engine._tasks) > 40:  # the other's record is not written yet
                await asyncio.sleep(0.01)
        await engine._claim_all()
        assert set(engine._tasks) == set(ids[:40])
        world.hold.set()
        assert await engine.idle(60)
        assert not any(engine._driven.values())
    assert world.calls.count("three") == 100


async def test_operations_on_one_resource_wait_for_one_another_in_one_batch(world: World) -> None:
    world.hold = asyncio.Event()
    async with world.engine() as engine:
        first, second = await world.order(engine, "same"), await world.order(engine, "same")
        elsewhere = await world.order(engine, "elsewhere")
        async with asyncio.timeout(5):
            while world.calls.count("two") < 2:
                await asyncio.sleep(0.01)
        assert set(engine._tasks) == {first, elsewhere} and second not in engine._tasks
        world.hold.set()
        assert await engine.idle(5)
    assert world.calls.count("three") == 3


async def test_an_undo_that_fails_is_told_with_its_reason(world: World) -> None:
    async def cannot(run: Run) -> None:
        raise errors.NotFound("it is not here")

    one, two, three = world.type.steps
    world.type = OperationType("test.make", (one._replace(undo=cannot), two, three), world.type.failed)
    world.failing["two"] = [errors.Conflict("the host is full")]
    async with world.engine() as engine:
        await world.order(engine)
        async with asyncio.timeout(5):
            while "undo_error" not in (found := (await engine.open_operations())[0]):
                await asyncio.sleep(0.01)
    assert found["status"] == "undoing" and found["undo_error"] == "undo of one: it is not here"
    assert found["undo_failing_since"] >= found["created_at"]


async def test_a_database_that_lost_that_it_was_running_learns_it_with_the_next_step(world: World) -> None:
    """A crash loses what nobody had waited for: the record of the claim may be there without the next one."""
    seen = []
    async with world.engine() as engine:
        async def lose(run: Run) -> None:
            async with engine._db.write() as tx:
                await tx.execute(sa.update(tables.operations).values(status="pending"))

        async def look(run: Run) -> None:
            seen.append(await status(engine))

        world.type = OperationType("test.lost", (Step("lose", lose), Step("look", look)))
        engine.register(world.type)
        await world.order(engine)
        assert await engine.idle(5)
    assert seen == ["running"]


async def test_orders_keep_their_order_when_the_clock_is_set_back(world: World) -> None:
    world.hold = asyncio.Event()
    async with world.engine() as engine:
        await world.order(engine)
        while "two" not in world.calls:
            await asyncio.sleep(0.01)
        now = engine._db.now
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine._db, "now", lambda: now() - 3600)
            await world.order(engine)
            await engine._claim_all()
            assert len(engine._tasks) == 1 and world.calls == ["one", "two"]
            world.hold.set()
            assert await engine.idle(5)
    assert world.calls == ["one", "two", "three"] * 2


@pytest.mark.parametrize(("ends_in_s", "is_over"), [(20, False), (3600, True)])
async def test_a_lease_of_a_clock_that_was_set_back_is_over(world: World, ends_in_s: float, is_over: bool) -> None:
    """Whose owner died: it would end in an hour only."""
    db = open_database(world.path / "ops.sqlite", "ops", metadata)
    engine = Engine(db, tables, sole=False)
    engine.register(world.type)
    await world.order(engine)
    async with db.write() as tx:
        await tx.execute(sa.update(tables.operations).values(lease_owner="dead", lease_until=db.now() + ends_in_s))
    await engine._claim_all()
    assert bool(engine._tasks) == is_over
    if is_over:
        await asyncio.wait(engine._tasks.values())
    assert bool(world.calls) == is_over
    await db.close()


async def test_what_was_claimed_without_an_answer_does_not_wait_for_its_lease(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_engine, "POLL_S", 0.1)
    async with world.engine() as engine:
        claim, unanswered = engine._records.claim, list[str]()

        async def claim_in_vain(ids: list[str]) -> Any:
            rows = await claim(ids)
            if not unanswered:
                unanswered.extend(ids)
                raise errors.Unavailable
            return rows

        monkeypatch.setattr(engine._records, "claim", claim_in_vain)
        await world.order(engine)
        assert await engine.idle(5)
    assert unanswered and world.calls == ["one", "two", "three"] and not engine._dropped
