"""How the parts of one service reach one another: `call` (answered), `cast` (one receiver), `fanout` (all).

Topics are the documents': `conductor`, `scheduler`, `compute.<host>`.  Every message is encoded, in one
process too, so that no part can lean on sharing memory with another.  A message is a hint: who receives one
looks at the database, and losing it delays work and never loses it.  A call that times out says "unknown".

What a handler must bear: the same message again (a caller asks again after a timeout; a broker delivers again what
a process did not acknowledge before it was killed), messages in another order than they were sent, and one that
comes when its caller has given up.  So whatever changes something finds its own earlier result by an id among its
arguments (the operation's, the resource's), as nova/compute/admission.py does; `repeated` says when to look for it.
An engine helps where it can: within one process RabbitMQ's handles a message once, however often it is delivered.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from cloudseed import points
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError, Timeout, Unavailable, from_wire, to_wire
from cloudseed.kernel.flow.recorder import FlowRecorder

log = logging.getLogger(__name__)
Handler = Callable[..., Awaitable[Any]]  # (ctx, **arguments) -> a JSON-like result


class _Message(msgspec.Struct):
    caller: str
    context: Context
    method: str
    arguments: dict[str, Any]


_encode = msgspec.msgpack.Encoder().encode
_decode_message = msgspec.msgpack.Decoder(_Message).decode
_decode = msgspec.msgpack.Decoder().decode


# handlers run in a context of their own, so this is the message's
_repeated: contextvars.ContextVar[bool] = contextvars.ContextVar("repeated", default=False)


def repeated() -> bool:
    """Within a handler: whether this very message may have been handled before, by a process that was killed."""
    return _repeated.get()


class Listener(Protocol):
    """Who wants to know whether others can be heard at all; at first they can."""

    def lose(self, ago_s: float) -> None:
        """Nobody is heard, since `ago_s` ago."""

    def hear(self) -> None:
        """They can be heard again."""


class Listeners:
    """All who want to know; each is told once of each change, and whoever comes while nobody can be heard, at once."""

    def __init__(self, *, deaf: bool = False) -> None:
        self._all: list[Listener] = []
        self._deaf = deaf

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, listener: Listener) -> None:
        self._all.append(listener)
        if self._deaf:
            listener.lose(0.0)

    def lose(self, ago_s: float) -> None:
        if not self._deaf:
            self._deaf = True
            for listener in self._all:
                listener.lose(ago_s)

    def hear(self) -> None:
        if self._deaf:
            self._deaf = False
            for listener in self._all:
                listener.hear()


class Engine(Protocol):
    """What carries messages: the in-process engine below, or RabbitMQ (kernel/amqp).

    `send` never raises for want of a receiver or a broker.  `send_and_wait` raises Unavailable when nobody listens,
    and may take a message off its way that nobody has begun after `timeout_s`.  `settled` waits until whoever
    serves is known to others.  `watch` tells a listener, from now on, when it can hear nobody and when it can again.
    """

    async def start(self) -> None: ...
    async def settled(self, timeout_s: float = 10.0) -> bool: ...
    async def drain(self, timeout_s: float = 5.0) -> None: ...
    async def stop(self) -> None: ...
    def serve(self, topic: str, part: str, handlers: Mapping[str, Handler]) -> Callable[[], None]: ...
    async def send(self, topic: str, body: bytes, *, everyone: bool) -> None: ...
    async def send_and_wait(self, topic: str, body: bytes, timeout_s: float) -> bytes: ...
    def listeners(self, topic: str) -> list[str]: ...
    def watch(self, listener: Listener) -> None: ...


class Bus:
    """The bus as one part uses it: messages carry the part's name and the context of the work."""

    def __init__(self, part: str, engine: Engine, recorder: FlowRecorder) -> None:
        self.part = part
        self._engine = engine
        self._recorder = recorder

    def serve(self, topic: str, handlers: Mapping[str, Handler]) -> Callable[[], None]:
        """Receive `topic` as this part: method name -> coroutine (ctx, **arguments).  Returns its end."""
        return self._engine.serve(topic, self.part, handlers)

    def watch(self, listener: Listener) -> None:
        """Tell it from now on when nobody can be heard, and when they can again."""
        self._engine.watch(listener)

    async def call(self, ctx: Context, topic: str, method: str, *, timeout_s: float = 60.0, **arguments: Any) -> Any:
        """Ask and wait.  Raises what the handler raised (our errors keep their class), Timeout, or Unavailable
        when nobody listens."""
        points.point(f"call {method}")
        trace = ctx.trace.child()
        listeners = self._engine.listeners(topic)
        exchange = self._recorder.begin(trace, self.part, listeners[0] if listeners else topic, "call", method, topic)
        body = _encode(_Message(self.part, msgspec.structs.replace(ctx, trace=trace), method, arguments))
        try:
            async with asyncio.timeout(timeout_s):
                answer = _decode(await self._engine.send_and_wait(topic, body, timeout_s))
        except TimeoutError:
            self._recorder.end(exchange, 504)
            raise Timeout(f"{topic} did not answer {method} within {timeout_s:g} s; the outcome is unknown.") from None
        except BaseException as exc:
            self._recorder.end(exchange, exc.status if isinstance(exc, CloudseedError) else 499)
            raise
        points.point(f"heard of {method}")
        if "error" in answer:
            error = from_wire(answer["error"])
            self._recorder.end(exchange, error.status)
            raise error
        self._recorder.end(exchange, 200)
        return answer["result"]

    async def cast(self, ctx: Context, topic: str, method: str, **arguments: Any) -> None:
        """Hand over to one receiver, without an answer.  With nobody there the message is lost: a hint."""
        await self._one_way(ctx, topic, method, arguments, everyone=False)

    async def fanout(self, ctx: Context, topic: str, method: str, **arguments: Any) -> None:
        """Tell every receiver of `topic`."""
        await self._one_way(ctx, topic, method, arguments, everyone=True)

    async def _one_way(
        self, ctx: Context, topic: str, method: str, arguments: dict[str, Any], *, everyone: bool
    ) -> None:
        points.point(f"tell {method}")
        trace = ctx.trace.child()
        for part in self._engine.listeners(topic)[: None if everyone else 1]:
            exchange = self._recorder.begin(trace, self.part, part, "fanout" if everyone else "cast", method, topic)
            self._recorder.end(exchange, 202)
        body = _encode(_Message(self.part, msgspec.structs.replace(ctx, trace=trace), method, arguments))
        await self._engine.send(topic, body, everyone=everyone)


