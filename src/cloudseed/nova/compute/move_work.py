"""What hosts do for a server that moves: the one that it comes to, and the one that it leaves.

A cold move goes through a machine that is off, its ports and volumes change hosts meanwhile.  In a live migration
the destination's ports and volumes wait beside the source's; the guest stands still on both sides for a moment, and
goes on where the conductor says: here only `run_here` and `take_back` let it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError
from cloudseed.nova.compute.admission import Kind
from cloudseed.nova.compute.boot_work import BootWork, guest_drive
from cloudseed.nova.compute.drivers.base import CachedImage, Door, Driver
from cloudseed.nova.compute.errors import HostFailed
from cloudseed.nova.compute.network_info import Vif
from cloudseed.nova.compute.parts import HostParts, Verb
from cloudseed.nova.compute.plugging import PLUG_DEADLINE_S
from cloudseed.nova.compute.spec import ServerSpec, decode_spec, encode_spec
from cloudseed.nova.compute.volume_work import VolumeWork, connector, with_connections
from cloudseed.nova.compute.worker import Work


class MoveWork:
    """The verbs of cold moves and live migrations."""

    def __init__(self, parts: HostParts) -> None:
        self._parts = parts
        self._boot = BootWork(parts).verbs
        connect = VolumeWork(parts).verbs[Kind.CONNECT_VOLUMES]
        self.verbs: dict[Kind, Verb] = {
            Kind.ARRIVE_PORTS: self._bind, Kind.RETURN_PORTS: self._bind, Kind.ARRIVE_VOLUMES: connect,
            Kind.RETURN_VOLUMES: connect, Kind.RECEIVE_DISKS: self._receive_disks,
            Kind.SETTLE_DISKS: self._settle_disks, Kind.START_ARRIVED: self._start, Kind.START_RETURNED: self._start,
            Kind.SEND_DISKS: self._send_disks, Kind.STOP_SENDING: self._stop_sending,
            Kind.JOIN_NETWORKS: self._join_networks, Kind.LEAVE_NETWORKS: self._leave_networks,
            Kind.JOIN_VOLUMES: self._join_volumes, Kind.RECEIVE_LIVE: self._receive_live,
            Kind.SEND_LIVE: self._send_live, Kind.TAKE_BACK: self._take_back, Kind.RUN_HERE: self._run_here}

    # ---- cold

    async def _bind(self, work: Work) -> list[Vif]:
        """The server's ports, bound here; returns the picture."""
        spec = decode_spec(work.arguments["spec"])
        if work.arguments["start"]:
            self._parts.plugs.expect(spec.id)
        for vif in spec.network_info:
            await self._parts.networks.bind(work.ctx, spec, vif["id"], self._parts.network_host)
        return await self._parts.networks.picture(work.ctx, spec)

    async def _receive_disks(self, work: Work) -> dict[str, Any]:
        spec = decode_spec(work.arguments["spec"])
        image = await self._image(work, spec)
        return _wire(await self._parts.driver.receive_disks(spec, image, guest_drive(self._parts, work, spec)))

    async def _image(self, work: Work, spec: ServerSpec) -> CachedImage | None:
        """What the disk that comes stands on."""
        if not spec.image_id or spec.volume_backed or self._parts.images is None or not self._parts.driver.needs_image:
            return None
        found = await work.wait(self._parts.images.of_disk(work.ctx, spec.image_id))
        work.check()
        return found

    async def _send_disks(self, work: Work) -> None:
        spec, door = decode_spec(work.arguments["spec"]), msgspec.convert(work.arguments["door"], Door)
        await work.wait(self._parts.driver.send_disks(spec, door))

    async def _stop_sending(self, work: Work) -> None:
        """That it was asked for has stopped it."""

    async def _settle_disks(self, work: Work) -> None:
        await self._parts.driver.settle_disks(decode_spec(work.arguments["spec"]))

    async def _start(self, work: Work) -> list[Vif]:
        spec = await with_connections(self._parts, work.ctx, decode_spec(work.arguments["spec"]))
        work.arguments["spec"] = encode_spec(spec)
        vifs: list[Vif] = await self._boot[Kind.START_NEW](work)
        return vifs

    # ---- live

    async def _join_networks(self, work: Work) -> None:
        for port_id in work.arguments["ports"]:
            await self._parts.networks.join(work.ctx, port_id, self._parts.network_host)

    async def _leave_networks(self, work: Work) -> None:
        for port_id in work.arguments["ports"]:
            await self._parts.networks.leave(work.ctx, port_id, self._parts.network_host)

    async def _join_volumes(self, work: Work) -> list[Any]:
        """Every volume of the server connected for this host too; the devices as they will be here."""
        spec = decode_spec(work.arguments["spec"])
        joined = [await self._parts.volumes.second(work.ctx, spec.id, device, connector(self._parts))
                  for device in spec.connected_volumes]
        found: list[Any] = msgspec.to_builtins(joined)
        return found

    async def _receive_live(self, work: Work) -> dict[str, Any]:
        """The machine waits; its ports are wired first, which takes a moment."""
        spec = decode_spec(work.arguments["spec"])
        image = await self._image(work, spec)
        drive = guest_drive(self._parts, work, spec)
        door = await work.wait(self._patiently(spec.id, lambda: self._parts.driver.receive_live(
            spec, spec.network_info, image, drive)))
        return _wire(door)

    async def _patiently(self, server_id: str, act: Any) -> Door:
        """Nobody tells when a port that waits is wired: a machine whose taps are missing is tried again."""
        until, pause = asyncio.get_running_loop().time() + PLUG_DEADLINE_S / 5, 0.1
        while True:
            try:
                door: Door = await act()
                return door
            except CloudseedError as exc:
                if not exc.retry:
                    raise
                if asyncio.get_running_loop().time() > until:
                    raise HostFailed(host=self._parts.host, doing=f"make room for server {server_id}",
                                     reason=exc.message) from exc
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 2.0)

    async def _send_live(self, work: Work) -> None:
        spec, door = decode_spec(work.arguments["spec"]), msgspec.convert(work.arguments["door"], Door)
        await work.wait(self._parts.driver.send_live(spec, door))

    async def _take_back(self, work: Work) -> None:
        await self._parts.driver.take_back(work.server_id, paused=work.arguments["paused"])

    async def _run_here(self, work: Work) -> list[Vif]:
        """The guest goes on here, and the network knows it here; returns the picture."""
        spec, given = decode_spec(work.arguments["spec"]), work.arguments
        await self._parts.driver.run_here(spec, paused=given["paused"])
        await asyncio.gather(*(self._parts.networks.activate(work.ctx, vif["id"], self._parts.network_host)
                               for vif in spec.network_info))
        return spec.network_info


class LiveRequests:
    """What is asked of a live migration while it runs, past the server's task, which waits for its end."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def handlers(self) -> dict[str, Any]:
        return {"live_progress": self._progress, "hurry_live": self._hurry}

    async def _progress(self, ctx: Context, server_id: str) -> dict[str, Any] | None:
        found = await self._driver.progress(server_id)
        return msgspec.to_builtins(found) if found is not None else None

    async def _hurry(self, ctx: Context, server_id: str) -> None:
        await self._driver.hurry(server_id)


def _wire(door: Door) -> dict[str, Any]:
    wire: dict[str, Any] = msgspec.to_builtins(door)
    return wire
