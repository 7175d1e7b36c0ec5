"""One database a service, behind an interface that SQLite and PostgreSQL share.

    async with db.write() as tx:          # one transaction, committed at the end, rolled back by an exception
        await tx.execute(insert(servers).values(...))
    async with db.read() as tx:           # a consistent snapshot
        rows = await tx.all(select(servers))
    async with db.look() as tx:           # the same for one statement, and cheaper
        rows = await tx.all(select(servers))

One transaction writes at a time, on both engines and across processes, so that `read, decide, write` within
`write()` is never wrong.  Never await anything but `tx` inside `write()`: other writers of this database wait
meanwhile.  A commit does not sync: `durable()` waits for a sync that is shared by everybody who waits (group
commit), and the HTTP edge calls it before a request that wrote is answered.

`sqlite.py` and `postgres/` are the engines; `Environment.database` chooses.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import contextvars
import datetime
import time
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Row
from sqlalchemy.sql import Executable

from cloudseed.kernel.bus import Listener
from cloudseed.kernel.statements import Columns, Parameters, Rows

# Databases that the request at hand has written to and that nobody has waited for yet, with the last commit's number.
_dirty: contextvars.ContextVar[dict[Database, int] | None] = contextvars.ContextVar("dirty_databases", default=None)

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


class Tx(abc.ABC):
    """Statements of one transaction.  `parameters` are a statement's `bindparam`s, or the columns of an INSERT.

    Raises SQLAlchemy's errors for what the statement says, ours for what the database cannot do now: Unavailable
    (a retry of the whole transaction makes sense), NoSpace, Invalid (a value that no database can hold).
    """

    __slots__ = ()

    @abc.abstractmethod
    async def execute(self, statement: Statement, parameters: Parameters = None) -> Rows:
        """Everything that the statement gave."""

    async def all(self, statement: Statement, parameters: Parameters = None) -> Sequence[Row[*Columns]]:
        return (await self.execute(statement, parameters)).all()

    async def first(self, statement: Statement, parameters: Parameters = None) -> Row[*Columns] | None:
        return (await self.execute(statement, parameters)).first()

    async def scalar(self, statement: Statement, parameters: Parameters = None) -> Any:
        return (await self.execute(statement, parameters)).scalar()

    async def scalars(self, statement: Statement, parameters: Parameters = None) -> Sequence[Any]:
        return (await self.execute(statement, parameters)).scalars()

    @contextlib.asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What fails inside is undone alone: the way to catch an IntegrityError and go on with the transaction."""
        await self._command("SAVEPOINT inner_work")
        try:
            yield
        except BaseException:
            await self._command("ROLLBACK TO SAVEPOINT inner_work")
            raise
        await self._command("RELEASE SAVEPOINT inner_work")

    async def notify(self, channel: str) -> None:  # noqa: B027  # one process has nobody to tell
        """Wake those who `listen` on the channel, in any process, once this transaction is committed."""

    @abc.abstractmethod
    async def _command(self, text: str) -> None:
        """A command without parameters and without rows."""


class LookTx(Tx):
    """One statement, which is a transaction by itself; on each engine the second one is refused alike."""

    __slots__ = ("_used",)

    def __init__(self) -> None:
        self._used = False

    def _take(self) -> None:
        if self._used:
            raise RuntimeError("a second statement within `look`: use `read`")
        self._used = True

    async def _command(self, text: str) -> None:
        raise RuntimeError("`look` takes one statement only: use `read`")


class Transaction(Protocol):
    """`async with` around one transaction: committed at the end, rolled back by an exception."""

    async def __aenter__(self) -> Tx: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Database(abc.ABC):
    """One service's database."""

    name: str

    @abc.abstractmethod
    def write(self) -> Transaction:
        """A transaction that may change data.  Others that write to this database wait for its end, in every
        process: what it reads stays true until it commits."""

    @abc.abstractmethod
    def read(self) -> Transaction:
        """A transaction that sees one moment of the database and changes nothing."""

    @abc.abstractmethod
    def look(self) -> Transaction:
        """`read` for one statement, which sees one moment by itself: no time goes into a beginning and an end.
        A second statement raises RuntimeError."""

    @abc.abstractmethod
    async def durable(self, upto: int | None = None) -> None:
        """Return when everything committed so far, or up to a commit's number, would survive a power cut.
        Raises Unavailable when that is not known."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Let go of all connections."""

    def now(self) -> float:
        """Seconds since 1970 by the one clock that all who share this database go by."""
        return time.time()

    def listen(self, channel: str, heard: Callable[[], None]) -> None:  # noqa: B027  # see `Tx.notify`
        """Call `heard` soon after each `notify` of the channel.  It is a hint: some may be lost."""

    def watch(self, listener: Listener) -> None:  # noqa: B027  # a file is never away
        """Tell it from now on when nothing can be written, and when that is over."""

    def _mark_dirty(self, commit: int) -> None:
        """The work at hand made this commit; who answers for it waits until it is durable."""
        dirty = _dirty.get()
        if dirty is not None:
            dirty[self] = commit


class Durability:
    """Collects the databases that the work inside has written, and waits for them once at its end.

    Nested uses (a co-hosted service called in the same task) join the outermost, so a request that crosses
    five services waits for one round of fsyncs.
    """

    __slots__ = ("_token",)

    def __enter__(self) -> Durability:
        self._token = _dirty.set({}) if _dirty.get() is None else None
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
        waits = [db.durable(commit) for db, commit in dirty.items()]
        dirty.clear()
        if len(waits) == 1:
            await waits[0]
        else:
            await asyncio.gather(*waits)
