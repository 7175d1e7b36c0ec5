"""Databases and schemas on a PostgreSQL server: made and upgraded by `cloudseed migrate`, only checked by processes.

Many processes share these databases, of several versions during an upgrade: none of them changes a schema by
itself.  Databases are made with the C collation, so that texts compare by code point as on SQLite.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from cloudseed.kernel import migrate
from cloudseed.kernel.errors import Unavailable
from cloudseed.kernel.postgres import failures
from cloudseed.kernel.postgres.server import Server

T = TypeVar("T")
PATIENCE_S = 20.0
_COMMAND = "cloudseed migrate --config FILE"
# what SQLite has and plain SQL of ours calls
_LIKE_SQLITES = """CREATE OR REPLACE FUNCTION instr(whole TEXT, part TEXT) RETURNS INTEGER LANGUAGE sql IMMUTABLE
    AS 'SELECT strpos(whole, part)'"""
CREATE = "CREATE DATABASE \"{}\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"


class State(NamedTuple):
    """A service's database: its name, the revision it is at (None: empty or missing) and the newest one."""

    service: str
    database: str
    present: str | None
    newest: str

    @property
    def current(self) -> bool:
        return self.present == self.newest


async def look(url: str, service: str) -> State:
    """At which revision a service's database is.  Raises OSError and the driver's errors."""
    server = Server(url)
    name = database_name(server, service)
    try:
        connection = await server.connect(name)
    except asyncpg.InvalidCatalogNameError:
        return State(service, name, None, migrate.head(service))
    try:
        present = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        present = None
    finally:
        await connection.close()
    return State(service, name, present, migrate.head(service))


async def upgrade(url: str, services: Iterable[str]) -> list[State]:
    """Make missing databases and bring all to their newest revision; what was found before."""
    found = []
    for service in services:
        state = await look(url, service)
        found.append(state)
        if state.present is not None and state.present > state.newest:
            raise migrate.SchemaTooNew(_too_new(state))
        if not state.current:
            await _upgrade(Server(url), state)
    return found


async def _upgrade(server: Server, state: State) -> None:
    if state.present is None:
        admin = await server.connect("postgres")
        try:
            await admin.execute(CREATE.format(state.database))
        except asyncpg.DuplicateDatabaseError:
            pass
        finally:
            await admin.close()
    engine = create_async_engine(server.url.set(database=state.database), poolclass=sa.pool.NullPool,
                                 connect_args={"server_settings": {"lock_timeout": "10000"}})
    try:
        async with engine.connect() as connection:
            # two who upgrade at once: the second waits, and finds nothing left to do
            await connection.execute(sa.text("SELECT pg_advisory_lock(2)"))
            await connection.execute(sa.text(_LIKE_SQLITES))
            await connection.commit()
            await connection.run_sync(lambda inner: migrate.run(state.service, inner))
    finally:
        await engine.dispose()


def check(url: str, service: str) -> str:
    """The name of a service's database, which is at the newest revision; SchemaTooOld or SchemaTooNew otherwise.

    Callable where an event loop runs: the look is short and happens once, at the start of a process.
    """
    state = _apart(lambda: _look_patiently(url, service))
    if state.present is None:
        raise migrate.SchemaTooOld(f"The database {state.database} is missing or empty. Run: {_COMMAND}")
    if state.present < state.newest:
        raise migrate.SchemaTooOld(
            f"The database {state.database} is at schema {state.present}, this Cloudseed needs {state.newest}. "
            f"Run: {_COMMAND}")
    if state.present > state.newest:
        raise migrate.SchemaTooNew(_too_new(state))
    return state.database


async def _look_patiently(url: str, service: str) -> State:
    """As `look`; the server may be started at the same moment as we are."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await look(url, service)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as exc:
            if not isinstance(failures.explain(exc), Unavailable) or time.monotonic() > until:
                where = sa.make_url(url).render_as_string(hide_password=True)
                raise Unavailable(f"The database server at {where} cannot be used: {exc}") from exc
        await asyncio.sleep(0.5)


def database_name(server: Server, service: str) -> str:
    return f"{server.prefix}_{service}"


def _too_new(state: State) -> str:
    return (f"The database {state.database} is at schema {state.present}, this Cloudseed knows {state.newest}: "
            "use a newer one")


def _apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in a loop of its own, wherever we are called."""
    outcome: list[Any] = []

    def body() -> None:
        try:
            outcome.append((asyncio.run(work()), None))
        except BaseException as exc:
            outcome.append((None, exc))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]
