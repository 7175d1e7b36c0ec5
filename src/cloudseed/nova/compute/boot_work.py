"""What a host does for a boot: ports, disks, the first start; and what undoes it."""

from __future__ import annotations

import os

from cloudseed.nova.compute.admission import Kind
from cloudseed.nova.compute.drivers.base import CachedImage
from cloudseed.nova.compute.errors import HostFailed, NotHere
from cloudseed.nova.compute.network_info import Vif
from cloudseed.nova.compute.parts import HostParts, Verb
from cloudseed.nova.compute.plugging import PLUG_DEADLINE_S
from cloudseed.nova.compute.resources import MICROVERSION
from cloudseed.nova.compute.spec import ServerSpec, decode_spec
from cloudseed.nova.compute.volume_work import with_connections
from cloudseed.nova.compute.worker import Work
from cloudseed.nova.metadata.documents import Guest
from cloudseed.nova.metadata.tree import config_drive

PROBLEMS_AFTER_S = 5.0  # a port is wired in much less: then the host is asked whether it can at all


class BootWork:
    """The verbs of boot and delete."""

    def __init__(self, parts: HostParts) -> None:
        self._parts = parts
        self.verbs: dict[Kind, Verb] = {
            Kind.ALLOCATE_NETWORKS: self._allocate_networks, Kind.RELEASE_NETWORKS: self._release_networks,
            Kind.PREPARE_DISKS: self._prepare_disks, Kind.START_NEW: self._start_new,
            Kind.REMOVE_MACHINE: self._remove_machine, Kind.DESTROY: self._destroy}

    async def _allocate_networks(self, work: Work) -> list[Vif]:
        """Ports made and bound here; returns the picture.  Refuses a server that this node has not been claimed for."""
        spec = decode_spec(work.arguments["spec"])
        answer = await self._parts.session.get_json(work.ctx, "placement", f"/allocations/{spec.id}",
                                              microversion=MICROVERSION)
        if self._parts.node_id not in answer["allocations"]:
            raise NotHere(f"Server {spec.id} has no claim on host {self._parts.host}.")
        self._parts.plugs.expect(spec.id)
        return await self._parts.networks.allocate(work.ctx, spec, self._parts.network_host,
                                                   again=work.arguments["again"])

    async def _prepare_disks(self, work: Work) -> None:
        spec = await with_connections(self._parts, work.ctx, decode_spec(work.arguments["spec"]), fresh=True)
        image = await base_image(self._parts, work, spec.image_id)
        await self._parts.driver.prepare(spec, image, guest_drive(self._parts, work, spec))

    async def _start_new(self, work: Work) -> list[Vif]:
        spec = decode_spec(work.arguments["spec"])
        vifs = spec.network_info
        if self._parts.driver.waits_for_plug:
            async def active() -> set[str]:
                ports = await self._parts.networks.ports_of(work.ctx, spec.id)
                return {port["id"] for port in ports if port.get("status") == "ACTIVE"}

            ports = [vif["id"] for vif in vifs]
            late = await work.wait(self._parts.plugs.wait(spec.id, ports, active, PROBLEMS_AFTER_S))
            if late:
                if reason := await self._why_unwired(vifs, late):  # no use in waiting on
                    raise HostFailed(host=self._parts.host, doing=f"wire ports {', '.join(late)}", reason=reason)
                late = await work.wait(self._parts.plugs.wait(spec.id, late, active))
            if late and self._parts.plugs.has_failed(spec.id, late):
                raise HostFailed(host=self._parts.host, doing=f"wire ports {', '.join(late)}",
                                 reason=await self._why_unwired(vifs, late) or "neutron says that it cannot")
            if late:
                raise HostFailed(host=self._parts.host, doing=f"start server {spec.id}",
                                 reason=f"ports {', '.join(late)} were not wired within {PLUG_DEADLINE_S:.0f} s")
        work.check()
        await self._parts.driver.start(await with_connections(self._parts, work.ctx, spec, fresh=True), vifs)
        self._parts.plugs.forget(spec.id)
        return [{**vif, "active": True} for vif in vifs]

    async def _why_unwired(self, vifs: list[Vif], late: list[str]) -> str:
        """What the host itself says keeps these ports from being wired; nothing when it knows of nothing."""
        facts = await self._parts.driver.facts()
        networks = {vif["network"]["id"] for vif in vifs if vif["id"] in late}
        errors = [error for network_id, error in facts.network_errors.items() if network_id in networks]
        return "; ".join(errors or facts.problems)

    async def _remove_machine(self, work: Work) -> None:
        await self._parts.driver.remove(work.server_id)

    async def _destroy(self, work: Work) -> None:
        await self._parts.driver.remove(work.server_id)
        await self._release_networks(work)

    async def _release_networks(self, work: Work) -> None:
        self._parts.plugs.forget(work.server_id)
        await self._parts.networks.release(work.ctx, work.server_id, work.arguments["given_ports"])


async def base_image(parts: HostParts, work: Work, image_id: str | None) -> CachedImage | None:
    """The image in the host's cache; None without one, or for a driver that needs none."""
    image = None
    if image_id and parts.images is not None and parts.driver.needs_image:
        image = await work.wait(parts.images.ensure(work.ctx, image_id))
    work.check()
    return image


def guest_drive(parts: HostParts, work: Work, spec: ServerSpec) -> dict[str, bytes]:
    """The files of the server's config drive, if it has one."""
    if not spec.config_drive:
        return {}
    guest = Guest(spec=spec, vifs=spec.network_info, vendor=parts.vendor_data,
                  admin_password=work.arguments.get("admin_password"))
    return config_drive(guest, os.urandom(512))
