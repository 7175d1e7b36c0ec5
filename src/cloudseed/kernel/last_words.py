"""When each part of a service last spoke, as its database keeps it, for those who judge silence (kernel/hearing.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.bus import Listener
from cloudseed.kernel.db import Database
from cloudseed.kernel.hearing import AHEAD_S, Hearing


class LastWords:
    """`column`: the time of each part's last word, by the database's clock; `only`: SQL, the parts that speak over the
    bus.  `kept` makes what the column holds of seconds since 1970, `seconds` the reverse."""

    def __init__(self, db: Database, hearing: Hearing, column: sa.Column[Any], *, only: Any = None,
                 kept: Callable[[float], Any] = float, seconds: Callable[[Any], float] = float) -> None:
        self._db, self._hearing, self._column = db, hearing, column
        self._latest = sa.select(sa.func.max(column)).where(sa.true() if only is None else only)
        self._kept, self._seconds = kept, seconds

    async def listen(self, watch: Callable[[Listener], None]) -> None:
        """Words are heard from now on, unless the bus (whose `watch` this is) or the database is away: until parts can
        have spoken, those that were up before are up."""
        async with self._db.look() as tx:
            latest = await tx.scalar(self._latest)
        self._hearing.begin(self._seconds(latest) if latest is not None else 0.0)
        watch(self._hearing)
        self._db.watch(self._hearing.of_database)

    async def bring_back(self) -> None:
        """Words that are later than now are of now: the clock was set back."""
        now = self._db.now()
        late = self._column > self._kept(now + AHEAD_S)
        async with self._db.look() as tx:
            found = await tx.scalar(sa.select(sa.func.count()).select_from(self._column.table).where(late))
        if found:
            async with self._db.write() as tx:
                await tx.execute(sa.update(self._column.table).where(late)
                                 .values({self._column: self._kept(now)}))
