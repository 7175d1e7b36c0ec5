"""Recording of exchanges, cheap enough for every request: an object appended here, rows written in batches.

An exchange is a request and its answer between two named parts.  Work that was begun without a token (a
client's discovery) is recorded under a provisional trace and joined to its flow by `adopt`.
"""

from __future__ import annotations

import itertools
import time
from typing import Protocol
from urllib.parse import quote

from cloudseed.kernel.context import Trace

MAX_PATH = 1024  # characters


class Exchange:
    """One request and its answer.  Times are Unix nanoseconds; `status` 0 until answered."""

    __slots__ = (
        "callee",
        "caller",
        "changed",
        "ended",
        "kind",
        "method",
        "number",
        "path",
        "project_id",
        "span_id",
        "started",
        "status",
        "stored",
        "trace_id",
    )

    def __init__(self, number: int, trace: Trace, caller: str, callee: str, kind: str, method: str, path: str) -> None:
        self.number = number
        self.trace_id = trace.trace_id
        self.span_id = trace.span_id
        self.caller = caller
        self.callee = callee
        self.kind = kind  # http, call, cast or fanout
        self.method = method
        self.path = path
        self.changed = False  # a client outside changed something by it; logins do not count
        self.project_id = ""  # of the token with which a client outside asked
        self.started = time.time_ns()
        self.ended = 0
        self.status = 0
        self.stored = 0  # 0 not yet, 1 begun, 2 complete


class Sink(Protocol):
    """Where batches go (flow/store.py)."""

    def write(self, exchanges: list[Exchange], adoptions: list[tuple[str, str]]) -> None: ...


class FlowRecorder:
    """`begin` and `end` around each exchange; `flush` hands what is new to the sink."""

    def __init__(self, sink: Sink | None = None, *, limit: int = 20_000, relayed: bool = False) -> None:
        """`relayed`: without a sink here; somebody takes what there is and sends it on."""
        self._sink = sink
        self._numbers = itertools.count(1)
        self._pending: list[Exchange] = []
        self._adoptions: list[tuple[str, str]] = []
        self._limit = limit
        self.dropped = 0
        self.enabled = sink is not None or relayed

    def begin(self, trace: Trace, caller: str, callee: str, kind: str, method: str, path: str) -> Exchange:
        if len(path) > MAX_PATH or ";" in path or not path.isprintable():
            # it will be printed on terminals and in diagrams, and a client wrote it
            path = quote(path[:MAX_PATH], safe="/:~@%", errors="replace")
        exchange = Exchange(next(self._numbers), trace, caller, callee, kind, method, path)
        if self.enabled:
            if len(self._pending) < self._limit:
                self._pending.append(exchange)
            else:
                self.dropped += 1  # better a gap in a picture than unbounded memory
        return exchange

    def end(self, exchange: Exchange, status: int) -> None:
        exchange.ended = time.time_ns()
        exchange.status = status

    def adopt(self, first: Exchange, new: str) -> None:
        """What was recorded under the trace that `first` began belongs to `new`."""
        old = first.trace_id
        if not self.enabled or old == new:
            return
        if first.stored:  # else nothing of that trace was handed over: batches take all that has begun
            self._adoptions.append((old, new))
        for exchange in reversed(self._pending):  # in the order in which they began
            if exchange.number < first.number:
                break
            if exchange.trace_id == old:
                exchange.trace_id = new
        first.trace_id = new

    def take(self) -> tuple[list[Exchange], list[tuple[str, str]]]:
        """What the sink has not got yet; an unanswered exchange is handed over twice, begun and complete."""
        now, batch, keep = time.time_ns(), [], []
        for exchange in self._pending:
            complete = exchange.ended != 0
            if complete or exchange.stored == 0:
                exchange.stored = 2 if complete else 1
                batch.append(exchange)
            if not complete and now - exchange.started < 600_000_000_000:
                keep.append(exchange)
        self._pending = keep
        adoptions, self._adoptions = self._adoptions, []
        return batch, adoptions

    def flush(self) -> None:
        """Write what is new.  Called twice a second by the runtime, and before anybody reads."""
        if self._sink is not None:
            batch, adoptions = self.take()
            if batch or adoptions:
                self._sink.write(batch, adoptions)
