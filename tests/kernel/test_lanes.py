"""A lane: every piece once, in order, few of them waiting, and an error that reaches who puts or finishes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cloudseed.kernel.lanes import TURN, WAITING, Lane


async def test_every_piece_is_worked_on_once_and_in_order() -> None:
    seen: list[int] = []
    lane = Lane(seen.append)
    for number in range(TURN * 20):
        await lane.put(number)
        if number % 7 == 0:
            await asyncio.sleep(0)  # the thread may run dry, and leave
    await lane.finish()
    assert seen == list(range(TURN * 20))
    await lane.close()


async def test_only_a_few_pieces_wait() -> None:
    gate = threading.Event()
    put = 0

    def work(number: int) -> None:
        gate.wait(10)

    lane = Lane(work)

    async def feed() -> None:
        nonlocal put
        for number in range(50):
            await lane.put(number)
            put += 1

    feeding = asyncio.create_task(feed())
    await asyncio.wait({feeding}, timeout=0.1)
    try:
        assert WAITING <= put <= WAITING + 1  # and the one at work
    finally:
        gate.set()
    await feeding
    await lane.finish()
    assert put == 50


async def test_an_error_reaches_the_next_put_and_nothing_more_is_done() -> None:
    seen: list[int] = []

    def work(number: int) -> None:
        seen.append(number)
        if number == 3:
            raise OSError("full")

    lane = Lane(work)
    with pytest.raises(OSError, match="full"):
        for number in range(1000):
            await lane.put(number)
    with pytest.raises(OSError, match="full"):
        await lane.finish()
    await lane.close()
    assert seen == [0, 1, 2, 3]


async def test_after_close_nothing_runs() -> None:
    begun, gate, seen = threading.Event(), threading.Event(), list[int]()

    def work(number: int) -> None:
        begun.set()
        gate.wait(10)
        seen.append(number)

    lane = Lane(work)
    for number in range(3):
        await lane.put(number)
    await asyncio.to_thread(begun.wait, 10)
    closing = asyncio.create_task(lane.close())
    await asyncio.sleep(0)
    gate.set()
    await closing
    assert seen == [0]
