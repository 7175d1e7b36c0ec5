"""What an operation is made of: its table of steps, the run of one, and the ways in which it leaves its path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError


class Run:
    """An operation while it is driven: `data` is saved after each step."""

    def __init__(self, id: str, kind: str, resource_id: str, data: dict[str, Any], ctx: Context) -> None:
        self.id = id
        self.kind = kind
        self.resource_id = resource_id
        self.data = data
        self.ctx = ctx


Action = Callable[[Run], Awaitable[None]]


class Step(NamedTuple):
    """One step.  `resumable` False: after a crash in it the operation is undone (its input was a client's stream)."""

    name: str
    do: Action
    undo: Action | None = None
    patience_s: float = 60.0
    resumable: bool = True


class OperationType(NamedTuple):
    """The declared table of an operation.  `failed` renders the failure once all is undone; safe to run twice.

    `at_once`: how many of the kind one process drives side by side (None: as many as there are).  Thousands of orders
    that all advance by turns would all be late, and their records, leases and messages would hold one another up.
    """

    kind: str
    steps: tuple[Step, ...]
    failed: Callable[[Run, CloudseedError], Awaitable[None]] | None = None
    backtracks: int = 3
    at_once: int | None = None


class Backtrack(Exception):
    """Undo down to (and with) step `to`, then go forward again from it; `error` counts once patience ends."""

    def __init__(self, to: str, error: CloudseedError) -> None:
        super().__init__(to)
        self.to = to
        self.error = error


class LeaseLost(Exception):
    """Somebody else carries this operation on; stop, change nothing."""


class Cancelled(CloudseedError):
    status, title = 409, "Conflict"
    template = "The operation was cancelled by a later request."
