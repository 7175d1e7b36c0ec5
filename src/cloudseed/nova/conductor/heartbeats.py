"""Computes that say "alive": noted together, in one statement, however many there are.

A full report costs a transaction; a thousand hosts send one each in ten seconds.  So a compute whose facts have not
changed only says that it lives, and what was heard within a moment is written at once.  A word that is lost with this
process is made good by the next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.periodic import Loop
from cloudseed.nova.models import services
from cloudseed.nova.services import moment

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

TOGETHER_S = 0.5
LONGEST_LIST = 500


class Heartbeats:
    """Who was heard since the last writing; `loop` writes."""

    def __init__(self, nova: Nova) -> None:
        self._nova = nova
        self._heard: set[str] = set()
        self.loop = Loop("nova: computes heard", self._note, 3600.0)

    async def alive(self, ctx: Context, host: str) -> None:
        """A compute lives and is what it reported last.  One that is not known is made known by its next report."""
        self._heard.add(host)
        self.loop.hint()

    async def _note(self) -> None:
        if not self._heard:
            return
        await asyncio.sleep(TOGETHER_S)
        heard, self._heard = sorted(self._heard), set()
        async with self._nova.db.write() as tx:
            for first in range(0, len(heard), LONGEST_LIST):
                await tx.execute(sa.update(services).where(
                    services.c.binary == "nova-compute", services.c.host.in_(heard[first:first + LONGEST_LIST]))
                    .values(last_seen_at=moment(self._nova)))
