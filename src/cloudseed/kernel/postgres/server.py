"""A PostgreSQL server as one process uses it: how to connect, its clock, and the shared sync.

Commits do not wait for the disk (synchronous_commit=off): the lock that lets one transaction write at a time must
not be held during a sync.  `sync` makes one small synchronous commit for everybody who waits, in all databases
of the server: its log is one.  A server that crashes loses what was committed and not synced.  Such a crash also
ends the connection that syncs; it is opened before the first commit that it answers for, so whoever waits for a
commit from before a loss hears that its outcome is unknown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cloudseed.kernel.errors import Unavailable
from cloudseed.kernel.postgres import dialect as _dialect  # noqa: F401  # registers it
from cloudseed.kernel.postgres import failures, faults

log = logging.getLogger(__name__)
CONNECT_S = 5.0
ANSWER_S = 20.0  # how long one statement may take, seen from here; the server itself ends it sooner
SET_S = 1.0  # a clock that is so far from what we think was set, or is another server's
_CLOCK = "extract(epoch FROM clock_timestamp())::float8"
SETTINGS = {
    "synchronous_commit": "off",
    "statement_timeout": "10000",  # ms, as are the next two
    "lock_timeout": "10000",
    "idle_in_transaction_session_timeout": "5000",  # the transaction of a process that was stopped
    "jit": "off",
    "timezone": "UTC",
}


class Session:
    """One connection: SQLAlchemy's view of it and the driver's own."""

    __slots__ = ("alchemy", "raw")

    def __init__(self, alchemy: AsyncConnection, raw: asyncpg.Connection) -> None:
        self.alchemy = alchemy
        self.raw = raw

    @property
    def usable(self) -> bool:
        return not self.raw.is_closed()

    async def close(self) -> None:
        """Say good-bye, or at least hang up."""
        try:
            if self.usable:
                async with asyncio.timeout(2):
                    await self.raw.close(timeout=1)
        except Exception as exc:
            log.debug("closing a connection to the database: %s", exc)
        finally:
            self.drop()

    def drop(self) -> None:
        """Hang up; whatever was not committed is rolled back by the server."""
        self.raw.terminate()


class Server:
    """`url`: postgresql://USER:PASSWORD@HOST:PORT/PREFIX."""

    def __init__(self, url: str) -> None:
        self.url = sa.make_url(url).set(drivername="postgresql+cloudseed")
        self.prefix = self.url.database or "cloudseed"
        self._connection_class = faults.connection_class()
        self._sync_connection: asyncpg.Connection | None = None
        self._sync_task: asyncio.Task[None] | None = None
        self._sync_database = ""
        self._commits = 0
        self._synced = 0
        self._lost = 0  # commits up to this one may be gone, but for those that were synced
        self._clock: tuple[float, float] | None = None  # the server's time, and ours (monotonic) when it said so

    def engine(self, database: str) -> AsyncEngine:
        """SQLAlchemy's engine for a database of this server."""
        return create_async_engine(
            self.url.set(database=database),
            async_creator=lambda **_: self.connect(database),
            poolclass=sa.pool.NullPool,
            isolation_level="AUTOCOMMIT",  # we say BEGIN and COMMIT ourselves
        )

    async def connect(self, database: str, **settings: str) -> asyncpg.Connection:
        """A connection of the driver's own.  Raises its errors, and OSError."""
        address = self.url
        connection = await asyncpg.connect(
            host=address.host, port=address.port, user=address.username, password=address.password,
            database=database, timeout=CONNECT_S, command_timeout=ANSWER_S, statement_cache_size=256,
            connection_class=self._connection_class,
            server_settings={**SETTINGS, "application_name": "cloudseed", **settings})
        try:
            asked = time.monotonic()
            self._learn(asked, await connection.fetchval(f"SELECT {_CLOCK}"))
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _learn(self, asked: float, told: float) -> None:
        """The server's clock says `told`, which it was asked at `asked` of ours.  A small difference is the way's."""
        answered = time.monotonic()
        middle = (asked + answered) / 2
        if self._clock is None or abs(self.now() - answered + middle - told) > answered - asked + SET_S:
            self._clock = told, middle

    async def session(self, engine: AsyncEngine) -> Session:
        """A new connection.  Raises the driver's errors."""
        alchemy = await engine.connect()
        pooled = await alchemy.get_raw_connection()
        raw: Any = pooled.driver_connection
        pooled.detach()  # we end it ourselves
        return Session(alchemy, raw)

    def now(self) -> float:
        """Seconds since 1970 by the server's clock; once it is set, all processes learn so with their next writes."""
        if self._clock is None:
            return time.time()
        told, then = self._clock
        return told + time.monotonic() - then

    # ---- durability

    async def before_commit(self, database: str) -> None:
        """Have the connection that answers for the commits that follow."""
        connection = self._sync_connection
        if connection is None or connection.is_closed():
            if connection is not None:
                self._lost = self._commits
            self._sync_database = database
            opened = await self.connect(database, synchronous_commit="on")
            if self._sync_connection is not connection:  # somebody was faster
                await opened.close()
                return
            self._sync_connection = opened

    def committed(self) -> int:
        """Count a commit; its number is what `sync` takes."""
        self._commits += 1
        return self._commits

    async def sync(self, upto: int | None = None) -> None:
        """Return when the commits up to this one would survive a power cut; Unavailable when that is unknown."""
        target = self._commits if upto is None else upto
        while self._synced < target:
            if target <= self._lost:
                raise Unavailable("The database was interrupted: whether the change was kept is unknown. Look, "
                                  "and try again.")
            if self._sync_task is None:
                self._sync_task = asyncio.create_task(self._sync())
            await asyncio.shield(self._sync_task)

    async def _sync(self) -> None:
        covered, connection = self._commits, self._sync_connection
        try:
            if connection is None:
                raise asyncpg.InterfaceError("the connection is gone")
            # an empty message in the log makes this a commit that must be flushed, and with it all before it
            asked = time.monotonic()
            told = await connection.fetchval(f"SELECT {_CLOCK}, pg_logical_emit_message(true, 'cloudseed', '')")
            self._learn(asked, told)
            self._synced = max(self._synced, covered)
        except Exception as exc:
            log.warning("the database did not confirm what was committed: %s", exc)
            self._lost = max(self._lost, covered)
            if connection is not None:
                connection.terminate()
            if failures.explain(exc) is None:
                raise
        finally:
            self._sync_task = None

    async def close(self) -> None:
        if self._sync_task is not None:
            await asyncio.wait({self._sync_task})
        if self._sync_connection is not None and not self._sync_connection.is_closed():
            try:
                await self._sync_connection.close(timeout=1)
            except Exception as exc:
                log.debug("closing a connection to the database: %s", exc)
                self._sync_connection.terminate()
        self._sync_connection = None
        await asyncio.sleep(0)  # the loop lets go of sockets in its next round
