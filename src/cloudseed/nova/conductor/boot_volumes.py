"""The volumes of a server that is being built: a step of its boot, and what a delete does about them.

The volumes that a user named were reserved before the server was written (server_volumes.py).  Here the others are
made, and all are connected to the host.  What cinder has is noted after each half, so that a host that is asked
again finds its own work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.db import flush
from cloudseed.kernel.operations import Run
from cloudseed.nova import block_devices
from cloudseed.nova.compute.devices import decode_devices
from cloudseed.nova.compute.spec import ServerSpec, encode_spec
from cloudseed.nova.compute.volumes import Volumes
from cloudseed.nova.conductor.on_host import HostGone, Hosts
from cloudseed.nova.conductor.records import change, load_spec, read_server
from cloudseed.nova.server_states import TaskState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

Ask = Callable[..., Awaitable[Any]]


class BootVolumes:
    """What `Boot` does about volumes; `ask(run, method, **arguments)` asks the chosen host."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self._volumes = Volumes(nova.conductor_session)

    async def connect(self, run: Run, ask: Ask) -> None:
        """Make and connect.  That cinder may have been asked is noted durably before it is."""
        if not (await load_spec(self._nova, run.resource_id)).volumes:
            return
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            again = row.task_state == TaskState.BLOCK_DEVICE_MAPPING
            if not again:
                await change(tx, row, task_state=TaskState.BLOCK_DEVICE_MAPPING.value)
        await flush()
        for method in ("make_volumes", "connect_volumes"):
            spec = await load_spec(self._nova, run.resource_id)
            if method == "make_volumes" and all(device.volume_id for device in spec.volumes):
                continue
            done = decode_devices(await ask(run, method, spec=encode_spec(spec), again=again))
            async with self._nova.db.write() as tx:
                await block_devices.change_devices(tx, run.resource_id, done)
        async with self._nova.db.write() as tx:
            await change(tx, await read_server(tx, run.resource_id), task_state=TaskState.SPAWNING.value)

    async def undo(self, run: Run, host: str | None) -> None:
        """Give back: attachments end, volumes that were made for this server are deleted."""
        spec = await load_spec(self._nova, run.resource_id)
        if not spec.volumes:
            return
        if not await self._host_gives_back(run, host, spec):
            await self._volumes.give_back(run.ctx, run.resource_id, spec.volumes)
        back = [msgspec.structs.replace(
            device, volume_id=device.volume_id if not device.made else None, attachment_id=None, connection_info=None,
            made=False, state="new") for device in spec.volumes]
        async with self._nova.db.write() as tx:
            await block_devices.change_devices(tx, run.resource_id, back)

    async def _host_gives_back(self, run: Run, host: str | None, spec: ServerSpec) -> bool:
        if host is None:
            return False
        try:
            await self._hosts.ask(run, host, "disconnect_volumes", spec=encode_spec(spec))
        except HostGone:
            return False
        return True

    async def release(self, run: Run) -> None:
        """The server ends, its machine is gone (or its host is): nothing of it stays in cinder."""
        spec = await load_spec(self._nova, run.resource_id)
        if spec.volumes:
            await self._volumes.release(run.ctx, run.resource_id, spec.volumes, spec.project_id)
        if spec.block_devices:
            async with self._nova.db.write() as tx:
                await block_devices.remove_devices(tx, run.resource_id)
