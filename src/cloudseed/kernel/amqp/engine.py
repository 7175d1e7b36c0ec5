"""The bus's engine over RabbitMQ: who sends, who receives, and what happens while the broker is away.

What it guarantees
- A call is handled at least once or its caller hears of it: it is confirmed by the broker, acknowledged when its
  handler is done, and sent again over each new connection while its caller waits.  It is not begun once its caller
  has given up (the broker's clock decides).
- Within one process a message is handled once, however often it is delivered (seen.py).  A second process may
  handle it again after the first was killed: handlers must bear it (kernel/bus.py says how).
- A call to a topic that nobody listens on is refused at once; one whose receiver dies is refused after
  GONE_AFTER_S without any receiver.
- A cast or a fanout is a hint.  While the broker is away it is dropped, with one line in the log for all of them.
- A process that was stopped for minutes and goes on begins nothing of what lay in its socket meanwhile: it gives up
  the connection, and gets again what still has a caller.
- A topic that this process serves itself is served here, with no broker in between; fanouts go to all.
- Who watches is told when nobody can be heard, and from when on: a broker that hangs is found out by asking it.

It connects again after 1, 2, ... 10 s, for ever, and starts without a broker too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from cloudseed.kernel.amqp.ear import Ear
from cloudseed.kernel.amqp.link import Link, NoQueue, by_itself
from cloudseed.kernel.amqp.seen import Seen
from cloudseed.kernel.bus import Handler, InProcessEngine, Listener
from cloudseed.kernel.errors import BrokerAway, Unavailable
from cloudseed.kernel.service_types import parts_of_topic

log = logging.getLogger(__name__)
LOST = aio_pika.exceptions.CONNECTION_EXCEPTIONS  # with OSError, and so TimeoutError
WAIT_FOR_BROKER_S = 2.0  # how long a call waits for the connection before it is refused
CONFIRM_S = 5.0  # a broker that does not confirm within this is as good as gone
# a broker that was killed may have lost the replicas of a queue that was just declared: it names the queue, and lets
# everybody wait who asks for it
FOLLOW_S = 5.0
FORGET_S = 20.0  # it tries for five seconds to delete such a queue in order, then without
CAST_LIFE_S = 600.0  # a cast that nobody took for so long is of no use
HEARD_S = 3.0  # a topic that answered so recently has a receiver
LOOK_S = 1.0  # how often the calls that wait are looked after
PROBE_S = 5.0
SILENT_S = 2.0  # a broker that said nothing for so long is asked whether it lives
GONE_AFTER_S = 15.0
MAX_RETRY_S = 10.0
STOPPED_S = 10.0  # the loop did not turn for so long: the process was stopped, or the machine


@dataclass
class _Waiting:
    """A call that has no answer yet."""

    topic: str
    body: bytes
    until: float  # by the loop's clock
    answer: asyncio.Future[bytes]
    sent_over: Link | None = None
    alone_since: float | None = None  # since when its topic has no receiver
    sending: bool = False
    tried: bool = False  # it may be with the broker, or with a receiver, already


class _Removed(Exception):
    """A queue that did not answer is gone: a new connection makes it again (the old one's channel still asks)."""


class RabbitEngine:
    """What carries messages between processes; see kernel/bus.py's Engine."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._local = InProcessEngine()
        self._seen = Seen()
        self._ear = Ear()
        self._link: Link | None = None
        self._connected = asyncio.Event()
        self._tried = asyncio.Event()
        self._waiting: dict[str, _Waiting] = {}
        self._heard: dict[str, float] = {}  # topic -> when it had a receiver, by the loop's clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._dropped = 0
        self._changed = asyncio.Event()
        self._turned = 0.0  # when the loop was last seen to turn, by its clock

    # ---- life

    async def start(self) -> None:
        """Connect; returns after the first try, whatever came of it."""
        self._turned = asyncio.get_running_loop().time()
        self._keepers = [asyncio.create_task(self._keep_connected(), name="RabbitMQ"),
                         asyncio.create_task(self._look_after_calls(), name="calls over RabbitMQ")]
        await self._tried.wait()

    async def settled(self, timeout_s: float = 10.0) -> bool:
        """Until all topics served here are known to the broker; False when that took too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._link is None or self._link.topics != self._local.topics:
                    self._changed.clear()
                    await self._changed.wait()
                return True
        return False

    async def drain(self, timeout_s: float = 5.0) -> None:
        """Take no more messages, let handlers at work finish, then cancel what is left (it is delivered again)."""
        self._stopping = True
        if (link := self._link) is not None:
            try:
                async with asyncio.timeout(2.0):
                    await link.stop_receiving()
            except LOST as exc:
                link.give_up(str(exc))
        await self._local.drain(timeout_s)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)

    async def stop(self) -> None:
        """Drain, disconnect, and refuse what still waits."""
        await self.drain()
        for task in self._keepers:
            task.cancel()
        if self._keepers:
            await asyncio.wait(self._keepers)
        if self._link is not None:
            await self._link.close()
            self._link = None
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(Unavailable("This process stops; the outcome is unknown."))

    async def _keep_connected(self) -> None:
        delay, said = 0.0, False
        while True:
            try:
                link = await by_itself(self._connect())
            except _Removed:
                continue
            except Exception as exc:  # of many kinds, and none may end this loop
                if not said:
                    where = URL(self._url)  # without its password
                    log.warning("RabbitMQ at %s:%s cannot be used yet, trying on: %r", where.host, where.port, exc)
                said = True
                self._tried.set()
                delay = min(delay + 1.0, MAX_RETRY_S)
                await asyncio.sleep(delay)
                continue
            log.info("connected to RabbitMQ as %s", self.name)
            began, said = asyncio.get_running_loop().time(), False
            self._link = link
            self._heard.clear()
            self._dropped = 0
            self._connected.set()
            self._ear.back()
            self._tried.set()
            self._sync_topics()
            try:
                await link.lost.wait()
            finally:
                self._connected.clear()
                self._ear.lost()
                if not self._stopping:
                    self._link = None
            log.warning("the connection to RabbitMQ is lost: %s", link.reason)
            await link.close()
            # one that does not last is no reason to spin
            delay = 0.0 if asyncio.get_running_loop().time() - began > 5.0 else min(delay + 1.0, MAX_RETRY_S)
            await asyncio.sleep(delay)

    async def _connect(self) -> Link:
        link = await Link.open(self._url, self.name, self._on_reply, self._on_fanout)
        try:
            for topic in () if self._stopping else sorted(self._local.topics):
                try:
                    async with asyncio.timeout(FOLLOW_S):
                        await link.follow(topic, partial(self._on_message, topic))
                except TimeoutError:
                    log.warning("the queue %s does not answer: it is made anew", topic)
                    async with asyncio.timeout(FORGET_S):
                        await link.forget(topic)
                    raise _Removed(topic) from None
        except BaseException:
            await link.close()
            raise
        return link

    # ---- receiving

    def serve(self, topic: str, part: str, handlers: Mapping[str, Handler]) -> Callable[[], None]:
        end = self._local.serve(topic, part, handlers)
        self._sync_topics()

        def stop() -> None:
            end()
            self._sync_topics()

        return stop

    def listeners(self, topic: str) -> list[str]:
        return self._local.listeners(topic) or parts_of_topic(topic)

    def watch(self, listener: Listener) -> None:
        self._ear.watch(listener)

    def _sync_topics(self) -> None:
        if self._link is not None and not self._stopping:
            self._spawn(self._follow_topics(self._link))

    async def _follow_topics(self, link: Link) -> None:
        try:
            for topic in sorted(self._local.topics - link.topics):
                await link.follow(topic, partial(self._on_message, topic))
            for topic in sorted(link.topics - self._local.topics):
                await link.unfollow(topic)
        except LOST as exc:
            link.give_up(str(exc))
        self._changed.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a message was not handled", exc_info=error)

    # a task of the connection calls these, and dies with it: the work goes on in tasks of ours
    async def _on_message(self, topic: str, message: AbstractIncomingMessage) -> None:
        if not self._was_stopped():
            self._ear.heard()
            self._spawn(self._take(topic, message))

    async def _on_fanout(self, message: AbstractIncomingMessage) -> None:
        if not self._was_stopped():
            self._ear.heard()
            self._spawn(self._take_fanout(message))

    def _was_stopped(self) -> bool:
        """Whether this process has just been stopped for long; then its connection is given up.  What it carried is
        not acknowledged, and comes again unless nobody waits for it any more."""
        now = asyncio.get_running_loop().time()
        link, gap = self._link, now - self._turned
        if gap > STOPPED_S and link is not None:
            link.give_up(f"this process stood still for {gap:.0f} s")
        self._turned = now
        return link is not None and link.lost.is_set()

    async def _take(self, topic: str, message: AbstractIncomingMessage) -> None:
        handlers = self._local.choose(topic)
        if handlers is None:  # it came while we stopped listening: for another
            with contextlib.suppress(*LOST):
                await message.nack(requeue=True)
            return
        answer = await self._handle(message, message.message_id or secrets.token_hex(8), handlers)
        if answer is not None and message.reply_to:
            try:
                async with asyncio.timeout(CONFIRM_S):
                    await self._connected.wait()  # over whichever connection there is by now
                    assert self._link is not None
                    await self._link.reply(
                        message.reply_to, aio_pika.Message(answer, correlation_id=message.message_id))
            except LOST as exc:
                log.debug("an answer could not be sent: %s", exc)  # its message comes again, and so will this
                return
        await self._acknowledge(message)

    async def _take_fanout(self, message: AbstractIncomingMessage) -> None:
        topic = (message.exchange or "").removeprefix("fanout.")
        if message.app_id != self.name:
            receivers = self._local.everyone(topic)
            await asyncio.gather(*(self._handle(message, f"{message.message_id} {number}", handlers)
                                   for number, handlers in enumerate(receivers)))
        await self._acknowledge(message)

    async def _handle(self, message: AbstractIncomingMessage, message_id: str,
                      handlers: Mapping[str, Handler]) -> bytes | None:
        """The answer; None when the message makes no sense."""
        try:
            again = bool(message.redelivered or message.headers.get("again"))
            return await self._seen.once(message_id, lambda: self._local.begin(handlers, message.body, again))
        except Exception as exc:  # handlers' errors are answers; this is a body that is none of ours
            log.error("a message to %s from %s cannot be read and is dropped: %s",
                      message.routing_key or message.exchange, message.app_id, exc)
            return None

    async def _acknowledge(self, message: AbstractIncomingMessage) -> None:
        with contextlib.suppress(*LOST):  # else it comes again, and is known
            await message.ack()

    async def _on_reply(self, message: AbstractIncomingMessage) -> None:
        waiting = self._waiting.get(message.correlation_id or "")
        if waiting is not None and not waiting.answer.done():
            self._heard[waiting.topic] = asyncio.get_running_loop().time()
            waiting.answer.set_result(message.body)

    # ---- sending

    async def send(self, topic: str, body: bytes, *, everyone: bool) -> None:
        local = self._local.listeners(topic)
        if local:
            await self._local.send(topic, body, everyone=everyone)
            if not everyone:
                return
        if (link := self._link) is None:
            self._drop(topic, "the broker is away")
            return
        message = aio_pika.Message(body, message_id=secrets.token_hex(12), app_id=self.name, expiration=CAST_LIFE_S)
        try:
            async with asyncio.timeout(CONFIRM_S):
                await (link.publish_to_all if everyone else link.publish)(topic, message)
        except NoQueue:
            log.debug("nobody listens on %s", topic)
        except LOST as exc:
            link.give_up(f"not confirmed: {exc!r}")
            self._drop(topic, "the connection was lost")

    def _drop(self, topic: str, why: str) -> None:
        self._dropped += 1
        if self._dropped == 1:
            log.warning("a message to %s is dropped, as all hints are until the broker is back: %s", topic, why)

    async def send_and_wait(self, topic: str, body: bytes, timeout_s: float) -> bytes:
        if self._local.listeners(topic):
            return await self._local.send_and_wait(topic, body, timeout_s)
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        link = await self._connection()
        if not await self._has_receiver(link, topic):
            raise Unavailable(f"Nobody listens on {topic}.")
        message_id = secrets.token_hex(12)
        waiting = self._waiting[message_id] = _Waiting(topic, body, until, loop.create_future())
        try:
            if not await self._send_call(link, message_id, waiting):
                raise Unavailable(f"Nobody listens on {topic}.")
            return await waiting.answer
        finally:
            del self._waiting[message_id]

    async def _connection(self) -> Link:
        if self._link is None:
            try:
                async with asyncio.timeout(WAIT_FOR_BROKER_S):
                    await self._connected.wait()
            except TimeoutError:
                pass
        if self._link is None:
            raise BrokerAway
        return self._link

    async def _has_receiver(self, link: Link, topic: str) -> bool:
        """Whether somebody takes the topic's messages; True when that cannot be known."""
        now = asyncio.get_running_loop().time()
        if now - self._heard.get(topic, -HEARD_S) < HEARD_S:
            return True
        try:
            async with asyncio.timeout(CONFIRM_S):
                found = await link.has_consumers(topic)
        except LOST as exc:
            link.give_up(f"no answer to a question: {exc!r}")
            return True
        if found:
            self._heard[topic] = now
        return found

    async def _send_call(self, link: Link, message_id: str, waiting: _Waiting) -> bool:
        """Send it; False when the topic has no queue.  A lost connection is made good by `_look_after_calls`."""
        left = waiting.until - asyncio.get_running_loop().time()
        if left <= 0 or waiting.sending:
            return True
        message = aio_pika.Message(
            waiting.body, message_id=message_id, reply_to=link.reply_queue, app_id=self.name, expiration=left,
            headers={"again": True} if waiting.tried else None)
        waiting.tried = True
        waiting.sending = True
        try:
            async with asyncio.timeout(CONFIRM_S):
                await link.publish(waiting.topic, message)
            waiting.sent_over = link
        except NoQueue:
            return False
        except LOST as exc:
            link.give_up(f"not confirmed: {exc!r}")
        finally:
            waiting.sending = False
        return True

    async def _look_after_calls(self) -> None:
        """Send again over a new connection what still waits; refuse what waits for nobody; look after the broker."""
        loop = asyncio.get_running_loop()
        probed = loop.time()
        while True:
            await asyncio.sleep(LOOK_S)
            link = self._link
            if self._was_stopped() or link is None:
                continue
            try:
                if self._ear.silence_s > SILENT_S:
                    async with asyncio.timeout(CONFIRM_S):
                        await link.has_consumers(link.reply_queue)
                    self._ear.heard()
                for message_id, waiting in list(self._waiting.items()):
                    if waiting.sent_over is not link and not waiting.answer.done():
                        await self._send_call(link, message_id, waiting)
                if self._waiting and loop.time() - probed >= PROBE_S:
                    probed = loop.time()
                    for topic in {waiting.topic for waiting in self._waiting.values()}:
                        self._note_receiver(topic, await self._has_receiver(link, topic))
            except Exception as exc:  # of many kinds, and none may end this loop
                link.give_up(f"it cannot be used: {exc!r}")

    def _note_receiver(self, topic: str, found: bool) -> None:
        now = asyncio.get_running_loop().time()
        for waiting in self._waiting.values():
            if waiting.topic != topic:
                continue
            if found:
                waiting.alone_since = None
            elif waiting.alone_since is None:
                waiting.alone_since = now
            elif now - waiting.alone_since >= GONE_AFTER_S and not waiting.answer.done():
                waiting.answer.set_exception(
                    Unavailable(f"Nobody listens on {topic} any more; the outcome is unknown."))
