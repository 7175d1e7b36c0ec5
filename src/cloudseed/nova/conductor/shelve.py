"""Shelve: a server put away as an image, its host free of it; and unshelve, onto any host that has room.

shelve    stop      the machine is off                           undo: it runs again, if it did
          image, copy, upload    its root disk is an image       undo: the image is gone (image_of_server.py)
          finish    the server is shelved, and its offload is ordered
offload   machine   the host has nothing of it, its ports are bound nowhere
          volumes   they are reserved for it, and connected nowhere
          claim     nothing is held for it in placement
          finish    it is on no host
unshelve  schedule  a host is chosen and claimed                 undo: released, the host forgotten
          networks  its ports are bound there                    undo: unbound
          disks     made from the image, volumes connected       undo: removed, reserved
          start     the machine runs                             (with disks)
          image     the image is deleted
          finish    the server is active

A server whose root disk is a volume needs no image.  Ports and volumes stay the server's all the time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from cloudseed.kernel.db import flush, utcnow
from cloudseed.kernel.errors import CloudseedError, NotFound
from cloudseed.kernel.operations import Cancelled, OperationType, Run, Step
from cloudseed.nova.compute.network import Networks
from cloudseed.nova.compute.spec import ServerSpec, encode_spec, spec_from_row
from cloudseed.nova.conductor.boot import SCHEDULE_TIMEOUT_S, hinted_hosts, server_group
from cloudseed.nova.conductor.image_of_server import COPY_PATIENCE_S, ImageOfServer, States
from cloudseed.nova.conductor.on_host import HostGone, Hosts
from cloudseed.nova.conductor.power import SOFT_TIMEOUT_S
from cloudseed.nova.conductor.records import (
    Server,
    add_fault,
    begin_event,
    change,
    end_event,
    load_server,
    load_spec,
    read_server,
)
from cloudseed.nova.conductor.shelf_volumes import reserve_for_shelf
from cloudseed.nova.server_states import PowerState, TaskState, VmState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

EVENTS = {"nova.shelve": "compute_shelve_instance", "nova.shelve_offload": "compute_shelve_offload_instance",
          "nova.unshelve": "compute_unshelve_instance"}
STATES = States(TaskState.SHELVING, TaskState.SHELVING_IMAGE_PENDING_UPLOAD, TaskState.SHELVING_IMAGE_UPLOADING)
IMAGE = "shelved_image_id"
Action = Callable[[Run], Awaitable[None]]


class Shelve:
    """The operations shelve, shelve_offload and unshelve."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self._networks = Networks(nova.conductor_session)
        image = ImageOfServer(nova, hosts, EVENTS["nova.shelve"], STATES)
        self.types = [
            OperationType("nova.shelve", (
                Step("stop", self._stop, self._undo_stop, patience_s=240),
                Step("image", _with_image(image.image), _with_image(image.undo_image)),
                Step("copy", _with_image(image.copy), _with_image(image.undo_copy), patience_s=COPY_PATIENCE_S),
                Step("upload", _with_image(image.upload), patience_s=COPY_PATIENCE_S),
                Step("finish", self._shelved)), failed=self._failed),
            OperationType("nova.shelve_offload", (
                Step("machine", self._offload, patience_s=240),
                Step("volumes", self._reserve_volumes, patience_s=120), Step("claim", self._release, patience_s=120),
                Step("finish", self._offloaded)), failed=self._failed),
            OperationType("nova.unshelve", (
                Step("schedule", self._schedule, self._undo_schedule, patience_s=120),
                Step("networks", self._bind, self._unbind, patience_s=180),
                Step("disks", self._disks, self._undo_disks, patience_s=3600),
                Step("start", self._start, patience_s=600), Step("image", self._delete_image, patience_s=120),
                Step("finish", self._unshelved)), failed=self._failed)]

    # ---- shelve: data {"image"?: {"id", "body"}, "ran": bool}

    async def _stop(self, run: Run) -> None:
        row = await self._begin(run)
        await self._hosts.require(run, row, "power_off", soft_timeout_s=SOFT_TIMEOUT_S)

    async def _undo_stop(self, run: Run) -> None:
        row = await load_server(self._nova, run.resource_id)
        if run.data["ran"] and row.host is not None and row.task_state != TaskState.DELETING:
            try:
                await self._hosts.ask(run, row.host, "power_on", spec=encode_spec(spec_from_row(row)))
            except HostGone:
                pass  # its reconciler tells what became of the machine

    async def _shelved(self, run: Run) -> None:
        image = run.data.get("image")
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            kept = {**row.system_metadata, "shelved_at": utcnow().isoformat(), "shelved_host": row.host,
                    **({IMAGE: image["id"]} if image else {})}
            await change(tx, row, vm_state=VmState.SHELVED.value, power_state=PowerState.SHUTDOWN.value,
                         system_metadata=kept, task_state=None)
            await end_event(tx, run, EVENTS[run.kind])
            if row.task_state != TaskState.DELETING and row.vm_state != VmState.SHELVED:
                # at once, as upstream's shelved_offload_time = 0 has it; once only, since this step may run again
                await self._nova.conductor.order(tx, run.ctx, row.id, "nova.shelve_offload",
                                                 TaskState.SHELVING_OFFLOADING)
        self._nova.engine.wake()

    # ---- offload

    async def _offload(self, run: Run) -> None:
        row = await self._begin(run)
        if row.host is not None:
            await self._hosts.require(run, row, "offload", ports=[vif["id"] for vif in row.network_info])

    async def _reserve_volumes(self, run: Run) -> None:
        await reserve_for_shelf(self._nova, run)

    async def _release(self, run: Run) -> None:
        await self._nova.conductor_bus.call(run.ctx, "scheduler", "release", server_id=run.resource_id)

    async def _offloaded(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await change(tx, row, vm_state=VmState.SHELVED_OFFLOADED.value, task_state=None, host=None, node=None,
                         power_state=PowerState.NOSTATE.value)
            await end_event(tx, run, EVENTS[run.kind])

    # ---- unshelve: data {"destination"?: {"host"}}

    async def _schedule(self, run: Run) -> None:
        row = await self._begin(run)
        if row.vm_state == VmState.SHELVED:  # its offload never came: it is still on its host
            run.data["on_shelf"] = True
            return
        async with self._nova.db.read() as tx:
            group, hints = await server_group(tx, row.id), await hinted_hosts(tx, row)
        chosen = await self._nova.conductor_bus.call(
            run.ctx, "scheduler", "select_destination", timeout_s=SCHEDULE_TIMEOUT_S, server_id=row.id,
            spec=encode_spec(spec_from_row(row)), destination=run.data.get("destination"),
            hints=hints, group=group, excluded=[])
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await change(tx, row, host=chosen["host"], node=chosen["node"])
            await begin_event(tx, run, EVENTS[run.kind], chosen["host"])

    async def _undo_schedule(self, run: Run) -> None:
        if run.data.get("on_shelf"):
            return
        await self._release(run)
        async with self._nova.db.write() as tx:
            await change(tx, await read_server(tx, run.resource_id), host=None, node=None)

    async def _bind(self, run: Run) -> None:
        if not run.data.get("on_shelf"):
            row = await load_server(self._nova, run.resource_id)
            vifs = await self._hosts.require(run, row, "bind_networks", spec=encode_spec(spec_from_row(row)))
            async with self._nova.db.write() as tx:
                await change(tx, await read_server(tx, run.resource_id), network_info=vifs)
            await flush()

    async def _unbind(self, run: Run) -> None:
        row = await load_server(self._nova, run.resource_id)
        if run.data.get("on_shelf") or row.host is None:
            return
        ports = [vif["id"] for vif in row.network_info]
        try:
            await self._hosts.ask(run, row.host, "unbind_networks", ports=ports)
        except HostGone:
            for port_id in ports:
                await self._networks.unbind(run.ctx, port_id)

    async def _disks(self, run: Run) -> None:
        if not run.data.get("on_shelf"):
            row = await load_server(self._nova, run.resource_id)
            await self._hosts.require(run, row, "prepare_disks", spec=encode_spec(_from_shelf(row)))

    async def _undo_disks(self, run: Run) -> None:
        row = await load_server(self._nova, run.resource_id)
        if row.host is None:
            return
        try:
            if run.data.get("on_shelf"):
                await self._hosts.ask(run, row.host, "power_off", soft_timeout_s=0)
            else:
                await self._hosts.ask(run, row.host, "remove_machine")
        except HostGone:
            pass  # when it is back, its reconciler finds that the server is elsewhere and removes the machine
        if not run.data.get("on_shelf") and row.task_state != TaskState.DELETING:
            await reserve_for_shelf(self._nova, run)

    async def _start(self, run: Run) -> None:
        row = await load_server(self._nova, run.resource_id)
        if run.data.get("on_shelf"):
            await self._hosts.require(run, row, "power_on", spec=encode_spec(await load_spec(self._nova, row.id)))
        else:
            spec = encode_spec(spec_from_row(row))
            run.data["vifs"] = await self._hosts.require(run, row, "start_unshelved", spec=spec)

    async def _delete_image(self, run: Run) -> None:
        await delete_shelved_image(self._nova, run, await load_server(self._nova, run.resource_id))

    async def _unshelved(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            kept = {name: value for name, value in row.system_metadata.items() if not name.startswith("shelved_")}
            if not run.data.get("on_shelf") and row.system_metadata.get(IMAGE):
                kept["disk_image_id"] = row.system_metadata[IMAGE]  # what its disk stands on now
            await change(tx, row, vm_state=VmState.ACTIVE.value, task_state=None, system_metadata=kept,
                         power_state=PowerState.RUNNING.value, launched_at=utcnow(),
                         network_info=run.data.get("vifs", row.network_info))
            await end_event(tx, run, EVENTS[run.kind])

    # ---- shared

    async def _begin(self, run: Run) -> Server:
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await begin_event(tx, run, EVENTS[run.kind], row.host)
        return row

    async def _failed(self, run: Run, error: CloudseedError) -> None:
        """The server is where it was before, and shows why."""
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await change(tx, row, task_state=None)
            if not isinstance(error, Cancelled):
                await add_fault(tx, row.id, error)
            await end_event(tx, run, EVENTS[run.kind], error)


async def delete_shelved_image(nova: Nova, run: Run, row: Server) -> None:
    """Delete the image that a shelved server was put away as; gone already is fine."""
    image_id = row.system_metadata.get(IMAGE)
    if image_id:
        try:
            await nova.conductor_session.request(run.ctx, "image", "DELETE", f"/v2/images/{image_id}")
        except NotFound:
            pass


def _from_shelf(row: Server) -> ServerSpec:
    """The server as it is made anew: from the image that it was put away as."""
    spec = spec_from_row(row)
    image_id = row.system_metadata.get(IMAGE)
    return msgspec.structs.replace(spec, image_id=image_id) if image_id else spec


def _with_image(action: Action) -> Action:
    """A step that a server without an image of its own, whose root disk is a volume, passes over."""
    async def act(run: Run) -> None:
        if run.data.get("image"):
            await action(run)

    return act
