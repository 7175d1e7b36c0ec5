"""The unreliable bus does what it says, and the same again with the same seed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cloudseed.kernel import bus_faults
from cloudseed.kernel.bus import Bus, InProcessEngine
from cloudseed.kernel.bus_faults import Faults, UnreliableEngine
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Timeout
from cloudseed.kernel.flow.recorder import FlowRecorder


async def outcomes(faults: Faults, count: int = 40) -> tuple[list[Any], list[int]]:
    """What callers of `count` calls heard, and what was handled in which order."""
    engine = UnreliableEngine(InProcessEngine(), faults)
    bus = Bus("part", engine, FlowRecorder())
    handled: list[int] = []

    async def take(ctx: Context, number: int) -> int:
        handled.append(number)
        return number

    bus.serve("topic", {"take": take})

    async def ask(number: int) -> Any:
        try:
            return await bus.call(Context(), "topic", "take", number=number)
        except Timeout:
            return "unknown"

    heard = await asyncio.gather(*(ask(number) for number in range(count)))
    while engine._tasks:
        await asyncio.wait(engine._tasks)
    await engine.stop()
    return heard, handled


async def test_without_faults_nothing_changes() -> None:
    heard, handled = await outcomes(Faults())
    assert heard == handled == list(range(40))


async def test_each_fault_is_seen() -> None:
    heard, handled = await outcomes(Faults(twice=1))
    assert heard == list(range(40)) and sorted(handled) == sorted([*range(40), *range(40)])
    heard, handled = await outcomes(Faults(late_s=0.05))
    assert heard == list(range(40)) and handled != heard and sorted(handled) == heard
    heard, handled = await outcomes(Faults(lost=0.5, patience_s=0))
    assert {number for number in heard if number != "unknown"} == set(handled) and 5 < heard.count("unknown") < 35
    heard, handled = await outcomes(Faults(lost_replies=1, patience_s=0))
    assert heard == ["unknown"] * 40 and handled == list(range(40))


async def test_a_seed_is_a_story() -> None:
    first = await outcomes(Faults(seed=5, lost=0.3, lost_replies=0.3, twice=0.3, patience_s=0))
    assert first == await outcomes(Faults(seed=5, lost=0.3, lost_replies=0.3, twice=0.3, patience_s=0))
    assert first != await outcomes(Faults(seed=6, lost=0.3, lost_replies=0.3, twice=0.3, patience_s=0))


def test_the_environment_says_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOUDSEED_BUS_FAULTS", raising=False)
    assert bus_faults.from_environment() is None
    monkeypatch.setenv("CLOUDSEED_BUS_FAULTS", "seed=7 twice=1 late_s=0.3")
    assert bus_faults.from_environment() == Faults(seed=7, twice=1.0, late_s=0.3)
