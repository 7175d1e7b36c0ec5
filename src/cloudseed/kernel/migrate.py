"""Schemas: Alembic migrations from the first table on, one history a service.

`<service>/migrations/` holds numbered files (`0001_initial.py`, ...), each an Alembic revision whose id is its
number.  A database already at the newest number costs one small query; Alembic itself (100 ms, 10 MiB) is
loaded only when there is something to do.
"""

from __future__ import annotations

import importlib
import sqlite3
from pathlib import Path

import sqlalchemy as sa


class SchemaTooNew(RuntimeError):
    """The database was written by a newer Cloudseed."""


class SchemaTooOld(RuntimeError):
    """The database must be made or upgraded first; the text says by which command."""


def directory(service: str) -> Path:
    """Where a service's migrations lie."""
    module = importlib.import_module(f"cloudseed.{service}")
    assert module.__file__ is not None
    return Path(module.__file__).parent / "migrations"


def head(service: str) -> str:
    """The newest revision of a service, e.g. "0003"."""
    numbers = sorted(path.name[:4] for path in directory(service).glob("[0-9][0-9][0-9][0-9]_*.py"))
    if not numbers:
        raise FileNotFoundError(f"{service} has no migrations")
    return numbers[-1]


def current(path: Path) -> str | None:
    """The revision of an SQLite file; None for a new one."""
    if not path.exists():
        return None
    with sqlite3.connect(path) as db:
        try:
            row = db.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return row[0] if row else None


def upgrade(service: str, path: Path) -> bool:
    """Bring the database to the newest revision.  True when something was done."""
    newest, present = head(service), current(path)
    if present == newest:
        return False
    if present is not None and present > newest:
        raise SchemaTooNew(f"{path} is at schema {present}, this Cloudseed knows {newest}: use a newer one")
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        run(service, connection)
    engine.dispose()
    path.chmod(0o600)
    return True


def run(service: str, connection: sa.Connection) -> None:
    """Bring the database at the other end of a connection, of either engine, to the newest revision."""
    from alembic import command  # only here: see above
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic_env"))
    config.set_main_option("version_locations", str(directory(service)))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def revision(service: str, message: str) -> Path:
    """Write the next migration of a service from the difference between its models and its migrations."""
    import tempfile

    from alembic import command
    from alembic.config import Config

    versions = directory(service)
    versions.mkdir(exist_ok=True)
    known = sorted(path.name[:4] for path in versions.glob("[0-9][0-9][0-9][0-9]_*.py"))
    number = f"{int(known[-1]) + 1 if known else 1:04d}"
    models = importlib.import_module(f"cloudseed.{service}.models")
    with tempfile.TemporaryDirectory() as scratch:
        database = Path(scratch) / "db"
        if known:
            upgrade(service, database)
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "alembic_env"))
        config.set_main_option("version_locations", str(versions))
        config.set_main_option("path_separator", "newline")
        config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
        engine = sa.create_engine(f"sqlite:///{database}")
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            config.attributes["metadata"] = models.metadata
            script = command.revision(
                config,
                message,
                autogenerate=True,
                rev_id=number,
                version_path=str(versions),
                head=known[-1] if known else "base",
            )
        engine.dispose()
    assert script is not None and not isinstance(script, list)
    return Path(script.path)


if __name__ == "__main__":
    import sys

    print(revision(sys.argv[1], sys.argv[2]))
