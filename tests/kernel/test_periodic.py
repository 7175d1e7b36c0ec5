"""Loops outlive what goes wrong in their work."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from cloudseed.kernel.errors import Unavailable
from cloudseed.kernel.periodic import Loop


async def test_a_loop_does_not_end_with_something_that_its_work_waited_for() -> None:
    """As a client library cancels whatever is open when its connection is lost."""
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    loop = Loop("trial", work, 60.0)
    task = asyncio.create_task(loop.run())
    async with asyncio.timeout(5):
        await loop.run_soon()
        await loop.run_soon()
    assert runs >= 2
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_who_waits_for_a_run_hears_that_the_loop_was_ended() -> None:
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        await asyncio.Event().wait()

    loop = Loop("trial", work, 60.0)
    waiter = asyncio.create_task(loop.run_soon())
    await asyncio.sleep(0)
    task = asyncio.create_task(loop.run())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert task.cancelled()


async def test_that_somebody_is_away_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="cloudseed.kernel.periodic")
    answers: list[Exception | None] = [Unavailable("away"), Unavailable("away"), Unavailable("elsewhere"), None, None]

    async def work() -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    loop = Loop("trial", work, 60.0)
    task = asyncio.create_task(loop.run())
    async with asyncio.timeout(5):
        while answers:
            await loop.run_soon()
    task.cancel()
    said = [(record.levelname, record.getMessage().rpartition(" ")[2]) for record in caplog.records]
    assert said == [("WARNING", "away"), ("WARNING", "elsewhere"), ("INFO", "on")]
