"""Calls a second over RabbitMQ, beside a bare aio-pika echo that gives the same guarantees."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aio_pika

from bench.measure import Program, median
from cloudseed.cli.servers import rabbitmq
from cloudseed.kernel.amqp import RabbitEngine
from cloudseed.kernel.bus import Bus
from cloudseed.kernel.context import Context
from cloudseed.kernel.flow.recorder import FlowRecorder

DESCRIPTION = """A caller and a receiver in processes of their own, through a RabbitMQ started for the run: our `call`,
and an echo written by hand with aio-pika over the same kind of queue (durable, quorum), with publisher confirms and
manual acknowledgements.  The limit is the second; what ours costs more is encoding, contexts, and de-duplication."""
TEXT = "x" * 200
QUORUM = {"x-queue-type": "quorum"}


def main(argv: list[str]) -> int:
    if argv[:1] == ["--receive"]:
        asyncio.run(_receive(*argv[1:]))
        return 0
    program = Program("bus", DESCRIPTION)
    add = program.parser.add_argument
    add("--calls", type=int, default=2000, metavar="N", help="calls of a round (default %(default)s)")
    add("--rounds", type=int, default=3, metavar="N", help="(default %(default)s)")
    chosen = program.parse(argv)
    if not rabbitmq.is_installed():
        return program.impossible("RabbitMQ is not installed")
    directory = Path(tempfile.mkdtemp(prefix="cloudseed-bench-"))
    directory.chmod(0o711)
    ports = rabbitmq.free_ports(3)
    broker = rabbitmq.Broker(directory / "broker", *ports, password=secrets.token_hex(8))
    try:
        rabbitmq.start(broker)
        rabbitmq.wait_ready(broker)
        figures = asyncio.run(_measure(program, broker.url, chosen.calls, chosen.rounds))
    finally:
        rabbitmq.stop(broker.directory, at_once=True)
        shutil.rmtree(directory, ignore_errors=True)
    return program.finish(figures)


async def _measure(program: Program, url: str, calls: int, rounds: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    ours, bare = await _ours(url), await _bare(url)
    receivers = [subprocess.Popen([sys.executable, "-m", "bench.bus", "--receive", kind, url])
                 for kind in ("ours", "bare")]
    try:
        for ask in (ours, bare):
            await _until_answered(ask)
        for at_once in (1, 32):
            count = calls if at_once > 1 else max(1, calls // 10)
            rates: dict[str, list[float]] = {"ours": [], "bare": []}
            for _ in range(rounds):
                for name, ask in (("ours", ours), ("bare", bare)):
                    rates[name].append(await _rate(ask, count, at_once))
            mine, limit = median(rates["ours"]), median(rates["bare"])
            figures |= {f"calls_per_s_{at_once}_at_once": round(mine, 1),
                        f"bare_per_s_{at_once}_at_once": round(limit, 1),
                        f"ratio_{at_once}_at_once": round(mine / limit, 3)}
            program.tell(f"{at_once:>3} at once: {mine:.0f} calls/s, bare echo {limit:.0f}/s, ratio {mine / limit:.2f}")
    finally:
        for receiver in receivers:
            receiver.kill()
            receiver.wait()
        await ours.close()  # type: ignore[attr-defined]
        await bare.close()  # type: ignore[attr-defined]
    return figures


async def _rate(ask: Callable[[], Awaitable[None]], count: int, at_once: int) -> float:
    left = count

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return count / (time.perf_counter() - began)


async def _until_answered(ask: Callable[[], Awaitable[None]]) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            await asyncio.wait_for(ask(), 1.0)
            return
        except Exception:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.1)


class _Ours:
    def __init__(self, engine: RabbitEngine) -> None:
        self._engine = engine
        self._bus = Bus("caller", engine, FlowRecorder())
        self._ctx = Context()

    async def __call__(self) -> None:
        assert await self._bus.call(self._ctx, "bench-ours", "echo", text=TEXT) == TEXT

    async def close(self) -> None:
        await self._engine.stop()


async def _ours(url: str) -> Any:
    engine = RabbitEngine(url)
    await engine.start()
    return _Ours(engine)


class _Bare:
    def __init__(self, connection: Any, exchange: Any, replies: str) -> None:
        self.connection, self.exchange, self.replies = connection, exchange, replies
        self.waiting: dict[str, asyncio.Future[bytes]] = {}

    async def __call__(self) -> None:
        name = secrets.token_hex(12)
        answer = self.waiting[name] = asyncio.get_running_loop().create_future()
        await self.exchange.publish(
            aio_pika.Message(TEXT.encode(), correlation_id=name, reply_to=self.replies, expiration=60), "bench-bare")
        assert await answer == TEXT.encode()

    async def heard(self, message: Any) -> None:
        self.waiting.pop(message.correlation_id).set_result(message.body)

    async def close(self) -> None:
        await self.connection.close()


async def _bare(url: str) -> Any:
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    await channel.declare_queue("bench-bare", durable=True, arguments=QUORUM)  # type: ignore[arg-type]
    replies = await channel.declare_queue(exclusive=True)
    bare = _Bare(connection, channel.default_exchange, replies.name)
    await replies.consume(bare.heard, no_ack=True)
    return bare


async def _receive(kind: str, url: str) -> None:
    if kind == "ours":
        engine = RabbitEngine(url)

        async def echo(ctx: Context, text: str) -> str:
            return text

        Bus("receiver", engine, FlowRecorder()).serve("bench-ours", {"echo": echo})
        await engine.start()
    else:
        connection = await aio_pika.connect(url)
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=256)
        queue = await channel.declare_queue("bench-bare", durable=True, arguments=QUORUM)  # type: ignore[arg-type]

        async def answer(message: Any) -> None:
            await channel.default_exchange.publish(
                aio_pika.Message(message.body, correlation_id=message.correlation_id), message.reply_to)
            await message.ack()

        await queue.consume(answer)
    await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
