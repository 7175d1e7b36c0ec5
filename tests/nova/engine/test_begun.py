"""What a compute makes of `again` when messages come twice, late, or after a kill."""

from __future__ import annotations

import asyncio

from cloudseed.kernel.bus import InProcessEngine, handle
from cloudseed.kernel.context import Context
from cloudseed.nova.compute.admission import Ask, Kind
from cloudseed.nova.compute.begun import Begun

ASK = Ask(Kind.ALLOCATE_NETWORKS, "op")


def test_a_first_message_is_trusted_once() -> None:
    begun = Begun()
    assert begun.corrected(ASK, {"again": False, "spec": 1}) == {"again": False, "spec": 1}
    assert begun.corrected(ASK, {"again": False}) == {"again": True}
    assert begun.corrected(Ask(Kind.ALLOCATE_NETWORKS, "other"), {"again": False}) == {"again": False}
    assert begun.corrected(ASK, {"again": True}) == {"again": True}
    assert begun.corrected(ASK, {}) == {}


def test_the_memory_is_bounded() -> None:
    begun = Begun(memory=2)
    for number in range(3):
        begun.corrected(Ask(Kind.MAKE_VOLUMES, str(number)), {"again": False})
    assert begun.corrected(Ask(Kind.MAKE_VOLUMES, "2"), {"again": False}) == {"again": True}
    assert begun.corrected(Ask(Kind.MAKE_VOLUMES, "0"), {"again": False}) == {"again": False}


async def test_a_message_that_is_delivered_again_after_a_kill_is_not_trusted() -> None:
    seen: list[bool] = []

    async def take(ctx: Context) -> None:
        seen.append(Begun().corrected(ASK, {"again": False})["again"])

    from cloudseed.kernel.bus import _encode, _Message
    body = _encode(_Message("part", Context(), "take", {}))
    await handle({"take": take}, body)
    engine = InProcessEngine()
    await engine.begin({"take": take}, body, True)
    await asyncio.sleep(0)
    assert seen == [False, True]
