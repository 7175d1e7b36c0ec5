"""A server of two hosts, and orders of its moves, as nova-api writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.drivers.fake import FakeDriver
from cloudseed.nova.conductor.records import read_server
from cloudseed.nova.migration_records import new_migration
from cloudseed.nova.models import migrations, services
from cloudseed.nova.server_states import TaskState
from tests.nova.engine.bench import Bench
from tests.nova.engine.cinder_double import Cinder
from tests.nova.engine.neutron_double import Neutron
from tests.nova.engine.resizing import held, status

TYPES = {"migrate": ("migration", TaskState.RESIZE_PREP), "live_migrate": ("live-migration", TaskState.MIGRATING),
         "evacuate": ("evacuation", TaskState.REBUILDING)}


class Story:
    """A server with a volume on the first of two hosts, whose cloud may be killed and started again."""

    def __init__(self, path: Path, hosts: int = 2, *, volume: bool = True, **settings: Any) -> None:
        self.path, self.settings = path, {"fake_hosts": hosts, **settings}
        self.neutron, self.cinder = Neutron(), Cinder()
        self.volume = self.cinder.add() if volume else None
        self.server_id = self.migration = self.source = ""

    def start(self) -> Bench:
        return Bench(self.path, self.neutron, self.cinder, **self.settings)

    async def boot(self, bench: Bench, state: str = "active") -> None:
        devices = [BlockDevice(source_type="volume", destination_type="volume", volume_id=self.volume,
                               volume_size=1)] if self.volume else []
        self.server_id = await bench.boot_with(devices)
        await bench.wait_for(self.server_id, vm_state="active", task_state=None)
        await bench.idle()
        for action, after in (("stop", "stopped"), ("pause", "paused")):
            if state == after:
                await bench.order(action, self.server_id)
                await bench.idle()
        self.source = (await bench.server(self.server_id)).host

    async def move(self, bench: Bench, kind: str, **data: Any) -> None:
        """Order it; `kind` is migrate, live_migrate or evacuate."""
        ctx, (type, task_state) = Context(), TYPES[kind]
        if kind == "evacuate":
            await self.force_down(bench, self.source)
            data.setdefault("start", True)
        async with bench.nova.db.write() as tx:
            row = await read_server(tx, self.server_id)
            self.migration = await new_migration(tx, ctx, row, type, row.flavor)
            await bench.nova.conductor.order(tx, ctx, self.server_id, f"nova.{kind}", task_state,
                                             {"migration": self.migration, **data})
        await bench.nova.api_bus.cast(ctx, "conductor", "wake")

    async def decide(self, bench: Bench, decision: str) -> None:
        await bench.order(decision, self.server_id, {"migration": self.migration})

    async def force_down(self, bench: Bench, host: str, down: bool = True) -> None:
        async with bench.nova.db.write() as tx:
            await tx.execute(sa.update(services).where(services.c.host == host, services.c.binary == "nova-compute")
                             .values(forced_down=down))

    def driver(self, bench: Bench, host: str) -> FakeDriver:
        return bench.driver([compute.host for compute in bench.nova.computes].index(host))

    def other(self, bench: Bench) -> str:
        """The host that it did not boot on."""
        return next(compute.host for compute in bench.nova.computes if compute.host != self.source)

    def fail(self, bench: Bench, doing: str, error: CloudseedError) -> None:
        """Let `doing` fail once, on either host."""
        for compute in bench.nova.computes:
            assert isinstance(compute.driver, FakeDriver)
            compute.driver.failures[doing] = [error]

    async def look_again(self, bench: Bench) -> None:
        """What a host does when it is back: compare what it has with what it should have."""
        for compute in bench.nova.computes:
            await compute._reconcile()

    async def check(self, bench: Bench, host: str, state: str, ended: str) -> None:
        """The server is whole, there and nowhere else."""
        assert await bench.violations() == []
        row = await bench.server(self.server_id)
        assert (row.host, row.vm_state, await status(bench, self.migration)) == (host, state, ended), (
            await bench.fault(self.server_id))
        waits = state == "resized"
        assert (await held(bench, self.migration) != {}) == waits and await held(bench, self.server_id) != {}
        assert {port["binding:host_id"] for port in self.neutron.ports.values()} == {host}
        places = [compute.host for compute in bench.nova.computes
                  if await compute.driver.machine(self.server_id) is not None]
        assert sorted(places) == sorted({host, self.source} if waits else {host})
        if self.volume is not None:
            (attachment,) = self.cinder.attachments.values()
            assert attachment["connector"]["host"] == host and self.cinder.volumes[self.volume]["status"] == "in-use"


async def statuses(bench: Bench, server_id: str) -> list[str]:
    """The statuses of the server's migrations, oldest first."""
    async with bench.nova.db.read() as tx:
        return list(await tx.scalars(sa.select(migrations.c.status).where(migrations.c.server_id == server_id)
                                     .order_by(migrations.c.id)))
