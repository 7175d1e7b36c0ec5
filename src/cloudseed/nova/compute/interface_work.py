"""What a host does to the interfaces of a server that stands: a port found or made, bound and plugged, and the way
back.

A port that is made for an attachment carries the operation's id as its `device_id` until it is bound: a second
try finds it by that, and it never looks like a port that the server has.
"""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError, Conflict, Forbidden, Invalid, OverQuota
from cloudseed.nova.compute.admission import Kind
from cloudseed.nova.compute.errors import BuildAborted, HostFailed
from cloudseed.nova.compute.network_info import Vif
from cloudseed.nova.compute.parts import HostParts, Verb
from cloudseed.nova.compute.spec import ServerSpec, decode_spec
from cloudseed.nova.compute.worker import Work

WIRE_DEADLINE_S = 60.0


class InterfaceWork:
    """The verbs of attaching and detaching interfaces."""

    def __init__(self, parts: HostParts) -> None:
        self._parts = parts
        self.verbs: dict[Kind, Verb] = {
            Kind.OBTAIN_PORT: self._obtain, Kind.PLUG_PORT: self._plug, Kind.DROP_PORT: self._drop,
            Kind.UNPLUG_PORT: self._unplug, Kind.RELEASE_PORT: self._release, Kind.FORGET_PORT: self._forget}

    async def _obtain(self, work: Work) -> str:
        """The id of the port that was asked for (`order`: {port} or {uuid, fixed_ip?}), made if need be."""
        spec, order = decode_spec(work.arguments["spec"]), work.arguments["order"]
        if order.get("port"):
            port = await self._parts.networks.port(work.ctx, order["port"])
            if port.get("device_id") not in (None, "", spec.id):
                raise Conflict(f"Port {port['id']} is still in use.")
            return str(port["id"])
        made = await self._parts.networks.ports_of(work.ctx, work.ask.operation_id)
        if made:
            return str(made[0]["id"])
        try:
            return await self._parts.networks.make(work.ctx, spec, order, work.ask.operation_id)
        except Conflict as exc:
            raise _why_not(exc, order) from exc
        except Forbidden as exc:
            if "uota" in exc.message:
                raise OverQuota("Maximum number of ports exceeded") from exc
            raise

    async def _plug(self, work: Work) -> list[Vif]:
        """The port bound, wired, and its card in the running machine; returns the server's interfaces."""
        spec, port_id, tag = decode_spec(work.arguments["spec"]), work.arguments["port_id"], work.arguments["tag"]
        parts = self._parts
        runs = await self._runs(spec.id)
        if runs:
            parts.plugs.expect(spec.id)
        try:
            await parts.networks.bind(work.ctx, spec, port_id, parts.network_host)
            order = [*(vif["id"] for vif in spec.network_info if vif["id"] != port_id), port_id]
            vifs = await parts.networks.picture(work.ctx, spec, order, {port_id: tag} if tag else None)
            mine = next((vif for vif in vifs if vif["id"] == port_id), None)
            if mine is None:
                raise Conflict(f"Port {port_id} belongs to another project than server {spec.id}.")
            if runs:
                if parts.driver.waits_for_plug:
                    await self._wired(work, spec, port_id)
                work.check()
                await parts.driver.attach_interface(spec, mine)
                vifs = [{**vif, "active": True} if vif is mine else vif for vif in vifs]
        finally:
            if runs:
                parts.plugs.forget(spec.id)
        return vifs

    async def _wired(self, work: Work, spec: ServerSpec, port_id: str) -> None:
        async def active() -> set[str]:
            ports = await self._parts.networks.ports_of(work.ctx, spec.id)
            return {port["id"] for port in ports if port.get("status") == "ACTIVE"}

        if await work.wait(self._parts.plugs.wait(spec.id, [port_id], active, WIRE_DEADLINE_S)):
            problems = (await self._parts.driver.facts()).problems
            raise HostFailed(host=self._parts.host, doing=f"wire port {port_id}", reason="; ".join(problems) or (
                f"it did not become active within {WIRE_DEADLINE_S:.0f} s"))

    async def _drop(self, work: Work) -> None:
        """Whatever an attachment that failed has left.  A guest that does not let go keeps a card without a cable."""
        port_id, given = work.arguments["port_id"], work.arguments["given"]
        if port_id is not None:
            if await self._runs(work.server_id):
                try:
                    await self._parts.driver.detach_interface(work.server_id, port_id)
                except CloudseedError as exc:
                    if not exc.retry and not isinstance(exc, HostFailed | Conflict):
                        raise
            if not given or await self._is_ours(work.ctx, port_id, work.server_id):
                await self._parts.networks.release_port(work.ctx, port_id, given=given)
        for port in await self._parts.networks.ports_of(work.ctx, work.ask.operation_id):
            await self._parts.networks.release_port(work.ctx, port["id"], given=False)

    async def _is_ours(self, ctx: Context, port_id: str, server_id: str) -> bool:
        """Whether a given port had become the server's: another server may have taken it meanwhile."""
        return any(port["id"] == port_id for port in await self._parts.networks.ports_of(ctx, server_id))

    async def _unplug(self, work: Work) -> None:
        if await self._runs(work.server_id):
            await self._parts.driver.detach_interface(work.server_id, work.arguments["port_id"])

    async def _release(self, work: Work) -> None:
        port_id: str = work.arguments["port_id"]
        if await self._is_ours(work.ctx, port_id, work.server_id):
            await self._parts.networks.release_port(work.ctx, port_id, given=work.arguments["given"])

    async def _forget(self, work: Work) -> None:
        """A port of the server was deleted, or taken from it, in neutron: its card goes, and the server no longer shows
        it.  What neutron has counts, not who says so."""
        port_id = work.arguments["port_id"]
        if await self._is_ours(work.ctx, port_id, work.server_id):
            return
        await self._parts.publisher.network_info(work.ctx, work.server_id, self._parts.networks)
        await self._unplug(work)

    async def _runs(self, server_id: str) -> bool:
        machine = await self._parts.driver.machine(server_id)
        return machine is not None and machine.running


def _why_not(error: Conflict, order: dict[str, Any]) -> CloudseedError:
    """Neutron's 409 to a new port, as nova's users know it."""
    if isinstance(error, BuildAborted):
        return error
    if order.get("fixed_ip"):
        return Conflict(f"Fixed IP address {order['fixed_ip']} is already in use or not of the network: "
                        f"{error.message}")
    if "uota" in error.message:
        return OverQuota("Maximum number of ports exceeded")
    return Invalid(f"No fixed IP addresses available for network: {order['uuid']}")
