"""RabbitMQ behind the bus: what comes twice, what was killed, what makes no sense, and a broker that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aio_pika
import pytest

from cloudseed.cli.servers import rabbitmq
from cloudseed.kernel.amqp import RabbitEngine, engine, link
from cloudseed.kernel.amqp.seen import Seen
from cloudseed.kernel.bus import Bus
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Timeout, Unavailable
from cloudseed.kernel.flow.recorder import FlowRecorder
from tests.support.broker import Wire, broker_directory, make_broker


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[RabbitEngine]:
    made = RabbitEngine(url)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def bus_of(made: RabbitEngine) -> Bus:
    return Bus("part", made, FlowRecorder())


@pytest.fixture
def topic() -> str:
    return f"test-{secrets.token_hex(4)}"


class Counter:
    """A handler that counts, and can be held."""

    def __init__(self) -> None:
        self.begun = 0
        self.at_work = asyncio.Event()
        self.go = asyncio.Event()

    async def count(self, ctx: Context) -> int:
        self.begun += 1
        self.at_work.set()
        await self.go.wait()
        return self.begun


async def publish(url: str, topic: str, body: bytes, times: int = 1, **properties: Any) -> None:
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        for _ in range(times):
            await channel.default_exchange.publish(aio_pika.Message(body, **properties), topic)


async def test_the_same_message_twice_is_handled_once(broker: rabbitmq.Broker, topic: str) -> None:
    counter = Counter()
    async with connected(broker.url) as receiver, connected(broker.url) as sender:
        bus_of(receiver).serve(topic, {"count": counter.count})
        assert await receiver.settled()
        counter.go.set()
        sent: list[tuple[bytes, str]] = []
        publish_once = link.Link.publish

        async def publish_twice(self: link.Link, topic: str, message: aio_pika.Message) -> None:
            sent.append((message.body, message.message_id or ""))
            await publish_once(self, topic, message)
            await publish_once(self, topic, message)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(link.Link, "publish", publish_twice)
            assert await bus_of(sender).call(Context(), topic, "count") == 1
        # long after, from somebody who still has a copy
        await publish(broker.url, topic, sent[0][0], 3, message_id=sent[0][1])
        assert await bus_of(sender).call(Context(), topic, "count") == 2
    assert counter.begun == 2


async def test_a_call_outlives_the_connections_of_both_ends(broker: rabbitmq.Broker, topic: str) -> None:
    counter = Counter()
    async with Wire(broker) as wire, connected(wire.url) as receiver, connected(wire.url) as sender:
        bus_of(receiver).serve(topic, {"count": counter.count})
        assert await receiver.settled()
        call = asyncio.create_task(bus_of(sender).call(Context(), topic, "count", timeout_s=30))
        await asyncio.wait_for(counter.at_work.wait(), 5)
        links = [receiver._link, sender._link]
        wire.cut()
        for link in links:
            assert link is not None
            await asyncio.wait_for(link.lost.wait(), 5)
        assert await receiver.settled() and await sender.settled()
        counter.go.set()
        assert await call == 1
    assert counter.begun == 1


async def test_what_a_killed_receiver_had_goes_to_another(broker: rabbitmq.Broker, topic: str) -> None:
    first, second = Counter(), Counter()
    second.go.set()
    async with connected(broker.url) as sender, Wire(broker) as wire, connected(wire.url) as killed:
        bus_of(killed).serve(topic, {"count": first.count})
        assert await killed.settled()
        call = asyncio.create_task(bus_of(sender).call(Context(), topic, "count", timeout_s=30))
        await asyncio.wait_for(first.at_work.wait(), 5)
        wire.shut = True
        wire.cut()
        async with connected(broker.url) as heir:
            bus_of(heir).serve(topic, {"count": second.count})
            assert await call == 1
        first.go.set()
    assert (first.begun, second.begun) == (1, 1)


async def test_a_call_whose_caller_gave_up_is_not_begun(broker: rabbitmq.Broker, topic: str) -> None:
    counter = Counter()
    counter.go.set()
    async with connected(broker.url) as sender:
        async with connected(broker.url) as receiver:
            bus_of(receiver).serve(topic, {"count": counter.count})
            assert await receiver.settled()
            await bus_of(sender).call(Context(), topic, "count")  # somebody is known to listen
        with pytest.raises(Timeout):
            await bus_of(sender).call(Context(), topic, "count", timeout_s=0.2)
        async with connected(broker.url) as receiver:
            bus_of(receiver).serve(topic, {"count": counter.count})
            assert await receiver.settled()
            assert await bus_of(sender).call(Context(), topic, "count") == 2
    assert counter.begun == 2


async def test_a_caller_hears_that_its_receiver_is_gone(
        broker: rabbitmq.Broker, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GONE_AFTER_S", "PROBE_S", "HEARD_S", "LOOK_S"):
        monkeypatch.setattr(engine, name, 0.05)
    counter = Counter()
    async with connected(broker.url) as sender:
        receiver = RabbitEngine(broker.url)
        await receiver.start()
        bus_of(receiver).serve(topic, {"count": counter.count})
        assert await receiver.settled()
        call = asyncio.create_task(bus_of(sender).call(Context(), topic, "count", timeout_s=60))
        await asyncio.wait_for(counter.at_work.wait(), 5)
        receiver._local.begin = None  # type: ignore[assignment]  # it never answers
        await receiver.drain(timeout_s=0.1)
        await receiver.stop()
        with pytest.raises(Unavailable, match="any more"):
            await asyncio.wait_for(call, 10)


async def test_a_body_that_makes_no_sense_is_dropped(
        broker: rabbitmq.Broker, topic: str, caplog: pytest.LogCaptureFixture) -> None:
    counter = Counter()
    counter.go.set()
    async with connected(broker.url) as receiver, connected(broker.url) as sender:
        bus_of(receiver).serve(topic, {"count": counter.count})
        assert await receiver.settled()
        for body in (b"", b"\xc1", b"\x80", b"{}", b"\x81\xa6caller\x01"):
            await publish(broker.url, topic, body)
        assert await bus_of(sender).call(Context(), topic, "count") == 1
        await receiver.drain()
        # none of them waits to be delivered again
        connection = await aio_pika.connect(broker.url)
        async with connection, connection.channel() as channel:
            queue = await channel.declare_queue(topic, passive=True)
            assert queue.declaration_result.message_count == 0
    assert sum("cannot be read" in record.message for record in caplog.records) == 5


async def test_a_connection_that_breaks_while_it_is_made_is_made_again(
    broker: rabbitmq.Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client library cancels the questions that are open when a connection breaks: nobody cancelled us."""
    follow, broken = link.Link.follow, list[str]()

    async def breaks_once(self: link.Link, topic: str, receive: link.Receive) -> None:
        if not broken:
            broken.append(topic)
            raise asyncio.CancelledError
        await follow(self, topic, receive)

    monkeypatch.setattr(link.Link, "follow", breaks_once)
    counter = Counter()
    counter.go.set()
    made = RabbitEngine(broker.url)
    bus_of(made).serve(topic, {"count": counter.count})
    await made.start()
    try:
        assert await made.settled() and broken == [topic]
        async with connected(broker.url) as sender:
            assert await bus_of(sender).call(Context(), topic, "count") == 1
    finally:
        await made.stop()


