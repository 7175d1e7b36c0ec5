"""PostgreSQL restarted, crashed, stalled, failing now and then: requests wait or get a 503, never a 500; whatever was
accepted is carried to its end, and nothing is left over."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cloudseed.cli.servers.postgres import PostgresServer, find_binaries, free_port
from cloudseed.kernel.operations import engine
from cloudseed.kernel.postgres import schema
from cloudseed.kernel.postgres.faults import Flaky
from cloudseed.ledger import checks
from tests.nova.api.cloud import NovaCloud, nova
from tests.support.cloud import Answer, Client

pytestmark = pytest.mark.skipif(find_binaries() is None, reason="PostgreSQL is not installed (Debian: postgresql)")
SERVICES = ("keystone", "placement", "neutron", "nova")
PATIENCE_S = 60


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    directory = Path(tempfile.mkdtemp(prefix="cloudseed-postgres-"))
    directory.chmod(0o711)
    made = PostgresServer(directory / "server", free_port(), "test")
    try:
        made.start()
        yield made
    finally:
        made.stop(mode="immediate")
        shutil.rmtree(directory)


@pytest.fixture
async def cloud(server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NovaCloud]:
    monkeypatch.setattr(engine, "POLL_S", 0.5)
    server.start()
    url = server.url(f"t{time.monotonic_ns()}")
    await schema.upgrade(url, SERVICES)
    async with NovaCloud(tmp_path, database=url, operation_lease_s=5.0) as made:
        unlimited = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
        path = f"/os-quota-sets/{made.admin.project_id}"
        assert (await nova(made.admin, "PUT", path, unlimited)).status == 200
        yield made
        server.start()


class Load:
    """Clients that order servers as fast as they are answered, until told to stop."""

    def __init__(self, cloud: NovaCloud) -> None:
        self.cloud = cloud
        self.accepted: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.slowest_s = 0.0
        self._stopping = False

    async def client(self, number: int) -> None:
        count = 0
        while not self._stopping:
            began = time.monotonic()
            answer = await nova(self.cloud.admin, "POST", "/servers", self.cloud.order(name=f"vm-{number}-{count}"))
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.statuses[answer.status] += 1
            if answer.status == 202:
                self.accepted.append(answer.json()["server"]["id"])
            count += 1
            await asyncio.sleep(0.05)

    async def during(self, fault: Any) -> None:
        """Run the clients before, during and after what `fault()` does in a thread."""
        clients = [asyncio.create_task(self.client(number)) for number in range(4)]
        await asyncio.sleep(1)
        await asyncio.to_thread(fault)
        await asyncio.sleep(1.5)
        self._stopping = True
        await asyncio.wait_for(asyncio.gather(*clients), PATIENCE_S)


async def patiently(client: Client, method: str, path: str) -> Answer:
    """As a client does: again after a 503."""
    until = time.monotonic() + PATIENCE_S
    while True:
        answer = await nova(client, method, path)
        if answer.status != 503:
            return answer
        assert time.monotonic() < until, answer.body
        await asyncio.sleep(0.2)


async def settle(cloud: NovaCloud, accepted: list[str]) -> None:
    """All that was accepted is there and ends ACTIVE; then all is deleted, and nothing is left."""
    until = time.monotonic() + PATIENCE_S
    while True:
        answer = await patiently(cloud.admin, "GET", "/servers/detail")
        assert answer.status == 200, answer.body
        servers = {server["id"]: server["status"] for server in answer.json()["servers"]}
        if all(status != "BUILD" for status in servers.values()):
            break
        assert time.monotonic() < until, servers
        await asyncio.sleep(0.2)
    assert set(accepted) <= set(servers)  # more is right: its answer was lost
    assert set(servers.values()) <= {"ACTIVE"}, servers
    for server_id in servers:
        assert (await patiently(cloud.admin, "DELETE", f"/servers/{server_id}")).status in (204, 404)
    for server_id in servers:
        while (await patiently(cloud.admin, "GET", f"/servers/{server_id}")).status != 404:
            assert time.monotonic() < until + PATIENCE_S
            await asyncio.sleep(0.1)
    assert await cloud.service("nova").handle.engine.idle(30)
    picture = await cloud.runtime.ledger()
    assert checks.check(picture) == []
    assert picture["placement"]["allocations"] == []
    assert [port for port in picture["neutron"]["ports"] if port["device_owner"].startswith("compute:")] == []


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_the_server_is_restarted(cloud: NovaCloud, server: PostgresServer, mode: str) -> None:
    """`immediate` leaves what a crash leaves: what was committed and not synced is gone."""

    def restart() -> None:
        server.stop(mode=mode)
        time.sleep(1)
        server.start()

    load = Load(cloud)
    await load.during(restart)
    assert set(load.statuses) <= {202, 503}, load.statuses
    assert load.statuses[202] > 4
    await settle(cloud, load.accepted)


async def test_the_server_stalls_for_five_seconds(cloud: NovaCloud, server: PostgresServer) -> None:
    def stall() -> None:
        assert server.pid is not None
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        pids = [server.pid, *map(int, children)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(5)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    load = Load(cloud)
    await load.during(stall)
    assert set(load.statuses) <= {202, 503}, load.statuses
    assert load.slowest_s < 20
    await settle(cloud, load.accepted)


@pytest.mark.parametrize("every", [5, 13])
async def test_every_nth_write_fails(cloud: NovaCloud, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    flaky = Flaky(every)
    monkeypatch.setattr(asyncpg.Connection, "execute",
                        lambda connection, query, *args, **options: flaky.execute(connection, query, *args, **options))
    load = Load(cloud)
    await load.during(lambda: time.sleep(3))
    assert set(load.statuses) <= {202, 503}, load.statuses
    assert flaky.commits > 3 * every and load.statuses[202] and load.statuses[503]
    flaky.failing = False
    await settle(cloud, load.accepted)


async def test_a_stopped_process_gives_the_lock_back(cloud: NovaCloud) -> None:
    """A process that stops in the middle of a write holds up the others for seconds, and then cannot commit."""
    from cloudseed.kernel.errors import Unavailable
    from cloudseed.kernel.postgres.database import PostgresDatabase
    from cloudseed.kernel.postgres.server import Server

    db = cloud.env.databases["nova"]
    assert isinstance(db, PostgresDatabase)
    server = Server(cloud.config.database)
    other = PostgresDatabase(server, db.database, name="nova")
    try:
        with pytest.raises(Unavailable):
            async with other.write():
                began = time.monotonic()
                async with db.write():  # it cannot go on while the other one sleeps
                    pass
                assert 1 < time.monotonic() - began < 10
    finally:
        await other.close()
        await server.close()


