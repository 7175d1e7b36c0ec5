"""Databases for tests: SQLite files, or with CLOUDSEED_TEST_DATABASE=postgresql all of them on one server.

A service's new file is a copy of one that was migrated once in the run: a migration costs more than most tests do.
The server is started with the first database that is asked for, and ends with the run.  What belongs to a state
directory is found again by its path, as a file would be: a cloud that a test restarts has its data.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa

from cloudseed.cli.servers.postgres import PostgresServer, free_port
from cloudseed.kernel import migrate
from cloudseed.kernel.db import Database
from cloudseed.kernel.postgres import schema
from cloudseed.kernel.postgres.database import PostgresDatabase
from cloudseed.kernel.postgres.server import Server
from cloudseed.kernel.runtime import Environment
from cloudseed.kernel.sqlite import SqliteDatabase

T = TypeVar("T")
_environments_own = Environment.database
ON_POSTGRESQL = os.environ.get("CLOUDSEED_TEST_DATABASE") == "postgresql"


def open_database(path: Path, name: str, metadata: sa.MetaData) -> Database:
    """The database of these tables that belongs to the path; made when it is not there."""
    if not ON_POSTGRESQL:
        if not path.exists():
            shutil.copy(_empty(metadata), path)
        return SqliteDatabase(path, name=name)
    server = the_server()
    database, new = server.find(path, name)
    if new:
        server.run(server.create(database, "template0", metadata))
    return _Alone(Server(server.url), database, name=name)


@functools.cache
def _empty(metadata: sa.MetaData) -> Path:
    """A file with these tables, for copies: to make them takes longer than most tests."""
    file = Path(_directory().name) / f"{id(metadata)}.sqlite"
    engine = sa.create_engine(f"sqlite:///{file}")
    metadata.create_all(engine)
    engine.dispose()
    return file


@functools.cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="cloudseed-empty-")


def beside(database: Database) -> Database:
    """The same database as another process has it."""
    if isinstance(database, PostgresDatabase):
        return _Alone(Server(the_server().url), database.database, name=database.name)
    assert isinstance(database, SqliteDatabase)
    return SqliteDatabase(database.path, name=database.name)


class Migrated:
    """A file of each service's newest schema, made by its migrations when the first cloud asks for it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def database(self, env: Environment, service: str, tables: sa.MetaData) -> Database:
        """What `Environment.database` is in such a run."""
        path = env.state / "db" / f"{service}.sqlite"
        if not env.config.database and not path.exists():
            template = self._directory / path.name
            migrate.upgrade(service, template)  # a look at its number, but for the first time
            path.parent.mkdir(mode=0o700, exist_ok=True)
            shutil.copy(template, path)
        return _environments_own(env, service, tables)


def services_on_postgresql(env: Environment, service: str, tables: sa.MetaData) -> Database:
    """What `Environment.database` is in such a run: one process alone, with its databases on the server."""
    if env.config.database:  # a test that brings its own
        return _environments_own(env, service, tables)
    server = the_server()
    database, new = server.find(env.state, service)
    if new:
        server.run(server.create(database, server.template(service), None))
    if env._postgres is None:
        env._postgres = Server(server.url)
    opened = env.databases[service] = PostgresDatabase(env._postgres, database, name=service)
    return opened


def whole_text(env: Environment, service: str) -> bytes:
    """All that lies in a service's database, as it lies there."""
    database = env.databases[service]
    if not isinstance(database, PostgresDatabase):
        return b"".join(path.read_bytes() for path in (env.state / "db").glob(f"{service}.sqlite*"))
    return the_server().run(the_server().dump(database.database))


class _Alone(PostgresDatabase):
    """A database with connections of its own, down to the one that syncs."""

    async def close(self) -> None:
        await super().close()
        await self._server.close()


class RunServer:
    """The server of a test run, and a thread that does what must not wait for a test's own loop."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="cloudseed-postgres-"))
        self._directory.chmod(0o711)
        self.process = PostgresServer(self._directory / "server", free_port(), "test", fsync=False)
        self.process.start()
        self.url = self.process.url("t")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._admin: asyncpg.Connection = self.run(Server(self.url).connect("postgres"))
        self._turn = asyncio.Lock()
        self._templates: set[str] = set()
        self._made: set[str] = set()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def find(self, path: Path, name: str) -> tuple[str, bool]:
        """The name of the database that belongs to a path, and whether it must be made."""
        database = f"t{hashlib.blake2b(str(path).encode(), digest_size=8).hexdigest()}_{name}"
        new = database not in self._made
        self._made.add(database)
        return database, new

    def template(self, service: str) -> str:
        if service not in self._templates:
            self.run(schema.upgrade(self.process.url("template"), [service]))
            self._templates.add(service)
        return f"template_{service}"

    async def create(self, database: str, template: str, metadata: sa.MetaData | None) -> None:
        async with self._turn:
            if metadata is None:
                await self._admin.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
                return
            await self._admin.execute(schema.CREATE.format(database))
        engine = Server(self.url).engine(database)
        async with engine.connect() as connection:
            await connection.run_sync(metadata.create_all)
        await engine.dispose()

    async def dump(self, database: str) -> bytes:
        connection = await Server(self.url).connect(database)
        try:
            tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            return b"\n".join([row[0].encode() for table in tables
                               for row in await connection.fetch(f'SELECT whole::text FROM "{table[0]}" AS whole')])
        finally:
            await connection.close()

    def clean(self) -> None:
        """Drop the databases that nobody is connected to any more, a hundred at a time: dropping costs a checkpoint."""
        if len(self._made) > 100:
            asyncio.run_coroutine_threadsafe(self._drop(set(self._made)), self._loop)

    async def _drop(self, candidates: set[str]) -> None:
        async with self._turn:
            used = {row[0] for row in await self._admin.fetch("SELECT DISTINCT datname FROM pg_stat_activity")}
            for database in candidates & self._made - used:
                self._made.discard(database)
                await self._admin.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def stop(self) -> None:
        self.run(self._admin.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self.process.stop(mode="immediate")
        shutil.rmtree(self._directory, ignore_errors=True)


_server: RunServer | None = None


def the_server() -> RunServer:
    global _server
    if _server is None:
        _server = RunServer()
    return _server


def stop() -> None:
    """End of the run."""
    global _server
    if _server is not None:
        _server.stop()
        _server = None
