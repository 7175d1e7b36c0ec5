"""Exchanges of processes that keep no flows: sent in batches to a process that does (topic `flows`).

Losing a batch loses a part of a picture, and nothing else: nobody waits for one, and what is too much is dropped.
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import Any

import msgspec

from cloudseed.kernel.bus import Bus
from cloudseed.kernel.context import Context, Trace
from cloudseed.kernel.flow.recorder import Exchange, FlowRecorder, Sink

log = logging.getLogger(__name__)
TOPIC = "flows"
MAX_BATCH = 5_000
MAX_PROCESSES = 10_000
SKEW_NS = 250_000_000  # clocks nearer than this are taken for the same: a message takes a moment too


class Row(msgspec.Struct, frozen=True, array_like=True):
    """An exchange on its way."""

    number: int
    trace_id: str
    span_id: str
    caller: str
    callee: str
    kind: str
    method: str
    path: str
    status: int
    started: int
    ended: int
    stored: int


class FlowSender:
    """Hands over what a recorder has got.  `bus` must not record: a batch would make the next one."""

    def __init__(self, recorder: FlowRecorder, bus: Bus) -> None:
        self._recorder = recorder
        self._bus = bus
        self._base = secrets.randbits(61)  # apart from the numbers of all other processes

    async def send(self) -> None:
        """Send what is new, if anything is."""
        exchanges, adoptions = self._recorder.take()
        if not exchanges and not adoptions:
            return
        rows = [(self._base + e.number, e.trace_id, e.span_id, e.caller, e.callee, e.kind, e.method, e.path, e.status,
                 e.started, e.ended, e.stored) for e in exchanges[:MAX_BATCH]]
        await self._bus.cast(Context(), TOPIC, "store", process=self._base, sent=time.time_ns(), rows=rows,
                             adoptions=adoptions)


class FlowReceiver:
    """Stores what others send, with their clocks set by ours."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._apart: dict[int, int] = {}  # process -> how far its clock is behind ours at most, in ns

    async def store(self, ctx: Context, process: int, sent: int, rows: list[Any], adoptions: list[Any]) -> None:
        """A batch of process `process`, whose clock said `sent` when it went off."""
        shift = self._shift(process, time.time_ns() - sent)
        try:
            found = msgspec.convert(rows, list[Row])
            self._sink.write([_exchange(row, shift) for row in found], [(str(old), str(new)) for old, new in adoptions])
        except Exception as exc:  # a full disk, or a batch of another version's
            log.warning("a batch of flows could not be kept: %s", exc)

    def _shift(self, process: int, behind: int) -> int:
        """The least that was seen of a process is its clock's difference; all more is the way of a message."""
        if len(self._apart) > MAX_PROCESSES:
            self._apart.clear()
        least = self._apart[process] = min(behind, self._apart.get(process, behind))
        return least if abs(least) > SKEW_NS else 0


def _exchange(row: Row, shift: int) -> Exchange:
    made = Exchange(row.number, Trace(row.trace_id, row.span_id), row.caller, row.callee, row.kind, row.method,
                    row.path)
    made.started, made.status, made.stored = row.started + shift, row.status, row.stored
    made.ended = row.ended + shift if row.ended else 0
    return made
