"""Transactions of one service's database on PostgreSQL.

A write transaction begins by taking the database's one lock for writers: within this process first (so that one
connection waits at the server), then at the server.  A connection that fails before anything was done is
replaced and the beginning tried again for `PATIENCE_S`.  A failure in the middle is Unavailable: its caller's work is
rolled back, and nobody can run the body of an `async with` again but the caller.  So is a commit without answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa

from cloudseed.kernel.bus import Listener
from cloudseed.kernel.db import Database, LookTx, Statement, Tx
from cloudseed.kernel.errors import Unavailable
from cloudseed.kernel.postgres import failures
from cloudseed.kernel.postgres.absence import Absence
from cloudseed.kernel.postgres.failures import FAILURES
from cloudseed.kernel.postgres.server import Server, Session
from cloudseed.kernel.statements import UNPLANNED, Parameters, Plan, Plans, Rows, rows_of

log = logging.getLogger(__name__)
PATIENCE_S = 15.0
PAUSE_S = 0.05  # before the first new attempt; then twice as long each time, up to a second
READERS = 16  # connections for reading that this process opens at most, of each database
READERS_KEPT = 8
_WRITE = "BEGIN; SELECT pg_advisory_xact_lock(1)"
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

_T = TypeVar("_T")

# For all databases of the process: SQL and conversions are the dialect's.
_plans = Plans()


class PostgresTx(Tx):
    """Statements of one transaction on one connection."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    async def execute(self, statement: Statement, parameters: Parameters = None) -> Rows:
        try:
            return await _run(self._session, statement, parameters)
        except (*FAILURES, UnicodeEncodeError) as exc:
            if (ours := failures.explain(exc)) is not None:
                raise ours from exc
            raise

    async def notify(self, channel: str) -> None:
        await self._command(f"NOTIFY {channel}")

    async def _command(self, text: str) -> None:
        try:
            await self._session.raw.execute(text)
        except FAILURES as exc:
            raise failures.explain(exc) or exc from exc


async def _run(session: Session, statement: Statement, parameters: Parameters) -> Rows:
    if type(parameters) is list and len(parameters) == 1:
        parameters = parameters[0]
    known = _plans.know(statement, parameters)
    if known is not None:
        names = tuple(parameters) if parameters else ()
        plan = _plans.find(known, names)
        if plan is UNPLANNED:
            result = await session.alchemy.execute(statement, parameters)
            _plans.learn(known, names, result)
            return rows_of(result)
        if plan is not None and (found := plan.arguments(known.extracted, parameters)) is not None:  # type: ignore[arg-type]
            return await _run_planned(session.raw, plan, *found)
    return rows_of(await session.alchemy.execute(statement, parameters))


async def _run_planned(raw: asyncpg.Connection, plan: Plan, text: str, values: list[Any]) -> Rows:
    try:
        if plan.has_rows:
            found = await raw.fetch(text, *values)
            return plan.rows(found, len(found))
        if plan.returns_key:
            (row,) = await raw.fetch(text, *values)
            return Rows((), 1, (row[0],))
        if not values:  # without any, the driver takes another way, whose answer is the same
            return Rows((), _count(await raw.execute(text)))
        return Rows((), _count(await raw.execute(text, *values)))
    except asyncpg.IntegrityConstraintViolationError as exc:
        raise sa.exc.IntegrityError(text, tuple(values), exc) from exc


