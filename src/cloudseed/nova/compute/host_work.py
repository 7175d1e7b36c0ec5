"""What a host does to one server for each kind of request; called by the server's one task, one at a time."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, assert_never

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Unavailable
from cloudseed.kernel.http.client import ServiceSession
from cloudseed.nova.compute.admission import Kind
from cloudseed.nova.compute.drivers.base import Driver
from cloudseed.nova.compute.errors import HostFailed, NotHere
from cloudseed.nova.compute.guest_metadata import config_drive
from cloudseed.nova.compute.images import ImageCache
from cloudseed.nova.compute.network import Networks
from cloudseed.nova.compute.network_info import Vif
from cloudseed.nova.compute.plugging import PLUG_DEADLINE_S, Plugs
from cloudseed.nova.compute.publishing import Publisher
from cloudseed.nova.compute.resources import MICROVERSION
from cloudseed.nova.compute.spec import ServerSpec, decode_spec
from cloudseed.nova.compute.worker import Work

PROBLEMS_AFTER_S = 5.0  # a port is wired in much less: then the host is asked whether it can at all


class HostWork:
    """The verbs.  `network_host` is the name under which neutron's agent of this machine is known."""

    def __init__(self, host: str, network_host: str, node_id: str, driver: Driver, session: ServiceSession,
                 images: ImageCache | None, plugs: Plugs, publisher: Publisher) -> None:
        self._host = host
        self._network_host = network_host
        self._node_id = node_id
        self._driver = driver
        self._session = session
        self._images = images
        self._plugs = plugs
        self._publisher = publisher
        self._networks = Networks(session)

    async def perform(self, work: Work) -> Any:
        """Do what `work` asks; its arguments are those of the methods below."""
        given = work.arguments
        match work.ask.kind:
            case Kind.ALLOCATE_NETWORKS:
                return await self._allocate_networks(work, decode_spec(given["spec"]), given["again"])
            case Kind.RELEASE_NETWORKS:
                return await self._release_networks(work.ctx, work.server_id, given["given_ports"])
            case Kind.PREPARE_DISKS:
                return await self._prepare_disks(work, decode_spec(given["spec"]))
            case Kind.START_NEW:
                return await self._start_new(work, decode_spec(given["spec"]))
            case Kind.POWER_ON:
                spec = decode_spec(given["spec"])
                return await self._driver.start(spec, spec.network_info)
            case Kind.POWER_OFF:
                return await self._power_off(work, given["soft_timeout_s"])
            case Kind.REBOOT:
                return await self._reboot(work, decode_spec(given["spec"]), given["hard"], given["ordered_at"],
                                          given["soft_timeout_s"])
            case Kind.REMOVE_MACHINE:
                return await self._driver.remove(work.server_id)
            case Kind.DESTROY:
                await self._driver.remove(work.server_id)
                return await self._release_networks(work.ctx, work.server_id, given["given_ports"])
            case Kind.SYNC_NETWORK:
                return await self._publisher.network_info(work.ctx, work.server_id, self._networks)
            case Kind.SYNC_POWER:
                return await self._sync_power(work)
        assert_never(work.ask.kind)

    # ---- a boot

    async def _allocate_networks(self, work: Work, spec: ServerSpec, again: bool) -> list[Vif]:
        """Ports made and bound here; returns the picture.  Refuses a server that this node has not been claimed for."""
        answer = await self._session.get_json(work.ctx, "placement", f"/allocations/{spec.id}",
                                              microversion=MICROVERSION)
        if self._node_id not in answer["allocations"]:
            raise NotHere(f"Server {spec.id} has no claim on host {self._host}.")
        self._plugs.expect(spec.id)
        return await self._networks.allocate(work.ctx, spec, self._network_host, again=again)

    async def _prepare_disks(self, work: Work, spec: ServerSpec) -> None:
        image = None
        if spec.image_id and self._images is not None and self._driver.needs_image:
            image = await work.wait(self._images.ensure(work.ctx, spec.image_id))
        work.check()
        # the guest's drive is made for drivers whose guests read it
        files = config_drive(spec, spec.network_info, os.urandom(512)) if self._driver.needs_image else {}
        await self._driver.prepare(spec, image, files)

    async def _start_new(self, work: Work, spec: ServerSpec) -> list[Vif]:
        vifs = spec.network_info
        if self._driver.waits_for_plug:
            async def active() -> set[str]:
                ports = await self._networks.ports_of(work.ctx, spec.id)
                return {port["id"] for port in ports if port.get("status") == "ACTIVE"}

            ports = [vif["id"] for vif in vifs]
            late = await work.wait(self._plugs.wait(spec.id, ports, active, PROBLEMS_AFTER_S))
            if late:
                problems = (await self._driver.facts()).problems
                if problems:  # no use in waiting on: what wires ports here cannot
                    raise HostFailed(host=self._host, doing=f"wire ports {', '.join(late)}",
                                     reason="; ".join(problems))
                late = await work.wait(self._plugs.wait(spec.id, late, active))
            if late:
                raise HostFailed(host=self._host, doing=f"start server {spec.id}",
                                 reason=f"ports {', '.join(late)} were not wired within {PLUG_DEADLINE_S:.0f} s")
        work.check()
        await self._driver.start(spec, vifs)
        self._plugs.forget(spec.id)
        return [{**vif, "active": True} for vif in vifs]

    async def _release_networks(self, ctx: Context, server_id: str, given_ports: list[str]) -> None:
        self._plugs.forget(server_id)
        await self._networks.release(ctx, server_id, given_ports)

    # ---- power

    async def _power_off(self, work: Work, soft_timeout_s: float) -> None:
        """The power button first; the plug when the guest has not gone within `soft_timeout_s`."""
        if soft_timeout_s > 0 and await self._runs(work.server_id):
            try:
                await self._driver.stop(work.server_id, hard=False)
                if await work.wait(self._off(work.server_id, soft_timeout_s)):
                    return
            except Unavailable:
                pass  # a machine whose monitor is lost can still be ended
        await self._driver.stop(work.server_id, hard=True)

    async def _reboot(self, work: Work, spec: ServerSpec, hard: bool, ordered_at: float,
                      soft_timeout_s: float) -> None:
        machine = await self._driver.machine(spec.id)
        if machine is not None and machine.started_at is not None and machine.started_at > ordered_at:
            return  # restarted since it was ordered: we were asked before
        await self._power_off(work, 0 if hard else soft_timeout_s)
        await self._driver.start(spec, spec.network_info)

    async def _runs(self, server_id: str) -> bool:
        machine = await self._driver.machine(server_id)
        return machine is not None and machine.running

    async def _off(self, server_id: str, timeout_s: float) -> bool:
        """Whether the machine is off before the time is up."""
        until, pause = time.monotonic() + timeout_s, 0.02
        while await self._runs(server_id):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        return True

    async def _sync_power(self, work: Work) -> None:
        """Tell the conductor of a machine that is off; it knows whether that was wanted."""
        if not await self._runs(work.server_id):
            await self._publisher.machine_off(work.ctx, work.server_id, work.arguments["reason"])
