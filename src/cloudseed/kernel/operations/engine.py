"""Runs durable operations: claims what nobody carries on, drives it step by step, undoes what failed."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Database, Durability, Tx
from cloudseed.kernel.errors import BrokerAway, CloudseedError, Unavailable, from_wire, to_wire
from cloudseed.kernel.operations.faults import Killed, declare_points, pass_point
from cloudseed.kernel.operations.records import CHANNEL, Records
from cloudseed.kernel.operations.tables import OperationTables
from cloudseed.kernel.operations.types import Backtrack, Cancelled, LeaseLost, OperationType, Run, Step

log = logging.getLogger(__name__)
UNDO_PATIENCE_S = 60.0
UNDO_PAUSE_S = 60.0
POLL_S = 5.0
BATCH = 32  # claimed in one transaction


class Engine:
    """Runs the operations of one service.  `sole`: no other process shares the database, so every lease found
    at the start is a dead process's."""

    def __init__(
        self,
        db: Database,
        tables: OperationTables,
        types: Mapping[str, OperationType] | None = None,
        *,
        lease_s: float = 30.0,
        sole: bool = True,
    ) -> None:
        self._types: dict[str, OperationType] = dict(types or {})
        self._db = db
        self._records = Records(db, tables, str(uuid.uuid4()), lease_s)
        self._lease_s = lease_s
        self._sole = sole
        self._wake = asyncio.Event()
        self._turnstile = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._driven: Counter[str] = Counter()  # of each kind, those of `_tasks` that were claimed
        self._stopping: dict[str, asyncio.Event] = {}
        self._dropped: set[str] = set()  # ours by their lease, but their driving failed: to be claimed again

    def register(self, *types: OperationType) -> None:
        for kind in types:
            self._types[kind.kind] = kind
            names = [step.name for step in kind.steps]
            declare_points(kind.kind, names, ("before", "after", "recorded"))
            declare_points(kind.kind, [s.name for s in kind.steps if s.undo], ("undo-before", "undo-after"))

    # ---- ordering and cancelling

    async def submit(self, tx: Tx, type: OperationType, resource_id: str, data: dict[str, Any], ctx: Context) -> str:
        """Record the intent within the caller's transaction; returns the operation's id.  Then call `wake`."""
        return await self._records.insert(tx, type, resource_id, data, ctx, leased=False)

    def wake(self) -> None:
        """There may be work."""
        self._wake.set()

    async def cancel(self, tx: Tx, resource_id: str, *, kinds: tuple[str, ...] | None = None) -> None:
        """Ask the unfinished operations of a resource to stop and undo; a later operation follows when they have."""
        for operation_id in await self._records.request_cancel(tx, resource_id, kinds):
            if operation_id in self._stopping:
                self._stopping[operation_id].set()

    async def run_here(
        self,
        type: OperationType,
        resource_id: str,
        data: dict[str, Any],
        ctx: Context,
        before: Callable[[Tx], Awaitable[None]] | None = None,
    ) -> Run:
        """Run an operation within the caller's task (an upload, whose bytes come with the request); returns when
        it is done, raises its error when it failed and is undone.  `before(tx)` writes in the same transaction
        as the intent."""
        operation_id = ""
        try:
            async with self._db.write() as tx:
                if before is not None:
                    await before(tx)
                operation_id = await self._records.insert(tx, type, resource_id, data, ctx, leased=True)
        except Unavailable:
            if operation_id:
                self._dropped.add(operation_id)  # perhaps it is there all the same
            raise
        run = Run(operation_id, type.kind, resource_id, data, ctx)
        task = asyncio.ensure_future(self._drive(type, run, "pending", 0, None))
        self._tasks[operation_id] = task
        try:
            await task
        except asyncio.CancelledError:
            self._dropped.add(operation_id)  # the caller has gone: carried on from its record at once
            raise
        finally:
            self._tasks.pop(operation_id, None)
            self._wake.set()  # what was ordered for this resource meanwhile can go on
        row = await self._records.outcome(operation_id)
        if row is not None and row.status != "done":
            raise from_wire(row.error) if row.error else Unavailable("The work is carried on by another process.")
        return run

    # ---- the loop

    async def recover(self) -> None:
        """Before this process takes orders.  Of a sole process: every lease is a dead process's."""
        self._db.listen(CHANNEL, self.wake)
        await self._records.begin()
        if self._sole:
            await self._records.free_all()
        else:
            async with self._db.write():
                pass  # opens the connection that hears of orders

    async def run(self) -> None:
        """Claim and drive, for ever; `recover` came first, and the owner cancels this task to stop the engine."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self._claim_all()
                except Exception as exc:
                    log.warning("claiming operations failed, will try again: %s", exc, exc_info=exc)
                try:
                    async with asyncio.timeout(POLL_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            for task in self._tasks.values():
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values())

    async def _claim_all(self) -> None:
        if self._tasks:
            for operation_id in await self._records.unwanted():
                if operation_id in self._stopping:
                    self._stopping[operation_id].set()
        while True:
            full = [kind.kind for kind in self._types.values()
                    if kind.at_once is not None and self._driven[kind.kind] >= kind.at_once]
            found = await self._records.claimable(self._tasks, self._dropped, full, BATCH)
            if not found:
                return
            ids = [row.id for row in self._within(found)]
            self._dropped.update(ids)  # as long as we do not know: perhaps they are ours, and nobody else drives them
            claimed = await self._records.claim(ids)
            self._dropped.difference_update(ids)
            for row in claimed:
                self._start(row)
            if len(found) < BATCH or not claimed:
                return

    def _within(self, found: list[sa.Row[Any]]) -> list[sa.Row[Any]]:
        """Of those that may be claimed, as many of each kind as may be driven at once."""
        counts, chosen = Counter(self._driven), []
        for row in found:
            kind = self._types.get(row.kind)
            if kind is None or kind.at_once is None or counts[row.kind] < kind.at_once:
                counts[row.kind] += 1
                chosen.append(row)
        return chosen

    def _start(self, row: sa.Row[Any]) -> None:
        """Drive an operation that we have claimed."""
        kind = self._types.get(row.kind)
        self._dropped.discard(row.id)
        if kind is None:
            log.error("operation %s is of an unknown kind %s", row.id, row.kind)
            return
        run = Run(row.id, row.kind, row.resource_id, row.data, Context.from_wire(row.context))
        if row.cancel_requested:
            self._stopping.setdefault(row.id, asyncio.Event()).set()
        work = self._drive(kind, run, row.status, row.position, row.error)
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._tasks[row.id] = task
        self._driven[row.kind] += 1
        task.add_done_callback(lambda done: self._finished(row.id, row.kind, done))

    def _finished(self, operation_id: str, kind: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(operation_id, None)
        self._driven[kind] -= 1
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Killed):
            if isinstance(error, Unavailable):
                log.warning("operation %s: will go on from its record: %s", operation_id, error.message)
            else:
                log.error("operation %s: the engine failed, will go on from its record", operation_id, exc_info=error)
            self._dropped.add(operation_id)
            return  # not woken: what failed (a full disk) needs a moment
        self._wake.set()

    # ---- one operation

    async def _drive(
        self, type: OperationType, run: Run, status: str, position: int, error: dict[str, Any] | None
    ) -> None:
        stopping = self._stopping.setdefault(run.id, asyncio.Event())
        lost, this = asyncio.Event(), asyncio.current_task()
        assert this is not None
        renewal = asyncio.get_running_loop().create_task(self._renew(run.id, this, lost), context=contextvars.Context())
        try:
            with Durability():
                failure = from_wire(error) if error else None
                if status == "running" and not type.steps[min(position, len(type.steps) - 1)].resumable:
                    status, failure = "undoing", failure or CloudseedError("The service stopped during the work.")
                    position += 1
                if status != "undoing":
                    failure, position = await self._forward(type, run, position, stopping)
                    if failure is None:
                        await self._end(run, "done", position)
                        return
                    await self._records.save(run, status="undoing", position=position, error=to_wire(failure))
                assert failure is not None
                await self._backward(type, run, position, 0)
                if type.failed is not None:
                    await self._patiently(lambda: type.failed(run, failure), UNDO_PATIENCE_S)  # type: ignore[misc]
                final = "cancelled" if isinstance(failure, Cancelled) else "failed"
                await self._end(run, final, 0)
        except LeaseLost:
            log.warning("operation %s %s is carried on by another process", run.kind, run.id)
        except asyncio.CancelledError:
            if not lost.is_set():
                raise
            log.warning("operation %s %s is carried on by another process: stopped in the middle", run.kind, run.id)
        except _UndoFailed as exc:
            log.error("operation %s %s of %s cannot be undone: %s", run.kind, run.id, run.resource_id, exc)
            later = self._db.now() + UNDO_PAUSE_S
            await self._records.save(run, status="undoing", lease_owner=None, lease_until=0.0, not_before=later)
        finally:
            renewal.cancel()
            self._stopping.pop(run.id, None)

    async def _end(self, run: Run, status: str, position: int) -> None:
        await self._records.save(run, status=status, position=position, lease_owner=None, lease_until=0.0)

    async def _forward(
        self, type: OperationType, run: Run, position: int, stopping: asyncio.Event
    ) -> tuple[CloudseedError | None, int]:
        """Steps from `position` on.  (None, position) when all are done, else the error and how far to undo."""
        names = [step.name for step in type.steps]
        await self._records.save(run, status="running")
        while position < len(type.steps):
            step = type.steps[position]
            if stopping.is_set():
                return Cancelled(), position
            await self._turn()
            await pass_point(f"{run.kind}:{step.name}:before")
            started = self._db.now()
            try:
                await self._interruptible(step, run, stopping)
                await pass_point(f"{run.kind}:{step.name}:after")
            except Backtrack as order:
                count = run.data["backtracks"] = run.data.get("backtracks", 0) + 1
                if count > type.backtracks:
                    return order.error, position + 1
                await self._records.note(run, step.name, "do", started, "retry", order.error.message)
                target = names.index(order.to)
                await self._backward(type, run, position + 1, target)
                position = target
                await self._records.save(run, status="running", position=position)
                continue
            except _Stopped:
                await self._records.note(run, step.name, "do", started, "cancelled", "")
                return Cancelled(), position + 1
            except CloudseedError as exc:
                await self._records.note(run, step.name, "do", started, "error", exc.message)
                return exc, position + 1
            except Exception as exc:
                log.exception("operation %s %s: step %s failed: a bug", run.kind, run.id, step.name)
                await self._records.note(run, step.name, "do", started, "error", f"{exc.__class__.__name__}: {exc}")
                return CloudseedError(f"Unexpected error in step {step.name} ({exc.__class__.__name__})."), position + 1
            position += 1
            # the status too: a database that crashed has lost that it was running, if nobody had waited for that
            await self._records.save(run, status="running", position=position,
                                     note=(step.name, "do", started, "ok", ""))
            await pass_point(f"{run.kind}:{step.name}:recorded")
        return None, position

    async def _turn(self) -> None:
        """One step begins in a round of the event loop: a request waits for a few of them, not for all."""
        async with self._turnstile:
            await asyncio.sleep(0)

    async def _interruptible(self, step: Step, run: Run, stopping: asyncio.Event) -> None:
        """The step's work, with retries; cut short (raising _Stopped) when the operation is cancelled."""
        work = asyncio.ensure_future(self._patiently(lambda: step.do(run), step.patience_s))
        stop = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
                raise _Stopped
            work.result()
        finally:
            stop.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait({work})

    async def _backward(self, type: OperationType, run: Run, position: int, target: int) -> None:
        """Undo the steps below `position`, last first, down to `target`."""
        for index in range(min(position, len(type.steps)) - 1, target - 1, -1):
            step = type.steps[index]
            if step.undo is not None:
                await pass_point(f"{run.kind}:{step.name}:undo-before")
                started, undo = self._db.now(), step.undo
                try:
                    await self._patiently(lambda undo=undo: undo(run), UNDO_PATIENCE_S)  # type: ignore[misc]
                except Exception as exc:
                    await self._records.note(run, step.name, "undo", started, "error", str(exc))
                    raise _UndoFailed(f"undo of {step.name}: {exc}") from exc
                await pass_point(f"{run.kind}:{step.name}:undo-after")
                await self._records.save(run, position=index, note=(step.name, "undo", started, "ok", ""))

    async def _patiently(self, action: Callable[[], Awaitable[None]], patience_s: float) -> None:
        until, pause = time.monotonic() + patience_s, 0.1
        while True:
            try:
                return await action()
            except BrokerAway:  # however long: work is late then, and not given up
                until = time.monotonic() + patience_s
            except CloudseedError as exc:
                if not exc.retry or time.monotonic() + pause > until:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def _renew(self, operation_id: str, driver: asyncio.Task[Any], lost: asyncio.Event) -> None:
        """Hold the lease while the driver works; stop it once another process has it (we were stopped meanwhile)."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            try:
                if not await self._records.renew(operation_id):
                    lost.set()
                    driver.cancel()
                    return
            except CloudseedError as exc:
                log.warning("operation %s: its lease could not be renewed: %s", operation_id, exc.message)

    # ---- reading

    async def idle(self, timeout_s: float = 60.0) -> bool:
        """Wait until no operation is open (tests, orderly stops); False when time is up."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if not await self._records.count_open():
                return True
            await asyncio.sleep(0.02)
        return False

    async def story(self, resource_id: str) -> list[dict[str, Any]]:
        """Every operation of a resource with its steps, oldest first: what `explain` tells."""
        return await self._records.story(resource_id)

    async def open_operations(self) -> list[dict[str, Any]]:
        """Unfinished operations, for the ledger."""
        return await self._records.open_operations()


class _Stopped(Exception):
    """The operation was cancelled during a step."""


class _UndoFailed(Exception):
    """An undo did not succeed within its patience."""