async def handle(handlers: Mapping[str, Handler], body: bytes, again: bool = False) -> bytes:
    """Run a message's handler; the answer, or the error, encoded.  Shared by the engines.  `again`: see `repeated`."""
    _repeated.set(again)
    message = _decode_message(body)
    points.begin(message.method)
    points.point("asked")
    handler = handlers.get(message.method)
    if handler is None:
        return _encode({"error": to_wire(Unavailable(f"Nobody here handles {message.method}."))})
    answer: dict[str, Any]
    try:
        answer = {"result": await handler(message.context, **message.arguments)}
    except CloudseedError as exc:
        answer = {"error": to_wire(exc)}
    except Exception as exc:
        log.exception("%s %s failed: a bug", message.context.request_id, message.method)
        answer = {"error": to_wire(exc)}
    points.point("answer")
    return _encode(answer)


class InProcessEngine:
    """Messages between parts of one process.  Each is handled in a task of its own, with a fresh context."""

    def __init__(self) -> None:
        self._receivers: dict[str, list[tuple[str, Mapping[str, Handler]]]] = {}
        self._turn: dict[str, int] = {}
        self._tasks: set[asyncio.Task[bytes]] = set()

    def serve(self, topic: str, part: str, handlers: Mapping[str, Handler]) -> Callable[[], None]:
        entry = (part, handlers)
        self._receivers.setdefault(topic, []).append(entry)

        def stop() -> None:
            self._receivers[topic].remove(entry)
            if not self._receivers[topic]:
                del self._receivers[topic]

        return stop

    def listeners(self, topic: str) -> list[str]:
        return [part for part, _ in self._receivers.get(topic, ())]

    def watch(self, listener: Listener) -> None:
        pass  # whoever there is can be heard

    @property
    def topics(self) -> set[str]:
        return set(self._receivers)

    def everyone(self, topic: str) -> list[Mapping[str, Handler]]:
        """All that receive `topic`."""
        return [handlers for _, handlers in self._receivers.get(topic, ())]

    def begin(self, handlers: Mapping[str, Handler], body: bytes, again: bool = False) -> asyncio.Task[bytes]:
        """Handle a message in a task of its own; its result is the answer."""
        task = asyncio.get_running_loop().create_task(handle(handlers, body, again), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def choose(self, topic: str) -> Mapping[str, Handler] | None:
        """Whose turn it is among those that receive `topic`; None when nobody does."""
        receivers = self._receivers.get(topic)
        if not receivers:
            return None
        turn = self._turn[topic] = (self._turn.get(topic, -1) + 1) % len(receivers)
        return receivers[turn][1]

    async def send(self, topic: str, body: bytes, *, everyone: bool) -> None:
        if everyone:
            for handlers in self.everyone(topic):
                self.begin(handlers, body)
        elif (chosen := self.choose(topic)) is not None:
            self.begin(chosen, body)

    async def send_and_wait(self, topic: str, body: bytes, timeout_s: float) -> bytes:
        handlers = self.choose(topic)
        if handlers is None:
            raise Unavailable(f"Nobody listens on {topic}.")
        # shielded: a caller that gives up does not cancel the work, as with a broker in between
        return await asyncio.shield(self.begin(handlers, body))

    async def start(self) -> None:
        pass

    async def settled(self, timeout_s: float = 10.0) -> bool:
        return True

    async def stop(self) -> None:
        await self.drain()

    async def drain(self, timeout_s: float = 5.0) -> None:
        """Let handlers at work finish, then cancel what is left."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
