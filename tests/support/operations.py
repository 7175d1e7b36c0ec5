"""The tests that every durable operation gets, generated from its declared steps.

    @pytest.mark.parametrize("point", forward_points(BOOT))
    async def test_killed(tmp_path, point):
        async with killed_at(point, lambda: Cloud(tmp_path), order) as cloud:      # a new start on the same state
            assert await engine_of(cloud).idle()
            ...the final state is right, the ledger is clean

`killed_at` runs the cloud, lets `order` begin the operation, and "kills the process" where the operation passes
`point`: the work stops dead there, the runtime is stopped and a new one started on the same state directory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from cloudseed.kernel.operations import Killed, OperationType, faults

C = TypeVar("C")
DEADLINE_S = 20.0


def forward_points(type: OperationType) -> list[str]:
    """Every point that an operation passes when all goes well."""
    return [f"{type.kind}:{step.name}:{moment}" for step in type.steps for moment in ("before", "after", "recorded")]


def undo_points(type: OperationType, failing: str) -> list[str]:
    """Every point that is passed while it is undone, when step `failing` fails."""
    names = [step.name for step in type.steps]
    undone = [step for step in type.steps[:names.index(failing) + 1] if step.undo]
    return [f"{type.kind}:{step.name}:{moment}"
            for step in reversed(undone) for moment in ("undo-before", "undo-after")]


@contextlib.asynccontextmanager
async def killed_at(point: str, start: Callable[[], AbstractAsyncContextManager[C]],
                    order: Callable[[C], Awaitable[None]]) -> AsyncIterator[C]:
    """Order, die at `point`, start anew; the new start is given."""
    async with start() as cloud:
        died = asyncio.Event()

        def die(name: str) -> None:
            if name == point:
                died.set()
            if died.is_set():  # nothing of this "process" goes on after its death
                raise Killed(name)

        faults.arm(die)
        try:
            await order(cloud)
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await died.wait()
            except TimeoutError:
                raise AssertionError(f"the operation never came to {point}") from None
        except BaseException:
            faults.arm(None)
            raise
    faults.arm(None)  # only now: until it has stopped, nothing of it may go on
    async with start() as cloud:
        yield cloud

