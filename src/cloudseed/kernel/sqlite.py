"""A service's database in an SQLite file: the engine of a cloud in one process.

Statements run in the event loop itself (150 us each; a thread costs ten times that), one connection writes,
readers have their own, WAL keeps them apart.  A commit does not sync: `durable()` waits for an fsync of the log
that is shared by everybody who waits.  So a killed process loses nothing that it committed, a power cut nothing
that was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from cloudseed.kernel.db import Database, LookTx, Statement, Tx
from cloudseed.kernel.errors import NoSpace
from cloudseed.kernel.statements import UNPLANNED, Columns, Parameters, Plan, Plans, Rows, rows_of


class SqliteTx(Tx):
    """Statements run in the event loop itself: no method here ever waits."""

    __slots__ = ("_connection", "_raw")

    def __init__(self, connection: Connection, raw: sqlite3.Connection) -> None:
        self._connection = connection
        self._raw = raw

    async def execute(self, statement: Statement, parameters: Parameters = None) -> Rows:
        return run(self._connection, self._raw, statement, parameters)

    async def all(self, statement: Statement, parameters: Parameters = None) -> Sequence[Row[*Columns]]:
        return run(self._connection, self._raw, statement, parameters).all()

    async def first(self, statement: Statement, parameters: Parameters = None) -> Row[*Columns] | None:
        return run(self._connection, self._raw, statement, parameters).first()

    async def scalar(self, statement: Statement, parameters: Parameters = None) -> Any:
        return run(self._connection, self._raw, statement, parameters).scalar()

    async def scalars(self, statement: Statement, parameters: Parameters = None) -> Sequence[Any]:
        return run(self._connection, self._raw, statement, parameters).scalars()

    async def _command(self, text: str) -> None:
        self._raw.execute(text)


class _OneTx(LookTx):
    """A transaction of one statement: it needs no BEGIN.  Tells callers that run two, as PostgreSQL's does."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    async def execute(self, statement: Statement, parameters: Parameters = None) -> Rows:
        self._take()
        return run(self._connection, _raw(self._connection), statement, parameters)


# For all databases of the process: SQL and conversions are the dialect's, and keys hold the tables themselves.
_plans = Plans()


def run(connection: Connection, raw: sqlite3.Connection, statement: Statement, parameters: Parameters) -> Rows:
    """Run a statement within the transaction at hand.  Raises SQLAlchemy's errors."""
    if type(parameters) is list and len(parameters) == 1:
        parameters = parameters[0]
    known = None if connection.engine._has_events else _plans.know(statement, parameters)
    if known is not None:
        names = tuple(parameters) if parameters else ()
        plan = _plans.find(known, names)
        if plan is UNPLANNED:
            result = connection.execute(statement, parameters)
            _plans.learn(known, names, result)
            return rows_of(result)
        if plan is not None and (found := plan.arguments(known.extracted, parameters)) is not None:  # type: ignore[arg-type]
            return _run_planned(raw, plan, *found)
    return rows_of(connection.execute(statement, parameters))


def _run_planned(raw: sqlite3.Connection, plan: Plan, text: str, values: list[Any]) -> Rows:
    try:
        cursor = raw.execute(text, values)
        rows = cursor.fetchall() if plan.has_rows else ()
    except sqlite3.Error as exc:
        raise sa.exc.DBAPIError.instance(text, tuple(values), exc, sqlite3.Error) from exc
    if plan.has_rows:
        return plan.rows(rows, cursor.rowcount)
    return Rows((), cursor.rowcount, (cursor.lastrowid,) if plan.single_key else None)


class _Transaction:
    """`async with` around one transaction.  A class, since asynccontextmanager costs more than a statement."""

    __slots__ = ("_connection", "_db", "_raw", "_write")

    def __init__(self, db: SqliteDatabase, write: bool) -> None:
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
        return SqliteTx(self._connection, self._raw)

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


class _Look:
    """`async with` around one statement."""

    __slots__ = ("_connection", "_db")
    _connection: Connection

    def __init__(self, db: SqliteDatabase) -> None:
        self._db = db

    async def __aenter__(self) -> Tx:
        self._connection = self._db._reader()
        return _OneTx(self._connection)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection.in_transaction():
            self._connection.commit()  # see above
        self._db._give_back(self._connection)
        if isinstance(error, sa.exc.OperationalError):
            raise _explain(error) from error


class SqliteDatabase(Database):
    """One service's database in a file.  `path` may be ":memory:" (shared by this object's connections)."""

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
        return _Transaction(self, True)

    def read(self) -> _Transaction:
        return _Transaction(self, False)

    def look(self) -> _Look:
        return _Look(self)

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
        self._mark_dirty(self._commits)

    async def durable(self, upto: int | None = None) -> None:
        target = self._commits if upto is None else upto
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