def _count(status: str) -> int:
    """Rows that a command changed: the last word of `INSERT 0 1`, `UPDATE 3`, `DELETE 0`."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else -1


class _Transaction:
    __slots__ = ("_db", "_session", "_write")
    _session: Session

    def __init__(self, db: PostgresDatabase, write: bool) -> None:
        self._db = db
        self._write = write

    async def __aenter__(self) -> Tx:
        self._session = await (self._db.begin_write() if self._write else self._db.begin_read())
        return PostgresTx(self._session)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._write and kind is None:
            await _to_the_end(self._db.end(self._session, True, True))
            self._db.mark_committed()
        else:  # cut short, it hangs up, and the server rolls back
            await self._db.end(self._session, self._write, False)


class _LookTx(LookTx):
    """One statement, which is a transaction by itself."""

    __slots__ = ("_db",)

    def __init__(self, db: PostgresDatabase) -> None:
        super().__init__()
        self._db = db

    async def execute(self, statement: Statement, parameters: Parameters = None) -> Rows:
        self._take()
        try:
            return await self._db.run_one(statement, parameters)
        except UnicodeEncodeError as exc:
            raise failures.explain(exc) or exc from exc


class _Look:
    __slots__ = ("_tx",)

    def __init__(self, db: PostgresDatabase) -> None:
        self._tx = _LookTx(db)

    async def __aenter__(self) -> Tx:
        return self._tx

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class PostgresDatabase(Database):
    """One service's database on a server; `database` is its name there."""

    def __init__(self, server: Server, database: str, *, name: str) -> None:
        self.name = name
        self.database = database
        self._server = server
        self.engine = server.engine(database)
        self._write_turn = asyncio.Semaphore(1)
        self._writer: Session | None = None
        self._idle_readers: list[Session] = []
        self._reader_slots = asyncio.Semaphore(READERS)
        self._listeners: dict[str, list[Callable[[], None]]] = {}
        self._commit = 0  # the number of our last commit
        self._absence = Absence()

    def write(self) -> _Transaction:
        return _Transaction(self, True)

    def read(self) -> _Transaction:
        return _Transaction(self, False)

    def look(self) -> _Look:
        return _Look(self)

    def now(self) -> float:
        return self._server.now()

    def listen(self, channel: str, heard: Callable[[], None]) -> None:
        self._listeners.setdefault(channel, []).append(heard)

    def watch(self, listener: Listener) -> None:
        self._absence.watch(listener)

    def mark_committed(self) -> None:
        self._mark_dirty(self._commit)

    async def durable(self, upto: int | None = None) -> None:
        await self._server.sync(self._commit if upto is None else upto)

    # ---- beginning

    async def begin_write(self) -> Session:
        await _in_time(self._write_turn)
        try:
            return await self._patiently(self._begin_write)
        except BaseException:
            self._write_turn.release()
            raise

    async def _begin_write(self) -> Session:
        await self._server.before_commit(self.database)
        session = self._writer
        if session is None or not session.usable:
            session = self._writer = await self._server.session(self.engine)
            for channel in self._listeners:
                await session.raw.add_listener(channel, self._heard)
        await self._begin(session, _WRITE)
        return session

    async def begin_read(self) -> Session:
        await _in_time(self._reader_slots)
        try:
            return await self._patiently(self._begin_read)
        except BaseException:
            self._reader_slots.release()
            raise

    async def _begin_read(self) -> Session:
        session = await self._reader()
        await self._begin(session, _READ)
        return session

    async def _reader(self) -> Session:
        while self._idle_readers:
            if (session := self._idle_readers.pop()).usable:
                return session
            session.drop()
        return await self._server.session(self.engine)

    async def run_one(self, statement: Statement, parameters: Parameters) -> Rows:
        """Run a statement that only reads, in no transaction but its own."""
        await _in_time(self._reader_slots)
        try:
            return await self._patiently(lambda: self._run_one(statement, parameters))
        finally:
            self._reader_slots.release()

    async def _run_one(self, statement: Statement, parameters: Parameters) -> Rows:
        session, kept = await self._reader(), False
        try:
            rows = await _run(session, statement, parameters)
            kept = True
        except (sa.exc.DBAPIError, asyncpg.PostgresError) as exc:
            kept = session.usable
            if kept and (ours := failures.explain(exc)) is not None:
                raise ours from exc  # an answer; only what had none is asked again
            raise
        finally:
            if kept:
                await self._give_back(session)
            else:
                session.drop()
        return rows

    async def _give_back(self, session: Session) -> None:
        if len(self._idle_readers) < READERS_KEPT:
            self._idle_readers.append(session)
        else:
            await session.close()

    async def _begin(self, session: Session, command: str) -> None:
        try:
            await session.raw.execute(command)
        except BaseException:  # also when the caller gave up: whether it began is unknown
            session.drop()
            raise

    async def _patiently(self, begin: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Begin, again and again while the server is away; nothing was done yet, so nothing is done twice."""
        until, pause = time.monotonic() + PATIENCE_S, PAUSE_S
        while True:
            try:
                begun = await begin()
                self._absence.end()
                return begun
            except FAILURES as exc:
                ours = failures.explain(exc)
                if ours is None:
                    raise
                self._absence.go_on()
                if not ours.retry or time.monotonic() + pause > until:
                    raise ours from exc
                log.debug("%s: the database is away: %s", self.name, ours.detail)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    def _heard(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        for heard in self._listeners.get(channel, ()):
            heard()

    # ---- ending

    async def end(self, session: Session, write: bool, commit: bool) -> None:
        """Commit or roll back, and give the connection back."""
        kept = False
        try:
            status = await session.raw.execute("COMMIT" if commit else "ROLLBACK")
            kept = True
            if commit:
                if status != "COMMIT":
                    raise RuntimeError(f"{self.name}: a statement failed in a transaction that was then committed: use "
                                       "Tx.savepoint to go on after an error")
                self._commit = self._server.committed()
        except FAILURES as exc:
            ours = failures.explain(exc)
            if commit and isinstance(ours, Unavailable):
                raise Unavailable("The database did not answer: whether the change was kept is unknown. Look, and try "
                                  "again.", detail=ours.detail) from exc
            if commit:  # a rollback that fails is done by the server
                raise ours or exc from exc
        finally:
            if not kept:
                session.drop()
            if write:
                self._write_turn.release()
            else:
                try:
                    if kept:
                        await self._give_back(session)
                finally:
                    self._reader_slots.release()

    async def close(self) -> None:
        for session in [*self._idle_readers, *([self._writer] if self._writer else [])]:
            await session.close()
        self._idle_readers.clear()
        self._writer = None
        await self.engine.dispose()
        await asyncio.sleep(0)  # the loop lets go of sockets in its next round


async def _in_time(turns: asyncio.Semaphore) -> None:
    """Wait for our turn, but not for ever."""
    if not turns.locked():  # nothing to wait for: a timer costs more than that
        await turns.acquire()
        return
    try:
        async with asyncio.timeout(PATIENCE_S + 10):
            await turns.acquire()
    except TimeoutError as exc:
        raise Unavailable("The database is busy; try again.") from exc


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Run the work to its end also when the caller is cancelled meanwhile: half a commit is nobody's."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a transaction ended badly while its caller was cancelled: %s", error)
        raise
