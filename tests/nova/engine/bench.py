"""Nova's engine on a bench: real keystone and placement, a small neutron, no API; servers ordered as nova-api does."""

from __future__ import annotations

import asyncio
import datetime
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import sqlalchemy as sa

from cloudseed.glance.service import build as build_glance
from cloudseed.kernel.config import Config
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.hearing import Hearing
from cloudseed.kernel.runtime import Environment, Runtime, Service
from cloudseed.keystone.service import build as build_keystone
from cloudseed.nova import block_devices, server_volumes
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.drivers.fake import FakeDriver
from cloudseed.nova.compute.service import ComputeService, build_computes
from cloudseed.nova.conductor import Conductor
from cloudseed.nova.conductor.image_of_server import new_image
from cloudseed.nova.models import (
    block_device_mappings,
    metadata,
    migrations,
    operation_tables,
    server_action_events,
    server_faults,
    servers,
    services,
)
from cloudseed.nova.scheduler import Scheduler
from cloudseed.nova.server_states import TaskState
from cloudseed.placement.service import build as build_placement
from tests.nova.engine.cinder_double import Cinder
from tests.nova.engine.neutron_double import NETWORK, Neutron
from tests.support.databases import open_database

_TASKS = {"stop": TaskState.POWERING_OFF, "start": TaskState.POWERING_ON, "reboot": TaskState.REBOOTING,
          "snapshot": TaskState.IMAGE_SNAPSHOT_PENDING, "backup": TaskState.IMAGE_BACKUP,
          "pause": TaskState.PAUSING, "unpause": TaskState.UNPAUSING, "suspend": TaskState.SUSPENDING,
          "resume": TaskState.RESUMING, "rebuild": TaskState.REBUILDING, "rescue": TaskState.RESCUING,
          "unrescue": TaskState.UNRESCUING}
FLAVOR = {"id": "c1", "name": "cirros256", "vcpus": 1, "ram": 256, "disk": 1, "ephemeral": 0, "swap": 0,
          "extra_specs": {}}


class EngineNova:
    """What conductor, scheduler and computes need of `nova.service.Nova`."""

    def __init__(self, env: Environment) -> None:
        self.env, self.config = env, env.config
        self.db = env.databases["nova"] = open_database(env.state / "nova.sqlite", "nova", metadata)
        self.engine = env.operations(self.db, operation_tables)
        self.hearing = Hearing(self.db.now, env.config.service_down_s)
        self.conductor_session = env.session("nova-conductor", "nova")
        self.api_session = env.session("nova-api", "nova")
        self.scheduler_session = env.session("nova-scheduler", "nova")
        self.api_bus, self.conductor_bus = env.bus("nova-api"), env.bus("nova-conductor")
        self.scheduler_bus = env.bus("nova-scheduler")
        self.conductor: Any = Conductor(self)  # type: ignore[arg-type]
        self.scheduler = Scheduler(self)  # type: ignore[arg-type]
        self.computes: list[ComputeService] = [
            ComputeService(env, compute.host, compute.driver, network_host=compute.host)
            for compute in build_computes(env)]
        self.engine.register(*self.conductor.types)

    def service(self) -> Service:
        async def start() -> None:
            await self.conductor.start()
            await self.scheduler.start()

        async def ready() -> None:
            for compute in self.computes:
                await compute.start()

        async def stop() -> None:
            for compute in self.computes:
                await compute.stop()

        return Service("nova", engines=[self.engine], start=start, ready=ready, stop=stop, handle=self)


_templates: list[tempfile.TemporaryDirectory[str]] = []


async def _template() -> str:
    """A state in which keystone and placement have been started once: copying it is faster than migrating."""
    if not _templates:
        _templates.append(tempfile.TemporaryDirectory(prefix="bench-"))
        env = Environment(Config(state=_templates[0].name, driver="fake", password_hash_rounds=4, image_store="file"))
        runtime = Runtime(env, [build_keystone, build_placement, build_glance])
        await runtime.start(listen=False)
        await runtime.stop()
    return _templates[0].name


