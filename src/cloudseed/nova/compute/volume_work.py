"""What a host does with a server's volumes: makes and connects them for a boot, plugs and unplugs them later.

The order is always: cinder exports the volume for this host, the machine gets it (at once if it runs, else when it
starts), cinder is told that it is in use; and back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import NotFound
from cloudseed.nova.compute.admission import Kind
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.errors import HostFailed, NotHere
from cloudseed.nova.compute.parts import HostParts, Verb
from cloudseed.nova.compute.spec import ServerSpec, decode_spec
from cloudseed.nova.compute.worker import Work

GIB = 1024**3


class VolumeWork:
    """The verbs of volumes.  Those of a boot return the devices as they are now, as JSON."""

    def __init__(self, parts: HostParts) -> None:
        self._parts = parts
        self._volumes = parts.volumes
        self.verbs: dict[Kind, Verb] = {
            Kind.MAKE_VOLUMES: self._make, Kind.CONNECT_VOLUMES: self._connect,
            Kind.DISCONNECT_VOLUMES: self._disconnect, Kind.ATTACH_VOLUME: self._attach, Kind.DROP_VOLUME: self._drop,
            Kind.DETACH_VOLUME: self._detach, Kind.EXTEND_VOLUME: self._extend}

    # ---- a boot

    async def _make(self, work: Work) -> list[Any]:
        """Volumes for the devices that have none.  They are found by their names until the conductor knows them."""
        spec, made = decode_spec(work.arguments["spec"]), []
        for device in spec.volumes:
            if device.volume_id is None:
                work.check()
                made.append(await self._volumes.make(work.ctx, device, again=work.arguments["again"]))
        return _wire(made)

    async def _connect(self, work: Work) -> list[Any]:
        """Every volume of the server: waited for, connected, in use."""
        spec, connected = decode_spec(work.arguments["spec"]), []
        for device in spec.volumes:
            assert device.volume_id is not None
            if device.made:
                volume = await work.wait(self._volumes.available(work.ctx, device.volume_id))
                if volume["name"] == device.id:
                    name = f"{spec.id}-blank-vol" if device.source_type == "blank" else ""
                    await self._volumes.call_it(work.ctx, device, name)
            work.check()
            device = await self._volumes.connect(work.ctx, spec.id, device, connector(self._parts),
                                                 again=work.arguments["again"])
            assert device.attachment_id is not None
            await self._volumes.complete(work.ctx, device.attachment_id)
            connected.append(msgspec.structs.replace(device, state="attached"))
        return _wire(connected)

    async def _disconnect(self, work: Work) -> None:
        spec = decode_spec(work.arguments["spec"])
        await self._volumes.give_back(work.ctx, spec.id, spec.volumes)

    # ---- one volume of a server that is there

    async def _attach(self, work: Work) -> list[Any]:
        spec, device = _chosen(work)
        if await self._parts.driver.machine(spec.id) is None:
            raise NotHere(f"Server {spec.id} has no machine on host {self._parts.host}.")
        device = await self._volumes.connect(work.ctx, spec.id, device, connector(self._parts), again=True)
        assert device.attachment_id is not None
        await self._parts.driver.attach_volume(spec, device)
        await self._volumes.complete(work.ctx, device.attachment_id)
        return _wire([msgspec.structs.replace(device, state="attached")])

    async def _drop(self, work: Work) -> None:
        spec, device = _chosen(work)
        await self._parts.driver.detach_volume(spec, device)
        assert device.volume_id is not None
        await self._volumes.disconnect_all(work.ctx, spec.id, device.volume_id)

    async def _detach(self, work: Work) -> None:
        """The guest lets go; its attachment ends later: who takes the volume away under it takes its last writes."""
        spec, device = _chosen(work)
        await self._parts.driver.detach_volume(spec, device)

    async def _extend(self, work: Work) -> None:
        """Cinder has made a volume larger: the guest is told.  Of a machine that is off it sees it when it starts."""
        spec = await self._parts.publisher.spec(work.ctx, work.server_id)
        device = next((d for d in spec.volumes if d.volume_id == work.arguments["volume_id"]), None) if spec else None
        if spec is None or device is None or device.volume_id is None:
            return
        size = int((await self._volumes.get_volume(work.ctx, device.volume_id))["size"])
        await self._parts.driver.extend_volume(spec, device, size * GIB)
        await self._parts.publisher.volume_extended(work.ctx, spec.id, device.id, size)


async def with_connections(parts: HostParts, ctx: Context, spec: ServerSpec, *, fresh: bool = False) -> ServerSpec:
    """The spec with its volumes as cinder exports them now: after a reboot of the host that may be elsewhere.

    A volume that was attached while the server was on no host is connected here.  `fresh`: the others have just been.
    """
    if not spec.volumes:
        return spec
    try:
        devices = [await _connected(parts, ctx, spec.id, device, fresh) for device in spec.block_devices]
    except NotFound as exc:
        raise HostFailed(host=parts.host, doing=f"start server {spec.id} with its volumes",
                         reason=exc.message) from exc
    return msgspec.structs.replace(spec, block_devices=devices)


async def _connected(parts: HostParts, ctx: Context, server_id: str, device: BlockDevice, fresh: bool) -> BlockDevice:
    if not device.is_volume or device.state == "new" or (fresh and device.connection_info):
        return device
    found = await parts.volumes.refreshed(ctx, device)
    if found.connection_info is None:
        found = await parts.volumes.connect(ctx, server_id, device, connector(parts), again=True)
        await parts.volumes.complete(ctx, str(found.attachment_id))
    return found


def connector(parts: HostParts) -> dict[str, Any]:
    """Who we are for cinder."""
    return {"host": parts.network_host, "ip": parts.address, "platform": "x86_64", "os_type": "linux",
            "multipath": False}


def _chosen(work: Work) -> tuple[ServerSpec, BlockDevice]:
    """The server and the device that `work` is about."""
    spec = decode_spec(work.arguments["spec"])
    return spec, next(device for device in spec.block_devices if device.id == work.arguments["device_id"])


def _wire(devices: list[BlockDevice]) -> list[Any]:
    wire: list[Any] = msgspec.to_builtins(devices)
    return wire
