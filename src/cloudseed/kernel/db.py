"""One database a service, behind an interface that SQLite and PostgreSQL share.

    async with db.write() as tx:          # one transaction, committed at the end, rolled back by an exception
        await tx.execute(insert(servers).values(...))
    async with db.read() as tx:           # a consistent snapshot
        rows = await tx.all(select(servers))

SQLite: statements run in the event loop itself (150 us each; a thread costs ten times that), one connection
writes, readers have their own, WAL keeps them apart.  A commit does not sync: `durable()` waits for an fsync
of the log that is shared by everybody who waits (group commit), and the HTTP edge calls it before a request
that wrote is answered.  So a killed process loses nothing that it committed, a power cut nothing that it
acknowledged.  Never await anything but `tx` inside `write()`: other writers of this database wait meanwhile.
"""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.sql import Executable

from cloudseed.kernel import statements
from cloudseed.kernel.errors import NoSpace
from cloudseed.kernel.statements import Columns, Parameters, Rows

# Databases that the request at hand has written to and that nobody has waited for yet.
_dirty: contextvars.ContextVar[set[Database] | None] = contextvars.ContextVar("dirty_databases", default=None)

Statement = Executable


class Json(sa.TypeDecorator[Any]):
    """A JSON value in a text column."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


class UtcDateTime(sa.TypeDecorator[datetime.datetime]):
    """An aware time in UTC, stored without its zone."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: sa.Dialect) -> datetime.datetime | None:
        return None if value is None else value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime.datetime | None, dialect: sa.Dialect) -> datetime.datetime | None:
        return None if value is None else value.replace(tzinfo=datetime.UTC)


def utcnow() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Tx:
    """Statements of one transaction.  `parameters` are a statement's `bindparam`s, or the columns of an INSERT."""

    __slots__ = ("_connection", "_raw")

    def __init__(self, connection: Connection, raw: sqlite3.Connection) -> None:
        self._connection = connection
        self._raw = raw

    async def execute(self, statement: Statement, parameters: Parameters = None) -> Rows:
        return statements.run(self._connection, self._raw, statement, parameters)

    async def all(self, statement: Statement, parameters: Parameters = None) -> Sequence[Row[*Columns]]:
        return statements.run(self._connection, self._raw, statement, parameters).all()

    async def first(self, statement: Statement, parameters: Parameters = None) -> Row[*Columns] | None:
        return statements.run(self._connection, self._raw, statement, parameters).first()

    async def scalar(self, statement: Statement, parameters: Parameters = None) -> Any:
        return statements.run(self._connection, self._raw, statement, parameters).scalar()

    async def scalars(self, statement: Statement, parameters: Parameters = None) -> Sequence[Any]:
        return statements.run(self._connection, self._raw, statement, parameters).scalars()


class _Transaction:
    """`async with` around one transaction.  A class, since asynccontextmanager costs more than a statement."""

    __slots__ = ("_connection", "_db", "_raw", "_write")

    def __init__(self, db: Database, write: bool) -> None:
        self._db = db
        self._write = write

    async def __aenter__(self) -> Tx:
        if self._write:
            await self._db._write_lock.acquire()
            try:
                self._connection = self._db._writer()
                self._raw = _raw(self._connection)
                self._raw.execute("BEGIN IMMEDIATE")
            except BaseException as exc:
                self._db._write_lock.release()
                if isinstance(exc, sqlite3.OperationalError):
                    raise _explain(exc) from exc
                raise
        else:
            self._connection = self._db._reader()
            self._raw = _raw(self._connection)
            self._raw.execute("BEGIN")
        return Tx(self._connection, self._raw)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, db = self._connection, self._db
        try:
            try:
                self._raw.execute("COMMIT" if kind is None and self._write else "ROLLBACK")
                if connection.in_transaction():
                    connection.commit()  # SQLAlchemy's own (autobegun) transaction object; it costs no statement
            except sqlite3.OperationalError as exc:
                connection.rollback()
                raise _explain(exc) from exc
            if kind is None and self._write:
                db._committed()
        finally:
            if self._write:
                db._write_lock.release()
            else:
                db._give_back(connection)
        if isinstance(error, sa.exc.OperationalError):
            raise _explain(error) from error


def _raw(connection: Connection) -> sqlite3.Connection:
    raw: Any = connection.connection.dbapi_connection
    return raw  # type: ignore[no-any-return]


