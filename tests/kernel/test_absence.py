"""A database that is away says so to those who judge silence, and when it is back."""

from __future__ import annotations

import asyncio

import pytest

from cloudseed.kernel.postgres import absence
from cloudseed.kernel.postgres.database import PostgresDatabase
from cloudseed.kernel.postgres.server import Server


class Listener:
    def __init__(self) -> None:
        self.told: list[str] = []

    def lose(self, ago_s: float) -> None:
        assert ago_s >= absence.AWAY_S
        self.told.append("away")

    def hear(self) -> None:
        self.told.append("back")


class Way:
    """To a server that is away until told."""

    open = False

    async def begin(self) -> str:
        if not self.open:
            raise ConnectionRefusedError
        return "begun"


async def test_it_is_told_once_and_taken_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "AWAY_S", 0.2)
    database = PostgresDatabase(Server("postgresql://somebody@127.0.0.1:1/prefix"), "nova", name="nova")
    listener, way = Listener(), Way()
    database.watch(listener)
    waiting = [asyncio.create_task(database._patiently(way.begin)) for _ in range(2)]
    while not listener.told:
        await asyncio.sleep(0.01)
    way.open = True
    assert await asyncio.gather(*waiting) == ["begun", "begun"]
    assert listener.told == ["away", "back"]


async def test_a_connection_that_is_lost_is_no_absence() -> None:
    database = PostgresDatabase(Server("postgresql://somebody@127.0.0.1:1/prefix"), "nova", name="nova")
    listener, way = Listener(), Way()
    database.watch(listener)
    waiting = asyncio.create_task(database._patiently(way.begin))
    await asyncio.sleep(0.01)
    way.open = True
    assert await waiting == "begun"
    assert listener.told == []
