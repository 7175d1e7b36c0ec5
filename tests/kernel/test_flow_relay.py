"""What a process without flows of its own recorded reaches the one that keeps them, once and at the right time."""

from __future__ import annotations

import time
from pathlib import Path

from cloudseed.kernel.bus import Bus, InProcessEngine
from cloudseed.kernel.context import Context, new_trace
from cloudseed.kernel.flow.recorder import FlowRecorder
from cloudseed.kernel.flow.relay import TOPIC, FlowReceiver, FlowSender
from cloudseed.kernel.flow.store import FlowStore
from cloudseed.kernel.http import hop


async def test_an_answer_that_comes_later_completes_its_exchange(tmp_path: Path) -> None:
    store, engine = FlowStore(tmp_path / "flows.sqlite"), InProcessEngine()
    Bus("control", engine, FlowRecorder()).serve(TOPIC, {"store": FlowReceiver(store).store})
    recorder = FlowRecorder(relayed=True)
    sender = FlowSender(recorder, Bus("host", engine, FlowRecorder()))
    trace = new_trace()
    first = recorder.begin(trace, "openstack", "nova-api", "http", "POST", "/servers")
    second = recorder.begin(trace.child(), "nova-compute", "glance-api", "http", "GET", "/image")
    recorder.end(first, 202)
    await sender.send()
    recorder.end(second, 200)
    await sender.send()
    await engine.drain()
    assert [(e.callee, e.status) for e in store.exchanges(trace.trace_id)] == [("nova-api", 202), ("glance-api", 200)]
    assert len(store.exchanges(trace.trace_id)) == 2
    store.close()


async def test_a_clock_an_hour_off_does_not_move_what_happened(tmp_path: Path) -> None:
    store = FlowStore(tmp_path / "flows.sqlite")
    receiver, trace, now, hour = FlowReceiver(store), new_trace(), time.time_ns(), 3600 * 10**9
    for number, lag in ((1, 40_000_000), (2, 0)):  # the second message was quicker
        began = now + hour + number
        row = [number, trace.trace_id, "0" * 16, "a", f"b{number}", "http", "GET", "/", 200, began, began + 5, 2]
        await receiver.store(Context(), 7, time.time_ns() + hour - lag, [row], [])
    for exchange in store.exchanges(trace.trace_id):
        assert abs(exchange.started - now) < 10**9 and exchange.ended - exchange.started == 5
    store.close()


async def test_a_broken_batch_is_a_gap_and_no_error(tmp_path: Path) -> None:
    store = FlowStore(tmp_path / "flows.sqlite")
    await FlowReceiver(store).store(Context(), 1, time.time_ns(), [["no", "row"]], [])
    assert store.flows() == []
    store.close()


def test_only_who_has_the_key_speaks_as_a_part() -> None:
    key, trace = b"k" * 32, "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    word = hop.sign(key, "nova-compute", trace)
    assert hop.part_of(key, word, trace) == "nova-compute"
    assert hop.part_of(b"x" * 32, word, trace) is None
    assert hop.part_of(key, word.replace("nova-compute", "keystone"), trace) is None
    assert hop.part_of(key, word, trace.replace("2", "3")) is None
    assert hop.part_of(b"", hop.sign(b"", "x", trace), trace) is None
    assert hop.part_of(key, "nova-compute \xff", trace) is None