async def test_a_queue_deleted_under_its_consumer_is_made_again(broker: rabbitmq.Broker, topic: str) -> None:
    counter = Counter()
    counter.go.set()
    async with connected(broker.url) as receiver, connected(broker.url) as sender:
        bus_of(receiver).serve(topic, {"count": counter.count})
        assert await receiver.settled()
        before = receiver._link
        connection = await aio_pika.connect(broker.url)
        async with connection, connection.channel() as channel:
            await channel.queue_delete(topic)
        assert before is not None
        await asyncio.wait_for(before.lost.wait(), 5)
        assert await receiver.settled()
        assert await bus_of(sender).call(Context(), topic, "count") == 1


class TestBrokerAway:
    """With a broker of its own, which these tests stop."""

    @pytest.fixture
    def own(self) -> Iterator[rabbitmq.Broker]:
        if not rabbitmq.is_installed():
            pytest.skip("RabbitMQ is not installed")
        directory = broker_directory()
        made = make_broker(directory)
        yield made
        rabbitmq.stop(made.directory, at_once=True)
        shutil.rmtree(directory)

    async def start(self, own: rabbitmq.Broker) -> None:
        rabbitmq.start(own)
        await asyncio.to_thread(rabbitmq.wait_ready, own)

    async def test_everything_waits_for_it_and_nothing_hangs(
            self, own: rabbitmq.Broker, topic: str, monkeypatch: pytest.MonkeyPatch,
            caplog: pytest.LogCaptureFixture) -> None:
        monkeypatch.setattr(engine, "MAX_RETRY_S", 1.0)
        monkeypatch.setattr(engine, "WAIT_FOR_BROKER_S", 0.2)
        caplog.set_level(logging.WARNING)
        counter = Counter()
        async with connected(own.url) as receiver, connected(own.url) as sender:  # it was never started
            bus_of(receiver).serve(topic, {"count": counter.count})
            bus = bus_of(sender)
            for _ in range(3):
                with pytest.raises(Unavailable, match="broker"):
                    await asyncio.wait_for(bus.call(Context(), topic, "count"), 2)
                await bus.cast(Context(), topic, "count")
                await bus.fanout(Context(), topic, "count")
            assert sum("is dropped" in record.message for record in caplog.records) == 1

            await self.start(own)
            assert await receiver.settled(15) and await sender.settled(15)
            call = asyncio.create_task(bus.call(Context(), topic, "count", timeout_s=60))
            await asyncio.wait_for(counter.at_work.wait(), 5)

            await asyncio.to_thread(rabbitmq.stop, own.directory, at_once=True)
            rabbitmq.empty(own.directory)
            with pytest.raises(Unavailable):
                await asyncio.wait_for(bus.call(Context(), topic, "count"), 10)
            await self.start(own)
            assert await receiver.settled(15) and await sender.settled(15)
            counter.go.set()
            assert await asyncio.wait_for(call, 20) == 1  # asked before, answered by a broker that knows nothing of it
            assert await bus.call(Context(), topic, "count") == 2


