"""The records of operations: written by whoever holds the lease, read by `explain`, `audit` and the tests."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Database, Tx, flush
from cloudseed.kernel.operations.tables import OPEN, OperationTables
from cloudseed.kernel.operations.types import LeaseLost, OperationType, Run

CHANNEL = "operations"  # something was ordered or cancelled
Note = tuple[str, str, float, str, str]  # step, do or undo, when it began, outcome, message


class Records:
    """The operation records of one service, as the holder of `owner`'s leases sees and changes them."""

    def __init__(self, db: Database, tables: OperationTables, owner: str, lease_s: float) -> None:
        self._db = db
        self._tables = tables
        self._table = table = tables.operations
        self.owner = owner
        self._lease_s = lease_s
        self._latest = 0.0  # when the latest operation of ours was ordered
        # built once: building a statement costs more than running it
        self._new = sa.insert(table)
        self._new_note = sa.insert(tables.steps)
        self._change = sa.update(table).where(
            table.c.id == sa.bindparam("this"), table.c.lease_owner == sa.bindparam("holder")
        )
        self._one = sa.select(table).where(table.c.id == sa.bindparam("this"))
        earlier = table.alias("earlier")
        # one operation at a time on a resource, in the order of their orders
        self._next = (
            sa.select(table.c.id, table.c.kind)
            .where(table.c.status.in_(OPEN), table.c.not_before <= sa.bindparam("now"))
            .where(sa.or_(table.c.lease_until <= sa.bindparam("now"), table.c.lease_until > sa.bindparam("never"),
                          table.c.id.in_(sa.bindparam("dropped", expanding=True))))
            .where(table.c.id.not_in(sa.bindparam("driven", expanding=True)))
            .where(table.c.kind.not_in(sa.bindparam("full", expanding=True)))
            .where(~sa.exists().where(
                earlier.c.resource_id == table.c.resource_id, earlier.c.status.in_(OPEN),
                sa.or_(earlier.c.created_at < table.c.created_at,
                       sa.and_(earlier.c.created_at == table.c.created_at, earlier.c.id < table.c.id))))
            .order_by(table.c.created_at, table.c.id)
            .limit(sa.bindparam("most", type_=sa.Integer))
        )
        self._unwanted = sa.select(table.c.id).where(
            table.c.status.in_(OPEN), table.c.cancel_requested, table.c.lease_owner == self.owner)

    async def insert(
        self, tx: Tx, type: OperationType, resource_id: str, data: dict[str, Any], ctx: Context, *, leased: bool
    ) -> str:
        """A new operation's record; `leased` to us when we drive it at once."""
        operation_id, now = str(uuid.uuid4()), self._db.now()
        self._latest = max(now, self._latest + 1e-6)  # in the order of the orders, also when the clock is set back
        await tx.execute(
            self._new,
            {
                "id": operation_id,
                "kind": type.kind,
                "resource_id": resource_id,
                "status": "pending",
                "position": 0,
                "data": data,
                "context": ctx.to_wire(),
                "cancel_requested": False,
                "lease_owner": self.owner if leased else None,
                "lease_until": now + self._lease_s if leased else 0.0,
                "not_before": 0.0,
                "created_at": self._latest,
                "updated_at": now,
            },
        )
        if not leased:
            await tx.notify(CHANNEL)
        return operation_id

    async def request_cancel(self, tx: Tx, resource_id: str, kinds: tuple[str, ...] | None) -> list[str]:
        """Mark a resource's unfinished operations (of these kinds) as unwanted; their ids."""
        table = self._table
        where = [table.c.resource_id == resource_id, table.c.status.in_(("pending", "running"))]
        if kinds is not None:
            where.append(table.c.kind.in_(kinds))
        ids = list(await tx.scalars(sa.select(table.c.id).where(*where)))
        if ids:
            await tx.execute(sa.update(table).where(table.c.id.in_(ids)).values(cancel_requested=True))
            await tx.notify(CHANNEL)
        return ids

    async def outcome(self, operation_id: str) -> sa.Row[Any] | None:
        """(status, error) of an operation."""
        async with self._db.look() as tx:
            return await tx.first(
                sa.select(self._table.c.status, self._table.c.error).where(self._table.c.id == operation_id)
            )

    def _never(self, now: float) -> float:
        """No lease ends later than this, unless the clock was set back: then it is over."""
        return now + 2 * self._lease_s + 120.0

    async def begin(self) -> None:
        """Before orders are taken: they come after those that are open."""
        async with self._db.look() as tx:
            latest = await tx.scalar(sa.select(sa.func.max(self._table.c.created_at)).where(
                self._table.c.status.in_(OPEN)))
        self._latest = max(self._latest, latest or 0.0)

    async def free_all(self) -> None:
        """Take every lease from whoever held it: they are dead."""
        async with self._db.write() as tx:
            await tx.execute(
                sa.update(self._table).where(self._table.c.status.in_(OPEN)).values(lease_owner=None, lease_until=0.0)
            )

    async def unwanted(self) -> list[str]:
        """Those of ours that were cancelled, perhaps by another process."""
        async with self._db.look() as tx:
            return list(await tx.scalars(self._unwanted))

    async def claimable(
        self, driven: Collection[str], dropped: Collection[str], full: Collection[str], most: int
    ) -> list[sa.Row[Any]]:
        """(id, kind) of open operations that nobody carries on and that need not wait for another, the eldest first.

        Left out: what we have in hand (`driven`) and kinds of which we have enough (`full`).  `dropped` are ours by
        their lease, and nobody drives them."""
        now = self._db.now()
        values = {"now": now, "never": self._never(now), "driven": list(driven), "dropped": list(dropped),
                  "full": list(full), "most": most}
        async with self._db.look() as tx:
            return list(await tx.all(self._next, values))

    async def claim(self, ids: Collection[str]) -> list[sa.Row[Any]]:
        """The records of those of them that are ours to drive now, the eldest first.

        One transaction for all: where many wait for their turn to write, one each would be one an eternity."""
        table, now = self._table, self._db.now()
        async with self._db.write() as tx:
            rows = await tx.all(
                sa.update(table)
                .where(table.c.id.in_(ids), table.c.status.in_(OPEN))
                .where(sa.or_(table.c.lease_until <= now, table.c.lease_until > self._never(now),
                              table.c.lease_owner == self.owner))
                .values(lease_owner=self.owner, lease_until=now + self._lease_s)
                .returning(table)
            )
        return sorted(rows, key=lambda row: (row.created_at, row.id))

    async def save(self, run: Run, note: Note | None = None, **values: Any) -> None:
        """Where the run stands; LeaseLost when somebody else carries it on."""
        await flush()  # what the step did must be on disk before the record says so
        async with self._db.write() as tx:
            saved = await tx.execute(
                self._change,
                {"this": run.id, "holder": self.owner, "data": run.data, "updated_at": self._db.now(), **values},
            )
            if saved.rowcount == 0:
                raise LeaseLost
            if note is not None:
                await self._insert_note(tx, run, note)

    async def note(self, run: Run, step: str, action: str, started: float, outcome: str, message: str) -> None:
        """A line of the operation's story."""
        async with self._db.write() as tx:
            await self._insert_note(tx, run, (step, action, started, outcome, message))

    async def _insert_note(self, tx: Tx, run: Run, note: Note) -> None:
        step, action, started, outcome, message = note
        await tx.execute(
            self._new_note,
            {
                "operation_id": run.id,
                "step": step,
                "action": action,
                "started_at": started,
                "ended_at": self._db.now(),
                "outcome": outcome,
                "message": message,
            },
        )

    async def renew(self, operation_id: str) -> bool:
        """Hold our lease for longer; False when it is another's."""
        async with self._db.write() as tx:
            renewed = await tx.execute(
                sa.update(self._table)
                .where(self._table.c.id == operation_id, self._table.c.lease_owner == self.owner)
                .values(lease_until=self._db.now() + self._lease_s)
            )
        return renewed.rowcount > 0

    # ---- reading

    async def count_open(self) -> int:
        async with self._db.look() as tx:
            return await tx.scalar(sa.select(sa.func.count()).where(self._table.c.status.in_(OPEN))) or 0

    async def story(self, resource_id: str) -> list[dict[str, Any]]:
        """Every operation of a resource with its steps, oldest first: what `explain` tells."""
        async with self._db.read() as tx:
            rows = await tx.all(
                sa.select(self._table)
                .where(self._table.c.resource_id == resource_id)
                .order_by(self._table.c.created_at)
            )
            steps = await tx.all(
                sa.select(self._tables.steps)
                .where(self._tables.steps.c.operation_id.in_([row.id for row in rows]))
                .order_by(self._tables.steps.c.id)
            )
        return [
            {
                "id": row.id,
                "kind": row.kind,
                "status": row.status,
                "error": row.error,
                "request_id": row.context.get("request_id"),
                "created_at": row.created_at,
                "updated_at": row.updated_at,
                "steps": [
                    {
                        "step": s.step,
                        "action": s.action,
                        "started_at": s.started_at,
                        "ended_at": s.ended_at,
                        "outcome": s.outcome,
                        "message": s.message,
                    }
                    for s in steps
                    if s.operation_id == row.id
                ],
            }
            for row in rows
        ]

    async def open_operations(self) -> list[dict[str, Any]]:
        """Unfinished operations, for the ledger; of those that cannot be undone, `undo_error` and since when."""
        async with self._db.read() as tx:
            rows = await tx.all(sa.select(self._table).where(self._table.c.status.in_(OPEN)))
            failing = await self._failing_undos(tx, [row.id for row in rows if row.status == "undoing"])
        return [
            {
                "id": row.id,
                "kind": row.kind,
                "resource_id": row.resource_id,
                "status": row.status,
                "created_at": row.created_at,
                "updated_at": row.updated_at,
                **failing.get(row.id, {}),
            }
            for row in rows
        ]

    async def _failing_undos(self, tx: Tx, ids: list[str]) -> dict[str, dict[str, Any]]:
        """By operation, what its undo fails with and since when, where the last try of it did."""
        notes = self._tables.steps.c
        rows = await tx.all(sa.select(notes.operation_id, notes.step, notes.started_at, notes.outcome, notes.message)
                            .where(notes.operation_id.in_(ids), notes.action == "undo")
                            .order_by(notes.id)) if ids else []
        failing: dict[str, dict[str, Any]] = {}
        for row in rows:
            if row.outcome == "ok":
                failing.pop(row.operation_id, None)
            else:
                failing.setdefault(row.operation_id, {"undo_failing_since": row.started_at})
                failing[row.operation_id]["undo_error"] = f"undo of {row.step}: {row.message}"
        return failing
