"""A way to the database on which every n-th commit fails, for tests: CLOUDSEED_DATABASE_FAULTS="every=7".

By turns it fails before the server hears of it and after the server did it, without an answer: the client cannot tell
these apart, so whoever wrote must find out by looking.  The connection is lost each time.
"""

from __future__ import annotations

import os
from typing import Any

import asyncpg


class Flaky:
    """Counts commits; what `execute` does in the place of a connection's own."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._real = asyncpg.Connection.execute
        self.commits = 0
        self.failing = True

    async def execute(self, connection: asyncpg.Connection, query: str, *args: Any, **options: Any) -> str:
        if query != "COMMIT" or not self.failing:
            return str(await self._real(connection, query, *args, **options))
        self.commits += 1
        failed, odd = self.commits % self._every == 0, self.commits // self._every % 2
        if not failed or odd:
            answer = str(await self._real(connection, query, *args, **options))
            if not failed:
                return answer
        connection.terminate()
        raise ConnectionResetError("the connection broke")

    def connections(self) -> type[asyncpg.Connection]:
        """The class of connections that it is about."""
        flaky = self

        class Connection(asyncpg.Connection):  # type: ignore[misc]  # it has no types
            async def execute(self, query: str, *args: Any, **options: Any) -> str:
                return await flaky.execute(self, query, *args, **options)

        return Connection


def connection_class() -> type[asyncpg.Connection]:
    """The class of the process's connections, as its environment says."""
    text = os.environ.get("CLOUDSEED_DATABASE_FAULTS")
    return Flaky(int(text.removeprefix("every="))).connections() if text else asyncpg.Connection
