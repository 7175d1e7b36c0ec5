"""Durable operations: what a user ordered and has an end, as a table of steps, each with its undo.

    BOOT = OperationType("nova.boot", steps=(
        Step("schedule", schedule, undo_schedule),
        Step("claim", claim, undo_claim),
        ...), failed=boot_failed)

    async with db.write() as tx:                       # the intent is committed with the record itself
        await tx.execute(insert(servers).values(...))
        await engine.submit(tx, BOOT, server_id, {"flavor": ...}, ctx)
    engine.wake()

The contract of a step:
- `do(run)` finds its own earlier result by a key derived from the resource's id, so running it twice is
  harmless.  What later steps or its undo need, it puts into `run.data` (JSON), which is saved with the position.
- `undo(run)` removes only what this operation created, and is safe to run twice, or when `do` never ran or ran
  in part: the step that failed is undone too.
- A raised error with `retry = True` (Unavailable, Timeout) means unknown: the step is asked again, with a
  growing pause, for its `patience_s`.  `Backtrack` undoes down to a named step and goes forward again from there.
  Any other error fails the operation: all steps are undone in reverse, then `failed(run, error)` renders it.
- A process may die at any instruction.  Recovery is the ordinary path: a lapsed lease is claimed like new work.

`types.py` says what they are made of, `engine.py` runs them, `records.py` writes what became of them into the
tables of `tables.py`, `faults.py` has the points at which tests kill.
"""

from cloudseed.kernel.operations.engine import Engine
from cloudseed.kernel.operations.faults import Killed, declare_points, fault_point, pass_point
from cloudseed.kernel.operations.tables import OperationTables
from cloudseed.kernel.operations.types import Backtrack, Cancelled, OperationType, Run, Step

__all__ = [
    "Backtrack",
    "Cancelled",
    "Engine",
    "Killed",
    "OperationTables",
    "OperationType",
    "Run",
    "Step",
    "declare_points",
    "fault_point",
    "pass_point",
]
