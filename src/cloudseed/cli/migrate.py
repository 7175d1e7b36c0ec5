"""`cloudseed migrate`: make the databases that are missing, and bring all of them to this version's schemas."""

from __future__ import annotations

import argparse
import asyncio
import sys

import msgspec
from sqlalchemy.engine import make_url

from cloudseed.cli import options
from cloudseed.cli.roles import CONTROL
from cloudseed.kernel import migrate
from cloudseed.kernel.config import Config
from cloudseed.kernel.errors import CloudseedError

DESCRIPTION = """Make the services' databases where they are missing, and upgrade their schemas.

With `database` in the settings they are on that PostgreSQL server, whose user must be allowed to make databases or
find them made (`CREATE DATABASE prefix_nova TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'`, and
so on). Run it before processes of a new version start; it may run while those of the old version work. A cloud in
one process upgrades its own files at its start and does not need this.

exit codes: 0 all are up to date now, 1 some are not (--check), or it failed, 2 wrong settings"""


def run(argv: list[str]) -> int:
    parser = options.parser("migrate", DESCRIPTION)
    options.add_settings(parser)
    parser.add_argument("--check", action="store_true", help="change nothing: say what is to be done")
    chosen = parser.parse_args(argv)
    config = options.settings(chosen)
    try:
        found = _on_server(config, chosen) if config.database else _files(config, chosen)
    except (migrate.SchemaTooNew, CloudseedError, OSError) as exc:
        print(f"cloudseed: {exc}", file=sys.stderr)
        return 1
    if chosen.json:
        print(msgspec.json.encode(found).decode())
    else:
        for line in found:
            if line["before"] == line["newest"]:
                print(f"{line['database']}: up to date ({line['newest']})")
            else:
                done = "is to be upgraded" if chosen.check else "upgraded"
                print(f"{line['database']}: {done} ({line['before'] or 'nothing there'} -> {line['newest']})")
    return 1 if chosen.check and any(line["before"] != line["newest"] for line in found) else 0


def _services() -> list[str]:
    return [name for name in CONTROL if (migrate.directory(name)).is_dir()]


def _on_server(config: Config, chosen: argparse.Namespace) -> list[dict[str, str | None]]:
    import asyncpg

    from cloudseed.kernel.postgres import failures, schema

    async def work() -> list[schema.State]:
        if chosen.check:
            return [await schema.look(config.database, service) for service in _services()]
        return await schema.upgrade(config.database, _services())

    try:
        states = asyncio.run(work())
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as exc:
        # never the URL as it is: it holds a password
        where = make_url(config.database).render_as_string(hide_password=True)
        ours = failures.explain(exc)
        raise CloudseedError(f"{where}: {ours.detail if ours is not None else exc}") from exc
    return [{"service": state.service, "database": state.database, "before": state.present, "newest": state.newest}
            for state in states]


def _files(config: Config, chosen: argparse.Namespace) -> list[dict[str, str | None]]:
    found: list[dict[str, str | None]] = []
    directory = config.data_path / "db"
    for service in _services():
        path = directory / f"{service}.sqlite"
        before = migrate.current(path)
        found.append({"service": service, "database": str(path), "before": before, "newest": migrate.head(service)})
        if not chosen.check and path.exists():
            migrate.upgrade(service, path)
    return [line for line in found if line["before"] is not None]
