"""The door's side of the question: a host without a database asks nova over the bus what a guest is told."""

from __future__ import annotations

import logging

import msgspec

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.runtime import Environment
from cloudseed.nova.metadata.answer import TOPIC, Answer, Source, refusal

log = logging.getLogger(__name__)
PART = "nova-metadata-api"
ANSWER_S = 30.0  # a guest's own program gives up after some more, and asks again


class Inquiry:
    """Asks, and records what guests asked."""

    def __init__(self, env: Environment) -> None:
        self._recorder = env.recorder
        self._bus = env.bus(PART)

    async def answer(self, source: Source, method: str, target: str, body: bytes) -> Answer:
        """What the guest at `source` is told.  Never raises, but for cancellation: while nobody answers, 503."""
        ctx, path = Context(), target.partition("?")[0]
        exchange = self._recorder.begin(ctx.trace, "guest", PART, "http", method, path)
        made = refusal(503)
        try:
            made = msgspec.convert(
                await self._bus.call(ctx, TOPIC, "answer", timeout_s=ANSWER_S, source=msgspec.to_builtins(source),
                                     verb=method, path=path, body=body), Answer)
        except CloudseedError as exc:
            log.warning("no metadata for %s: %s", source, exc.message)
        finally:
            self._recorder.end(exchange, made.status)
        return made
