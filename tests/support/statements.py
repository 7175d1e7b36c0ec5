"""Counts what a piece of work asks the databases, on either engine."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import pytest

from cloudseed.kernel import sqlite
from cloudseed.kernel.postgres import database as postgresql

_counting: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("counting", default=None)


@contextlib.contextmanager
def counted_statements() -> Iterator[list[str]]:
    """The statements that this work runs on any database, as text; those of loops in the background are not its."""
    seen: list[str] = []
    token = _counting.set(seen)
    on_sqlite, on_postgresql = sqlite.run, postgresql._run

    def run(connection: Any, raw: Any, statement: Any, parameters: Any) -> Any:
        if _counting.get() is seen:
            seen.append(str(statement))
        return on_sqlite(connection, raw, statement, parameters)

    async def run_there(session: Any, statement: Any, parameters: Any) -> Any:
        if _counting.get() is seen:
            seen.append(str(statement))
        return await on_postgresql(session, statement, parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "run", run)
        patch.setattr(postgresql, "_run", run_there)
        try:
            yield seen
        finally:
            _counting.reset(token)
