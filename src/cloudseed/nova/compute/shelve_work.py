"""What a host does for a server that is shelved: lets it go, ports unbound; and takes one that comes off the shelf."""

from __future__ import annotations

from cloudseed.nova.compute.admission import Kind
from cloudseed.nova.compute.boot_work import BootWork
from cloudseed.nova.compute.network_info import Vif
from cloudseed.nova.compute.parts import HostParts, Verb
from cloudseed.nova.compute.spec import decode_spec, encode_spec
from cloudseed.nova.compute.volume_work import with_connections
from cloudseed.nova.compute.worker import Work


class ShelveWork:
    """The verbs of shelve and unshelve.  The server keeps its ports and its volumes' attachments throughout."""

    def __init__(self, parts: HostParts) -> None:
        self._parts = parts
        self._boot = BootWork(parts).verbs
        self.verbs: dict[Kind, Verb] = {
            Kind.OFFLOAD: self._offload, Kind.BIND_NETWORKS: self._bind, Kind.UNBIND_NETWORKS: self._unbind,
            Kind.START_UNSHELVED: self._start}

    async def _offload(self, work: Work) -> None:
        await self._parts.driver.remove(work.server_id)
        await self._unbind(work)

    async def _bind(self, work: Work) -> list[Vif]:
        """The server's ports, bound here; returns the picture."""
        spec = decode_spec(work.arguments["spec"])
        self._parts.plugs.expect(spec.id)
        for vif in spec.network_info:
            await self._parts.networks.bind(work.ctx, spec, vif["id"], self._parts.network_host)
        return await self._parts.networks.picture(work.ctx, spec)

    async def _unbind(self, work: Work) -> None:
        self._parts.plugs.forget(work.server_id)
        for port_id in work.arguments["ports"]:
            await self._parts.networks.unbind(work.ctx, port_id)

    async def _start(self, work: Work) -> list[Vif]:
        spec = await with_connections(self._parts, work.ctx, decode_spec(work.arguments["spec"]))
        work.arguments["spec"] = encode_spec(spec)
        vifs: list[Vif] = await self._boot[Kind.START_NEW](work)
        return vifs