class Bench:
    """One start of the cloud; the same path and neutron again is a restart."""

    def __init__(self, path: Path, neutron: Neutron | None = None, cinder: Cinder | None = None,
                 **settings: Any) -> None:
        self.config = Config(state=str(path), driver="fake", password_hash_rounds=4, image_store="file", **settings)
        self.neutron = neutron or Neutron()
        self.cinder = cinder or Cinder()
        self.nova: EngineNova
        self.runtime: Runtime

    async def __aenter__(self) -> Bench:
        if not any(self.config.state_path.iterdir()):
            shutil.copytree(await _template(), self.config.state_path, dirs_exist_ok=True)
        env = Environment(self.config)

        def build_nova(env: Environment) -> Service:
            self.nova = EngineNova(env)
            return self.nova.service()

        self.runtime = Runtime(env, [
            build_keystone, build_placement, build_glance, self.neutron.build, self.cinder.build, build_nova])
        await self.runtime.start(listen=False)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.runtime.stop()

    def driver(self, number: int = 0) -> FakeDriver:
        driver = self.nova.computes[number].driver
        assert isinstance(driver, FakeDriver)
        return driver

    # ---- ordering, as nova-api does

    async def attach(self, server_id: str, volume_id: str, **values: Any) -> str:
        """Order that a server gets a volume, as nova-api does; the device's id."""
        ctx = Context()
        device = BlockDevice(id=str(uuid.uuid4()), source_type="volume", destination_type="volume",
                             volume_id=volume_id, volume_size=self.cinder.volumes[volume_id]["size"], **values)

        async def intend(tx: Tx) -> None:
            await block_devices.add_devices(tx, server_id, [device])

        async def write(tx: Tx, attachments: dict[str, str]) -> None:
            await block_devices.change_device(tx, server_id, device.id, attachment_id=attachments[device.id])
            await self.nova.conductor.order(tx, ctx, server_id, "nova.attach_volume", None, {"device": device.id})

        await server_volumes.reserve(self.nova, ctx, server_id, [device], intend, write,  # type: ignore[arg-type]
                                     new=False)
        await self.nova.api_bus.cast(ctx, "conductor", "wake")
        return device.id

    async def detach(self, server_id: str, device_id: str) -> None:
        """Order that a server lets go of a volume."""
        async with self.nova.db.write() as tx:
            await block_devices.change_device(tx, server_id, device_id, state="detaching")
        await self.order("detach_volume", server_id, {"device": device_id})

    async def boot_with(self, devices: list[BlockDevice], **values: Any) -> str:
        """Order a server with these block devices, its volumes reserved before; its id."""
        devices = [block_devices.named(device) for device in devices]
        given = [device for device in devices if device.volume_id is not None]

        async def write(tx: Tx | None, server_id: str, attachments: dict[str, str]) -> str:
            mine = [msgspec.structs.replace(device, attachment_id=attachments.get(device.id)) for device in devices]
            if tx is None:
                async with self.nova.db.write() as tx:
                    return await self._create_in(tx, server_id, mine, **values)
            await block_devices.remove_devices(tx, server_id)
            return await self._create_in(tx, server_id, mine, **values)

        if given:
            server_id = await server_volumes.reserve_and_order(self.nova, Context(), given, (), write)  # type: ignore[arg-type]
        else:
            server_id = await write(None, str(uuid.uuid4()), {})
        await self.nova.api_bus.cast(Context(), "conductor", "wake")
        return server_id

    async def _create_in(self, tx: Tx, server_id: str, devices: list[BlockDevice], **values: Any) -> str:
        await block_devices.add_devices(tx, server_id, devices, paint=False)
        return await self._insert(tx, id=server_id, block_devices=block_devices.picture(devices), **values)

    async def create(self, *, flavor: dict[str, Any] | None = None, networks: Any = None, **values: Any) -> str:
        """Order one server; returns its id."""
        async with self.nova.db.write() as tx:
            server_id = await self._insert(tx, flavor=flavor, networks=networks, **values)
        await self.nova.api_bus.cast(Context(), "conductor", "wake")
        return server_id

    async def _insert(self, tx: Tx, *, flavor: dict[str, Any] | None = None, networks: Any = None,
                      **values: Any) -> str:
        now, server_id, ctx = utcnow(), values.get("id") or str(uuid.uuid4()), Context()
        flavor = {**FLAVOR, **(flavor or {})}
        record = {
            "id": server_id, "project_id": "p1", "user_id": "u1", "name": "vm", "hostname": "vm",
            "vm_state": "building", "task_state": "scheduling", "image_id": None, "image_properties": {},
            "flavor": flavor, "reservation_id": "r-1", "metadata": {}, "system_metadata": {},
            "requested_networks": [{"uuid": NETWORK}] if networks is None else networks,
            "security_groups": ["default"], "scheduler_hints": {}, "personality": [], "network_info": [],
            "created_at": now, "updated_at": now, "flavor_id": flavor["id"], "vcpus": flavor["vcpus"],
            "memory_mb": flavor["ram"], **values}
        known = {column.name for column in servers.columns}
        await tx.execute(sa.insert(servers).values({k: v for k, v in record.items() if k in known}))
        await self.nova.conductor.order_boot(tx, ctx, server_id)
        return server_id

    async def order(self, what: str, server_id: str, *arguments: Any) -> None:
        """An operation by its kind without `nova.`; the argument is its data (for a reboot, whether it is hard; for a
        snapshot a name; for a backup a name, a type and a rotation)."""
        ctx = Context()
        if what in ("snapshot", "backup"):
            data = await self._image_order(ctx, what, server_id, *arguments)
        elif what == "reboot":
            data = {"hard": arguments[0]}
        else:
            data = arguments[0] if arguments else {}
        async with self.nova.db.write() as tx:
            if what == "delete":
                await self.nova.conductor.order_delete(tx, ctx, server_id)
            else:
                await self.nova.conductor.order(tx, ctx, server_id, f"nova.{what}", _TASKS.get(what), data)
        await self.nova.api_bus.cast(ctx, "conductor", "wake")

    async def _image_order(self, ctx: Context, what: str, server_id: str, name: str, backup_type: str | None = None,
                           rotation: int = 0) -> dict[str, Any]:
        metadata = {"backup_type": backup_type} if backup_type else {}
        body = new_image(await self.server(server_id), ctx, name, what, metadata)
        return {"image": {"id": str(uuid.uuid4()), "body": body}, "backup_type": backup_type, "rotation": rotation}

    async def images(self) -> list[dict[str, Any]]:
        """Glance's, newest first."""
        found = await self.nova.api_session.get_json(Context(), "image", "/v2/images?sort=created_at:desc")
        return list(found["images"])

    async def forget_host(self, host: str) -> None:
        """As if the host had not reported in for long."""
        async with self.nova.db.write() as tx:
            await tx.execute(sa.update(services).where(services.c.host == host).values(
                last_seen_at=utcnow() - datetime.timedelta(hours=1)))

    # ---- looking

    async def idle(self, timeout_s: float = 20.0) -> None:
        assert await self.nova.engine.idle(timeout_s), await self.nova.engine.open_operations()

    async def server(self, server_id: str) -> Any:
        async with self.nova.db.read() as tx:
            return await tx.first(sa.select(servers).where(servers.c.id == server_id))

    async def fault(self, server_id: str) -> str:
        async with self.nova.db.read() as tx:
            found = await tx.scalar(sa.select(server_faults.c.message).where(server_faults.c.server_id == server_id)
                                    .order_by(server_faults.c.id.desc()))
        return str(found or "")

    async def event_details(self, server_id: str, event: str) -> str:
        """What the newest such event of the server's actions tells of its failure."""
        table = server_action_events
        async with self.nova.db.read() as tx:
            found = await tx.scalar(sa.select(table.c.details).where(
                table.c.server_id == server_id, table.c.event == event).order_by(table.c.id.desc()))
        return str(found or "")

    async def wait_for(self, server_id: str, deadline_s: float = 10.0, **values: Any) -> Any:
        """The server once its fields are as said."""
        until = time.monotonic() + deadline_s
        while True:
            row = await self.server(server_id)
            if all(getattr(row, name) == value for name, value in values.items()):
                return row
            assert time.monotonic() < until, (row.vm_state, row.task_state, await self.fault(server_id))
            await asyncio.sleep(0.01)

    async def allocations(self) -> set[str]:
        """Servers that hold something in placement."""
        placement = next(s for s in self.runtime.services if s.name == "placement")
        assert placement.ledger is not None
        return {entry["consumer"] for entry in (await placement.ledger())["allocations"]}

    async def devices(self, server_id: str) -> list[BlockDevice]:
        async with self.nova.db.read() as tx:
            return await block_devices.list_devices(tx, server_id)

    async def _volume_violations(self, rows: Any, machines: Any) -> list[str]:
        """What nova, cinder and the guests do not agree on."""
        found = []
        for row in rows:
            devices = await self.devices(row.id)
            if block_devices.picture(devices) != (row.block_devices or []):
                found.append(f"server {row.id} has devices {devices}, shows {row.block_devices}")
            held = sorted(str(d.attachment_id) for d in devices if d.attachment_id)
            if held != sorted(a["id"] for a in self.cinder.attachments.values() if a["instance"] == row.id):
                found.append(f"server {row.id} knows attachments {held}, cinder {self.cinder.attachments}")
            here = (row.host, row.id)
            if here in machines and machines[here].running:
                number = [compute.host for compute in self.nova.computes].index(row.host)
                seen = self.driver(number).volumes(row.id)
                if sorted(seen) != sorted(str(d.volume_id) for d in devices if d.state == "attached"):
                    found.append(f"the guest of {row.id} sees volumes {list(seen)}, nova says {devices}")
            found += [f"device {d.id} is {d.state}" for d in devices if d.state == "detaching"]
        known = {row.id for row in rows}
        found += [f"attachment of no server: {a}" for a in self.cinder.attachments.values()
                  if a["instance"] not in known]
        async with self.nova.db.read() as tx:
            all_rows = await tx.all(sa.select(block_device_mappings))
        found += [f"device of no server: {r}" for r in all_rows if r.server_id not in known]
        for volume in self.cinder.volumes.values():
            mine = [a for a in self.cinder.attachments.values() if a["volume_id"] == volume["id"]]
            shelved = bool(mine) and mine[0]["instance"] in {r.id for r in rows if r.host is None}
            wanted = ("available",) if not mine else ("in-use", "reserved") if shelved else ("in-use",)
            if volume["status"] not in wanted:
                found.append(f"volume {volume['id']} is {volume['status']} with attachments {mine}")
            if any(volume["name"] == r.id for r in all_rows):
                found.append(f"volume {volume['id']} still bears the name of a device")
        return found

    async def violations(self) -> list[str]:
        """What is wrong between nova, placement, neutron and the hosts, once nothing is under way."""
        await self.idle()
        found = []
        async with self.nova.db.read() as tx:
            rows = await tx.all(sa.select(servers).where(servers.c.deleted_at.is_(None)))
        placed = {row.id for row in rows if row.host is not None}
        claims = await self.allocations()
        async with self.nova.db.read() as tx:
            held = set(await tx.scalars(sa.select(migrations.c.uuid).where(migrations.c.status == "finished")))
        found += [f"no claim for {s}" for s in placed - claims] + [f"claim without server {s}" for s in claims - placed
                                                                   - held]
        found += [f"nothing held for migration {m}" for m in held - claims]
        machines = {(compute.host, m.server_id): m for compute in self.nova.computes
                    for m in await compute.driver.machines()}
        async with self.nova.db.read() as tx:
            moves = await tx.all(sa.select(migrations).where(migrations.c.status == "finished"))
        here = {(row.host, row.id) for row in rows if row.host is not None}
        left = {(move.source_host, move.server_id) for move in moves}
        found += [f"no machine for {s}" for s in here | left if s not in machines]
        found += [f"machine without server {s}" for s in machines.keys() - here - left]
        found += [f"{s} runs where it is not" for s in left - here if machines[s].running]
        for row in rows:
            running = (row.host, row.id) in machines and machines[row.host, row.id].running
            runs = row.vm_state in ("active", "paused", "rescued") or (
                row.vm_state == "resized" and row.power_state == 1)
            if runs != running:
                found.append(f"server {row.id} is {row.vm_state}, its machine runs: {running}")
            if row.task_state is not None:
                found.append(f"server {row.id} is still {row.task_state}")
            on = {p["binding:host_id"] for p in self.neutron.ports.values() if p["device_id"] == row.id}
            if row.host is not None and on - {row.host}:
                found.append(f"server {row.id} on {row.host} has ports on {on}")
            found += [f"port {p['id']} waits on {p['waiting']}" for p in self.neutron.ports.values()
                      if p.get("waiting")]
            ports = [p["id"] for p in self.neutron.ports.values() if p["device_id"] == row.id]
            if sorted(ports) != sorted(vif["id"] for vif in row.network_info):
                found.append(f"server {row.id} has ports {ports}, knows {row.network_info}")
        found += [f"copy left behind: {path}" for path in self.config.state_path.glob("**/*.copy")]
        found += [f"image {i['id']} is {i['status']}" for i in await self.images() if i["status"] != "active"]
        found += await self._volume_violations(rows, machines)
        shelved = {row.id for row in rows if row.vm_state == "shelved_offloaded"}
        for port in self.neutron.ports.values():
            if port["device_id"] and port["device_id"] not in placed | shelved:
                found.append(f"port {port['id']} of no server {port['device_id']}")
        return found
