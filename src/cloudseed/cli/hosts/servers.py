"""The database and the broker of a cloud of many hosts on one machine: started, watched and stopped for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cloudseed.cli import processes
from cloudseed.cli.hosts.shape import ACCOUNT, Shape
from cloudseed.cli.processes import Process, Processes
from cloudseed.cli.roles import CONTROL
from cloudseed.cli.servers import postgres, rabbitmq
from cloudseed.kernel import migrate


def begin(state: Path, shape: Shape, known: Processes) -> None:
    """Start both unless they run, without waiting for the broker.  Raises what the servers' modules raise."""
    running = rabbitmq.start(broker(state, shape))  # it takes seconds, on a processor that the other leaves
    known.servers |= {"rabbitmq": running.server, "epmd": running.mapper}
    server = database(state, shape)
    server.start()
    known.servers["postgres"] = _process(server.pid)


def upgrade(shape: Shape) -> None:
    """Make the services' databases that are missing, and bring their tables to this version's.  Raises ServerError."""
    import asyncpg

    from cloudseed.kernel.postgres import schema

    try:
        asyncio.run(schema.upgrade(shape.database_url, [name for name in CONTROL if migrate.directory(name).is_dir()]))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, migrate.SchemaTooNew) as exc:
        raise postgres.ServerError(f"the databases could not be brought to this version: {exc}") from exc


def wait_ready(state: Path, shape: Shape) -> None:
    """Until the broker takes clients."""
    rabbitmq.wait_ready(broker(state, shape))


def stop(state: Path, shape: Shape | None) -> None:
    """Stop both; what they keep is kept."""
    if shape is not None:
        rabbitmq.stop(broker(state, shape).directory)
        if _made(state, shape):
            database(state, shape).stop()


def clean(state: Path, shape: Shape) -> None:
    """Stop both, and leave none of the shared memory that a database which was killed leaves: it knows which."""
    if _made(state, shape):
        server = database(state, shape)
        if server.pid is None and (server.data / "postmaster.pid").exists():
            server.start()
    stop(state, shape)


def broker(state: Path, shape: Shape) -> rabbitmq.Broker:
    return rabbitmq.Broker(
        state / "rabbitmq", shape.broker_port, shape.mapper_port, shape.node_port, shape.broker_password,
        addresses=("127.0.0.1", shape.controller), user=ACCOUNT, vhost=ACCOUNT)


def database(state: Path, shape: Shape) -> postgres.PostgresServer:
    return postgres.PostgresServer(state / "postgres", shape.database_port, shape.database_password)


def _made(state: Path, shape: Shape) -> bool:
    """Whether the database was ever made: an `up` may have ended before, or found no PostgreSQL."""
    return postgres.find_binaries() is not None and database(state, shape).data.exists()


def _process(pid: int | None) -> Process:
    return Process(pid or 0, processes.start_time(pid) if pid else 0)
