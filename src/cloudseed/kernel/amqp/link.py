"""One connection to RabbitMQ, all that is declared over it, and its end.

    <topic>            a durable quorum queue, for `call` and `cast`: one of its consumers gets each message
    fanout.<topic>     a fanout exchange; each process that serves the topic has a queue of its own behind it
    replies, fanouts   two exclusive queues, new with each connection: one that is half dead may hold the old names

A link is used until the first thing goes wrong with it (the connection, a channel, a queue deleted under its
consumer) and then given up whole: the engine makes a new one, which declares everything anew.  So there is one
way back from every failure, and a broker that comes back empty is a normal case.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed, PublishError
from pamqp.common import FieldTable
from yarl import URL

log = logging.getLogger(__name__)
CONNECT_TIMEOUT_S = 5.0
HEARTBEAT_S = 10  # a broker that is silent for three of these is gone
PREFETCH = 256  # messages of one topic at work in one process at the same time
# a host's queue, once nobody consumes it, goes with what is in it; its process makes a new one when it is back
QUEUE_ARGUMENTS: FieldTable = {
    "x-queue-type": "quorum",
    "x-expires": 30 * 60 * 1000,
    "x-delivery-limit": 10,  # a message that kills whoever takes it does not do so for ever
    "x-max-length": 20_000,
}
_T = TypeVar("_T")
Receive = Callable[[AbstractIncomingMessage], Awaitable[None]]


class NoQueue(Exception):
    """The topic has no queue: nobody has ever listened, or not for long."""


async def by_itself(question: Awaitable[_T]) -> _T:
    """The answer; ConnectionError when the client library cancelled the question, as it does to all that are open
    when a channel or the connection is closed under them.  Who asks was not cancelled, and must not take it so."""
    try:
        return await question
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is None or task.cancelling():
            raise
        raise ConnectionError("the connection was closed before the answer") from None


class Link:
    """One connection, from `open` until `lost` is set."""

    def __init__(self, connection: aio_pika.abc.AbstractConnection) -> None:
        self._connection = connection
        self.lost = asyncio.Event()
        self.reason = ""
        self.reply_queue = ""
        self._publishing: AbstractChannel
        self._consuming: AbstractChannel
        self._probing: AbstractChannel | None = None
        self._probe_lock = asyncio.Lock()
        self._fanout_queue: AbstractQueue
        self._fanouts: dict[str, AbstractExchange] = {}
        self._consumers: dict[str, tuple[AbstractQueue, str]] = {}
        self._follow_lock = asyncio.Lock()

    @classmethod
    async def open(cls, url: str, name: str, on_reply: Receive, on_fanout: Receive) -> Link:
        """Connect within CONNECT_TIMEOUT_S and have the queues of the process.  Raises what the client library and
        the operating system raise."""
        address = URL(url).update_query(heartbeat=HEARTBEAT_S, name=name)
        async with asyncio.timeout(CONNECT_TIMEOUT_S * 2):
            connection = await aio_pika.connect(address, timeout=CONNECT_TIMEOUT_S)
            link = cls(connection)
            try:
                await link._declare(on_reply, on_fanout)
            except BaseException:
                await link.close()
                raise
        return link

    async def _declare(self, on_reply: Receive, on_fanout: Receive) -> None:
        self._connection.close_callbacks.add(self._closed)
        self._publishing = await self._channel(publisher_confirms=True, on_return_raises=True)
        self._consuming = await self._channel(publisher_confirms=False)
        await self._consuming.set_qos(prefetch_count=PREFETCH)
        underlay = await self._consuming.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self._consumer_cancelled)
        replies = await self._consuming.declare_queue(exclusive=True, auto_delete=True)
        self.reply_queue = replies.name
        await replies.consume(on_reply, no_ack=True)
        self._fanout_queue = await self._consuming.declare_queue(exclusive=True, auto_delete=True)
        await self._fanout_queue.consume(on_fanout)

    async def _channel(self, *, publisher_confirms: bool, on_return_raises: bool = False) -> AbstractChannel:
        channel = self._connection.channel(
            publisher_confirms=publisher_confirms, on_return_raises=on_return_raises)
        await channel
        channel.close_callbacks.add(self._closed)
        return channel

    def _closed(self, sender: object, error: BaseException | None) -> None:
        self.give_up(str(error or "closed"))

    def _consumer_cancelled(self, frame: object) -> None:
        self.give_up("a queue was deleted")

    def give_up(self, reason: str) -> None:
        if not self.lost.is_set():
            self.reason = reason
            self.lost.set()

    async def close(self) -> None:
        """End the connection; what was not acknowledged is delivered to somebody again."""
        self.give_up("closed by us")
        try:
            async with asyncio.timeout(3.0):
                await by_itself(self._connection.close())
        except (*aio_pika.exceptions.CONNECTION_EXCEPTIONS, TimeoutError) as exc:
            log.debug("closing the connection to RabbitMQ: %s", exc)

    # ---- receiving

    async def follow(self, topic: str, receive: Receive) -> None:
        """Take the messages of `topic`: its own, and its fanouts.  Again: nothing more happens."""
        async with self._follow_lock:
            if topic in self._consumers:
                return
            await self._fanout_queue.bind(await self._fanout(topic, self._consuming))
            queue = await self._declare_topic(topic)
            self._consumers[topic] = (queue, await queue.consume(receive))

    async def _declare_topic(self, topic: str) -> AbstractQueue:
        # tried on a channel of its own: a refusal closes the channel that asked
        trial = await self._channel(publisher_confirms=False)
        trial.close_callbacks.discard(self._closed)
        try:
            await trial.declare_queue(topic, durable=True, arguments=QUEUE_ARGUMENTS)
        except ChannelPreconditionFailed as exc:
            # made by another version of us, which may still run; it serves as it is
            log.warning("the queue %s has other settings than ours: %s", topic, exc)
        else:
            await trial.close()
        return await self._consuming.declare_queue(topic, passive=True)

    async def forget(self, topic: str) -> None:
        """Delete the topic's queue with what is in it, as far as the broker can."""
        trial = await self._channel(publisher_confirms=False)
        trial.close_callbacks.discard(self._closed)
        await by_itself(trial.queue_delete(topic))
        await trial.close()

    async def unfollow(self, topic: str) -> None:
        """Take no more messages of `topic`."""
        async with self._follow_lock:
            if topic not in self._consumers:
                return
            queue, tag = self._consumers.pop(topic)
            await queue.cancel(tag)
            await self._fanout_queue.unbind(await self._fanout(topic, self._consuming))

    async def stop_receiving(self) -> None:
        for topic in list(self._consumers):
            await self.unfollow(topic)

    @property
    def topics(self) -> set[str]:
        return set(self._consumers)

    # ---- sending

    async def publish(self, topic: str, message: aio_pika.Message) -> None:
        """Into the topic's queue; returns once the broker has it.  Raises NoQueue."""
        try:
            await by_itself(self._publishing.default_exchange.publish(message, topic))
        except PublishError as exc:
            raise NoQueue(topic) from exc

    async def publish_to_all(self, topic: str, message: aio_pika.Message) -> None:
        exchange = await self._fanout(topic, self._publishing)
        await by_itself(exchange.publish(message, "", mandatory=False))

    async def reply(self, queue: str, message: aio_pika.Message) -> None:
        """To a caller; if it is gone, so is the answer."""
        await self._consuming.default_exchange.publish(message, queue, mandatory=False)

    async def has_consumers(self, topic: str) -> bool:
        """Whether anybody takes the topic's messages now."""
        async with self._probe_lock:
            if self._probing is None or self._probing.is_closed:
                # asking for what is not there closes the channel that asked, and must close no other
                self._probing = await by_itself(self._channel(publisher_confirms=False))
                self._probing.close_callbacks.discard(self._closed)
            try:
                queue = await by_itself(self._probing.declare_queue(topic, passive=True))
            except ChannelNotFoundEntity:
                self._probing = None
                return False
            return bool(queue.declaration_result.consumer_count)

    async def _fanout(self, topic: str, channel: AbstractChannel) -> AbstractExchange:
        key = f"{topic} {channel.number}"
        if key not in self._fanouts:
            self._fanouts[key] = await channel.declare_exchange(
                f"fanout.{topic}", aio_pika.ExchangeType.FANOUT, durable=True)
        return self._fanouts[key]
