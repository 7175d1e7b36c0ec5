"""Whether a RabbitMQ that runs does its work: it may greet clients and keep no queue.

After a write to a full disk the part of it that keeps quorum queues is gone, while the rest runs on for a minute or
for good.  Only a queue that is made, written and read tells.
"""

from __future__ import annotations

import asyncio
import secrets

import aio_pika
from aio_pika.exceptions import AMQPError
from yarl import URL

_ONCE_S = 5.0
_PAUSE_S = 0.5


def works(url: str, patience_s: float) -> bool:
    """Whether a message passes through a queue of the kind that ours are of, before the time is up."""
    return asyncio.run(_works(url, patience_s))


async def _works(url: str, patience_s: float) -> bool:
    loop = asyncio.get_running_loop()
    until = loop.time() + patience_s
    while True:
        try:
            async with asyncio.timeout(_ONCE_S):
                await _pass_one(url)
            return True
        except (AMQPError, OSError, TimeoutError):
            if loop.time() > until:
                return False
        await asyncio.sleep(_PAUSE_S)


async def _pass_one(url: str) -> None:
    name = f"health.{secrets.token_hex(8)}"
    connection = await aio_pika.connect(URL(url).update_query(name="cloudseed up"), timeout=_ONCE_S)
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        queue = await channel.declare_queue(
            name, durable=True, arguments={"x-queue-type": "quorum", "x-expires": 60_000})
        await channel.default_exchange.publish(
            aio_pika.Message(b"", delivery_mode=aio_pika.DeliveryMode.PERSISTENT), name)
        await queue.get(no_ack=True)
        await queue.delete(if_unused=False, if_empty=False)