def _explain(error: sa.exc.OperationalError | sqlite3.OperationalError) -> Exception:
    text = str(error.orig if isinstance(error, sa.exc.OperationalError) else error)
    if "disk is full" in text or "disk I/O error" in text:
        return NoSpace("The database cannot grow: the disk is full. Free some space and try again.", detail=text)
    return error


class Database:
    """One service's database on SQLite.  `path` may be ":memory:" (shared by this object's connections)."""

    def __init__(self, path: Path | str, *, name: str) -> None:
        self.name = name
        self.path = str(path)
        self._memory = self.path == ":memory:"
        url = (
            f"sqlite:///file:{name}-{id(self):x}?mode=memory&cache=shared&uri=true"
            if self._memory
            else f"sqlite:///{self.path}"
        )
        self.engine = sa.create_engine(
            url,
            poolclass=sa.pool.NullPool,
            connect_args={"check_same_thread": False, "cached_statements": 512},
        )
        sa.event.listen(self.engine, "connect", self._configure)
        self._write_lock = asyncio.Lock()
        self._write_connection: Connection | None = None
        self._idle_readers: list[Connection] = []
        self._commits = 0
        self._synced = 0
        self._sync_task: asyncio.Task[None] | None = None
        self._wal_fd: int | None = None

    @staticmethod
    def _configure(raw: Any, record: Any) -> None:
        raw.isolation_level = None  # we say BEGIN and COMMIT ourselves; autobegin would open write locks late
        cursor = raw.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            "busy_timeout=10000",
            "cache_size=-2000",
            "temp_store=MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def write(self) -> _Transaction:
        """A transaction that may change data.  Others that write to this database wait for its end."""
        return _Transaction(self, True)

    def read(self) -> _Transaction:
        """A transaction that sees one moment of the database and changes nothing."""
        return _Transaction(self, False)

    def _writer(self) -> Connection:
        if self._write_connection is None:
            self._write_connection = self.engine.connect()
        return self._write_connection

    def _reader(self) -> Connection:
        return self._idle_readers.pop() if self._idle_readers else self.engine.connect()

    def _give_back(self, connection: Connection) -> None:
        if len(self._idle_readers) < 4:
            self._idle_readers.append(connection)
        else:
            connection.close()

    def _committed(self) -> None:
        self._commits += 1
        dirty = _dirty.get()
        if dirty is not None:
            dirty.add(self)

    async def durable(self) -> None:
        """Return when everything committed so far would survive a power cut."""
        target = self._commits
        if self._memory:
            return
        while self._synced < target:
            if self._sync_task is None:
                self._sync_task = asyncio.create_task(self._sync())
            await asyncio.shield(self._sync_task)

    async def _sync(self) -> None:
        try:
            covered = self._commits
            if self._wal_fd is None:
                self._wal_fd = os.open(self.path + "-wal", os.O_RDONLY)
            await asyncio.to_thread(os.fsync, self._wal_fd)
            self._synced = covered
        finally:
            self._sync_task = None

    async def close(self) -> None:
        if self._sync_task is not None:
            await self._sync_task
        for connection in [*self._idle_readers, *([self._write_connection] if self._write_connection else [])]:
            connection.close()
        self._idle_readers.clear()
        self._write_connection = None
        if self._wal_fd is not None:
            os.close(self._wal_fd)
            self._wal_fd = None
        self.engine.dispose()


class Durability:
    """Collects the databases that the work inside has written, and waits for them once at its end.

    Nested uses (a co-hosted service called in the same task) join the outermost, so a request that crosses
    five services waits for one round of fsyncs.
    """

    __slots__ = ("_token",)

    def __enter__(self) -> Durability:
        self._token = _dirty.set(set()) if _dirty.get() is None else None
        return self

    async def wait(self) -> bool:
        """Wait, where this is the outermost; whether anything was written since the last wait."""
        wrote = bool(_dirty.get())
        if self._token is not None:
            await flush()
        return wrote

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _dirty.reset(self._token)


async def flush() -> None:
    """Wait for all databases that the work at hand has written."""
    dirty = _dirty.get()
    if dirty:
        databases = list(dirty)
        dirty.clear()
        if len(databases) == 1:
            await databases[0].durable()
        else:
            await asyncio.gather(*(db.durable() for db in databases))
