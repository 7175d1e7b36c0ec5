"""The bus, the same on both engines: a sender and receivers in one process, and in many over RabbitMQ."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cloudseed.kernel.amqp import RabbitEngine
from cloudseed.kernel.bus import Bus, Engine, InProcessEngine
from cloudseed.kernel.context import Context, Identity
from cloudseed.kernel.errors import CloudseedError, NotFound, OverQuota, Timeout, Unavailable
from cloudseed.kernel.flow.recorder import FlowRecorder


class Parts:
    """Engines as processes have them: `sender` for one that asks, `receiver` for those that answer."""

    def __init__(self, make: Callable[[], Engine], *, apart: bool) -> None:
        self._make = make
        self.apart = apart
        self.engines: list[Engine] = []
        self.recorder = FlowRecorder()
        self.topic = f"test-{secrets.token_hex(4)}"

    async def engine(self) -> Engine:
        if self.apart or not self.engines:
            engine = self._make()
            await engine.start()
            self.engines.append(engine)
        return self.engines[-1]

    async def bus(self, part: str) -> Bus:
        return Bus(part, await self.engine(), self.recorder)

    async def receiver(self, part: str = "receiver", **handlers: Any) -> Callable[[], None]:
        end = (await self.bus(part)).serve(self.topic, handlers)
        assert await self.engines[-1].settled()
        return end

    async def close(self) -> None:
        for engine in self.engines:
            await engine.stop()


@pytest.fixture(params=["in process", "RabbitMQ"])
async def parts(request: pytest.FixtureRequest) -> AsyncIterator[Parts]:
    if request.param == "in process":
        made = Parts(InProcessEngine, apart=False)
    else:
        url = request.getfixturevalue("broker").url
        made = Parts(lambda: RabbitEngine(url), apart=True)
    yield made
    await made.close()


async def test_a_call_is_answered_and_carries_its_context(parts: Parts) -> None:
    heard: list[Context] = []

    async def greet(ctx: Context, name: str) -> dict[str, Any]:
        heard.append(ctx)
        return {"greeting": f"hello {name}", "of": [1, None, 2.5]}

    await parts.receiver(greet=greet)
    ctx = Context(identity=Identity(user_id="u1", roles=frozenset({"member"})))
    answer = await (await parts.bus("sender")).call(ctx, parts.topic, "greet", name="you")
    assert answer == {"greeting": "hello you", "of": [1, None, 2.5]}
    assert heard[0].identity == ctx.identity and heard[0].request_id == ctx.request_id
    assert heard[0].trace.trace_id == ctx.trace.trace_id


async def test_errors_keep_their_class(parts: Parts) -> None:
    async def fail(ctx: Context, how: str) -> None:
        if how == "bug":
            raise ZeroDivisionError("text of a bug")
        raise OverQuota("too many", limit=3) if how == "quota" else NotFound()

    await parts.receiver(fail=fail)
    bus = await parts.bus("sender")
    with pytest.raises(OverQuota, match="too many"):
        await bus.call(Context(), parts.topic, "fail", how="quota")
    with pytest.raises(NotFound):
        await bus.call(Context(), parts.topic, "fail", how="absent")
    with pytest.raises(CloudseedError):
        await bus.call(Context(), parts.topic, "fail", how="bug")
    with pytest.raises(Unavailable, match="handles"):
        await bus.call(Context(), parts.topic, "no such method")


async def test_a_call_to_nobody_is_refused_at_once(parts: Parts) -> None:
    bus = await parts.bus("sender")
    with pytest.raises(Unavailable, match="Nobody listens"):
        await asyncio.wait_for(bus.call(Context(), parts.topic, "any"), 5)
    await bus.cast(Context(), parts.topic, "any")
    await bus.fanout(Context(), parts.topic, "any")


async def test_a_topic_that_was_left_has_nobody(parts: Parts) -> None:
    async def answer(ctx: Context) -> int:
        return 1

    end = await parts.receiver(answer=answer)
    engine = parts.engines[-1]
    bus = await parts.bus("sender")
    end()
    assert await engine.settled()
    with pytest.raises(Unavailable, match="Nobody listens"):
        await asyncio.wait_for(bus.call(Context(), parts.topic, "answer"), 5)


async def test_a_call_that_takes_too_long_has_an_unknown_outcome(parts: Parts) -> None:
    done = asyncio.Event()

    async def slow(ctx: Context) -> None:
        await asyncio.sleep(0.4)
        done.set()

    await parts.receiver(slow=slow)
    with pytest.raises(Timeout):
        await (await parts.bus("sender")).call(Context(), parts.topic, "slow", timeout_s=0.1)
    await asyncio.wait_for(done.wait(), 5)  # a caller that gives up does not end the work


async def test_a_cast_reaches_one_and_a_fanout_all(parts: Parts) -> None:
    got: list[tuple[str, int]] = []
    some = asyncio.Condition()

    def named(name: str) -> Any:
        async def take(ctx: Context, number: int) -> None:
            async with some:
                got.append((name, number))
                some.notify_all()

        return take

    async def wait_for(count: int) -> None:
        async with some:
            await asyncio.wait_for(some.wait_for(lambda: len(got) >= count), 5)

    for name in ("one", "two", "three"):
        await parts.receiver(name, take=named(name))
    bus = await parts.bus("sender")
    for number in range(9):
        await bus.cast(Context(), parts.topic, "take", number=number)
    await wait_for(9)
    assert sorted(number for _, number in got) == list(range(9))
    assert {name for name, _ in got} == {"one", "two", "three"}  # each in turn
    got.clear()
    await bus.fanout(Context(), parts.topic, "take", number=100)
    await wait_for(3)
    assert sorted(got) == [("one", 100), ("three", 100), ("two", 100)]


async def test_whoever_sends_to_all_is_among_them_once(parts: Parts) -> None:
    got: list[str] = []
    other = asyncio.Event()

    async def mine(ctx: Context) -> None:
        got.append("mine")

    async def its(ctx: Context) -> None:
        got.append("its")
        other.set()

    await parts.receiver("other", take=its)
    bus = await parts.bus("sender")
    bus.serve(parts.topic, {"take": mine})
    assert await parts.engines[-1].settled()
    await bus.fanout(Context(), parts.topic, "take")
    await asyncio.wait_for(other.wait(), 5)
    await parts.engines[-1].drain()
    assert sorted(got) == ["its", "mine"]


async def test_many_calls_at_once_get_their_own_answers(parts: Parts) -> None:
    async def double(ctx: Context, number: int, text: str) -> int:
        await asyncio.sleep(0)
        return number * 2 + len(text)

    await parts.receiver(double=double)
    bus = await parts.bus("sender")
    answers = await asyncio.gather(*(bus.call(Context(), parts.topic, "double", number=n, text="x" * 1000)
                                     for n in range(300)))
    assert answers == [n * 2 + 1000 for n in range(300)]


async def test_a_large_answer_comes_whole(parts: Parts) -> None:
    async def much(ctx: Context) -> list[str]:
        return [f"server-{number:06}" * 10 for number in range(20_000)]

    await parts.receiver(much=much)
    answer = await (await parts.bus("sender")).call(Context(), parts.topic, "much")
    assert len(answer) == 20_000 and answer[-1] == "server-019999" * 10


async def test_handlers_at_work_finish_before_the_end(parts: Parts) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def work(ctx: Context) -> None:
        began.set()
        await asyncio.sleep(0.2)
        ended.set()

    await parts.receiver(work=work)
    engine = parts.engines[-1]
    await (await parts.bus("sender")).cast(Context(), parts.topic, "work")
    await asyncio.wait_for(began.wait(), 5)
    await engine.drain()
    assert ended.is_set()
