"""A compute that has not changed only says that it lives; who spoke within a moment is noted in one statement."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cloudseed.nova.compute import publishing
from cloudseed.nova.conductor import heartbeats
from cloudseed.nova.conductor.on_host import Hosts
from cloudseed.nova.models import compute_nodes, services
from cloudseed.nova.services import last_words
from tests.nova.engine.bench import Bench

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_computes = services.c.binary == "nova-compute"


async def seen(bench: Bench) -> dict[str, datetime.datetime]:
    async with bench.nova.db.read() as tx:
        rows = await tx.all(sa.select(services.c.host, services.c.last_seen_at).where(_computes))
    return {row.host: row.last_seen_at for row in rows}


async def make_old(bench: Bench) -> None:
    async with bench.nova.db.write() as tx:
        await tx.execute(sa.update(services).where(_computes).values(last_seen_at=LONG_AGO))


async def test_unchanged_computes_are_noted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "TOGETHER_S", 0.05)
    async with Bench(tmp_path, fake_hosts=5) as bench:
        await make_old(bench)
        full: list[Any] = []
        monkeypatch.setattr(bench.nova.conductor._desk, "report_host", full.append)
        for compute in bench.nova.computes:
            await compute._report()
        assert set((await seen(bench)).values()) == {LONG_AGO}  # nothing is written for each of them
        noting = asyncio.create_task(bench.nova.conductor.heartbeats.loop.run_soon())
        running = asyncio.create_task(bench.nova.conductor.heartbeats.loop.run())
        await noting
        running.cancel()
        assert len(await seen(bench)) == 5 and LONG_AGO not in (await seen(bench)).values()
        assert not full


async def test_a_changed_compute_reports_at_once(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        compute = bench.nova.computes[0]
        facts = await compute.driver.facts()
        facts.details["problems"] = ["something"]
        await compute._publisher.report_host(bench.runtime.context(), facts)
        async with bench.nova.db.read() as tx:
            assert (await tx.scalar(sa.select(compute_nodes.c.facts)))["problems"] == ["something"]


async def test_a_forgotten_compute_is_known_again_after_a_while(tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    async with Bench(tmp_path) as bench:
        async with bench.nova.db.write() as tx:
            await tx.execute(sa.delete(services).where(_computes))
        monkeypatch.setattr(publishing, "REPORT_ANYWAY_S", 0.0)
        await bench.nova.computes[0]._report()
        assert len(await seen(bench)) == 1


async def test_who_was_up_when_the_conductor_died_is_up_when_it_is_back(tmp_path: Path) -> None:
    async with Bench(tmp_path, fake_hosts=2) as bench:
        await make_old(bench)
        lost, kept = sorted(await seen(bench))
        hosts = Hosts(bench.nova)
        assert not await hosts.is_up(kept)  # the conductor would have heard of it
        async with bench.nova.db.write() as tx:
            long_dead = LONG_AGO - datetime.timedelta(seconds=bench.nova.config.service_down_s + 1)
            await tx.execute(sa.update(services).where(services.c.host == lost).values(last_seen_at=long_dead))
        await last_words(bench.nova).listen(bench.nova.conductor_bus.watch)
        assert await hosts.is_up(kept) and not await hosts.is_up(lost)