async def test_seen_forgets_the_oldest_answers_and_no_work() -> None:
    seen = Seen(max_messages=2, max_bytes=100)
    begun: list[str] = []

    def work(name: str, size: int = 1) -> Any:
        async def run() -> bytes:
            begun.append(name)
            await asyncio.sleep(0)
            return b"x" * size

        return lambda: asyncio.create_task(run())

    for name in ("a", "b", "a", "b"):
        await seen.once(name, work(name))
    assert begun == ["a", "b"]
    await asyncio.gather(*(seen.once("c", work("c")) for _ in range(5)))
    assert begun == ["a", "b", "c"] and len(seen) == 2
    await seen.once("a", work("a"))
    assert begun[-1] == "a"
    await seen.once("large", work("large", 1000))
    assert len(seen) == 1


async def test_a_process_that_stood_still_begins_nothing_stale(
        broker: rabbitmq.Broker, topic: str) -> None:
    counter = Counter()
    counter.go.set()
    async with connected(broker.url) as receiver, connected(broker.url) as sender:
        bus_of(receiver).serve(topic, {"count": counter.count})
        assert await receiver.settled()
        await bus_of(sender).call(Context(), topic, "count")
        before = receiver._link
        receiver._turned -= 60.0  # as if the last turn of its loop was a minute ago
        answer = asyncio.create_task(bus_of(sender).call(Context(), topic, "count", timeout_s=30))
        assert before is not None
        await asyncio.wait_for(before.lost.wait(), 5)
        assert "stood still" in before.reason
        assert await answer == 2  # its caller waited, so it came again over the next connection


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.silent_s: list[float] = []
        self.changed = asyncio.Event()

    def lose(self, ago_s: float) -> None:
        self.told.append("lose")
        self.silent_s.append(ago_s)
        self.changed.set()

    def hear(self) -> None:
        self.told.append("hear")
        self.changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.told) < count:
                self.changed.clear()
                await self.changed.wait()


async def test_who_watches_is_told_when_nobody_can_be_heard(
        broker: rabbitmq.Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CONFIRM_S", 1.0)
    listener, late = Listener(), Listener()
    async with Wire(broker) as wire:
        made = RabbitEngine(wire.url)
        made.watch(listener)
        assert listener.told == ["lose"]  # there is no connection yet
        await made.start()
        try:
            await listener.until(2)
            made.watch(late)
            assert (listener.told, late.told) == (["lose", "hear"], [])
            wire.shut = True
            wire.cut()
            await listener.until(3)
            wire.shut = False
            await listener.until(4)
            await asyncio.sleep(engine.SILENT_S + 1.5)  # an idle connection that lives
            assert listener.told == ["lose", "hear"] * 2
            wire.still = True
            await listener.until(5)
            assert listener.silent_s[-1] >= engine.CONFIRM_S  # since its last word, not since it was noticed
            wire.still = False
            await listener.until(6)
            assert late.told == listener.told[2:]
        finally:
            await made.stop()
