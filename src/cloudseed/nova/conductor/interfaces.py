"""Interfaces and addresses of a server that stands.

attach       port      the port found or made at the server's host      undo: given back, its card out of the machine
             plug      bound to the host, wired, its card in
             finish    the server shows it
detach       unplug    the guest lets go of the card (asked again until it does)
             release   the port unbound, or deleted when nova made it
             finish    the server no longer shows it
add or       look      the port, and the addresses that it had
remove an    change    it has one more, or one less                     undo: what it had
address      finish    the server shows it

A server's operations come one after another, so what a later step finds is what an earlier one left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import CloudseedError, Conflict, Invalid, NotFound
from cloudseed.kernel.operations import OperationType, Run, Step
from cloudseed.nova.compute.network import Networks
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.on_host import HostGone, Hosts
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

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

UNPLUG_PATIENCE_S = 160.0
EVENTS = {"nova.attach_interface": "compute_attach_interface", "nova.detach_interface": "compute_detach_interface",
          "nova.add_fixed_ip": "compute_add_fixed_ip_to_instance",
          "nova.remove_fixed_ip": "compute_remove_fixed_ip_from_instance"}


class Interfaces:
    """The operations on interfaces."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self._networks = Networks(nova.conductor_session)
        self.types = [
            OperationType("nova.attach_interface", (
                Step("port", self._obtain, self._undo_obtain, patience_s=120),
                Step("plug", self._plug, patience_s=120), Step("finish", self._show)), failed=self._failed),
            OperationType("nova.detach_interface", (
                Step("unplug", self._unplug, patience_s=UNPLUG_PATIENCE_S),
                Step("release", self._release, patience_s=120), Step("finish", self._show)), failed=self._failed),
            OperationType("nova.add_fixed_ip", (
                Step("look", self._look_to_add), Step("change", self._set_addresses, self._undo_addresses),
                Step("finish", self._show_addresses)), failed=self._failed),
            OperationType("nova.remove_fixed_ip", (
                Step("look", self._look_to_remove), Step("change", self._set_addresses, self._undo_addresses),
                Step("finish", self._show_addresses)), failed=self._failed)]

    # ---- attach: data {"order": {port} or {uuid, fixed_ip?}, "tag"}

    async def _obtain(self, run: Run) -> None:
        row, order = await self._begin(run), run.data["order"]
        if any(vif["id"] == order.get("port") for vif in row.network_info):
            run.data["had"] = True
            raise Conflict(f"Port {order['port']} is still in use.")
        run.data["port_id"] = await self._hosts.require(run, row, "obtain_port", spec=encode_spec(spec_from_row(row)),
                                              order=order)
        if order.get("port"):  # known as the user's before it is the server's: a delete gives it back unharmed
            async with self._nova.db.write() as tx:
                row = await read_server(tx, run.resource_id)
                await change(tx, row, requested_networks=[*_without(row, order["port"]), order])

    async def _undo_obtain(self, run: Run) -> None:
        if run.data.get("had"):  # by an earlier attachment
            return
        row, given = await load_server(self._nova, run.resource_id), run.data["order"].get("port")
        port_id = run.data.get("port_id") or given
        if row.host is not None:
            try:
                await self._hosts.ask(run, row.host, "drop_port", port_id=port_id, given=bool(given))
            except HostGone:
                await self._drop(run, port_id, bool(given))
        if given:
            async with self._nova.db.write() as tx:
                row = await read_server(tx, run.resource_id)
                await change(tx, row, requested_networks=_without(row, given))

    async def _drop(self, run: Run, port_id: str | None, given: bool) -> None:
        """Give back what an attachment took, without the host."""
        for port in await self._networks.ports_of(run.ctx, run.id):
            await self._networks.release_port(run.ctx, port["id"], given=False)
        for port in await self._networks.ports_of(run.ctx, run.resource_id):
            if port["id"] == port_id:
                await self._networks.release_port(run.ctx, port["id"], given=given)

    async def _plug(self, run: Run) -> None:
        row = await load_server(self._nova, run.resource_id)
        run.data["vifs"] = await self._hosts.require(run, row, "plug_port", spec=encode_spec(spec_from_row(row)),
                                           port_id=run.data["port_id"], tag=run.data.get("tag"))

    # ---- detach: data {"port_id"}

    async def _unplug(self, run: Run) -> None:
        await self._hosts.require(run, await self._begin(run), "unplug_port", port_id=run.data["port_id"])

    async def _release(self, run: Run) -> None:
        row, port_id = await load_server(self._nova, run.resource_id), run.data["port_id"]
        spec = spec_from_row(row)
        await self._hosts.require(run, row, "release_port", port_id=port_id, given=port_id in spec.given_ports)
        run.data["vifs"] = [vif for vif in row.network_info if vif["id"] != port_id]

    async def _show(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            gone = {} if run.kind == "nova.attach_interface" else {
                "requested_networks": _without(row, run.data["port_id"])}
            await change(tx, row, network_info=run.data["vifs"], **gone)
            await end_event(tx, run, EVENTS[run.kind])

    # ---- addresses: data {"network_id"} or {"address"}

    async def _look_to_add(self, run: Run) -> None:
        await self._begin(run)
        network_id = run.data["network_id"]
        port = next((port for port in await self._ports(run) if port["network_id"] == network_id), None)
        subnets = await self._networks.subnets_of(run.ctx, network_id)
        if port is None or not subnets:
            raise Invalid(f"Network could not be found for instance {run.resource_id}.")
        run.data.update(port_id=port["id"], before=port["fixed_ips"],
                        wanted=[*port["fixed_ips"], {"subnet_id": subnets[0]["id"]}])

    async def _look_to_remove(self, run: Run) -> None:
        await self._begin(run)
        address = run.data["address"]
        for port in await self._ports(run):
            left = [ip for ip in port["fixed_ips"] if ip["ip_address"] != address]
            if len(left) < len(port["fixed_ips"]):
                run.data.update(port_id=port["id"], before=port["fixed_ips"], wanted=left)
                return
        raise Invalid(f"Fixed IP {address} is not an address of instance {run.resource_id}.")

    async def _ports(self, run: Run) -> list[dict[str, Any]]:
        """The server's own ports: whoever has a port may write any server's id into its `device_id`."""
        row = await load_server(self._nova, run.resource_id)
        known = {vif["id"] for vif in row.network_info}
        return [port for port in await self._networks.ports_of(run.ctx, run.resource_id) if port["id"] in known]

    async def _set_addresses(self, run: Run) -> None:
        port = await self._networks.port(run.ctx, run.data["port_id"])
        if port["fixed_ips"] == run.data["before"]:  # else an earlier try did it
            await self._networks.set_addresses(run.ctx, port["id"], run.data["wanted"])

    async def _undo_addresses(self, run: Run) -> None:
        try:
            port = await self._networks.port(run.ctx, run.data["port_id"])
            if port["fixed_ips"] != run.data["before"]:
                await self._networks.set_addresses(run.ctx, port["id"], run.data["before"])
        except NotFound:
            pass

    async def _show_addresses(self, run: Run) -> None:
        vifs = await self._networks.picture(run.ctx, await load_spec(self._nova, run.resource_id))
        async with self._nova.db.write() as tx:
            await change(tx, await read_server(tx, run.resource_id), network_info=vifs)
            await end_event(tx, run, EVENTS[run.kind])

    # ---- shared

    async def _begin(self, run: Run) -> Server:
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await begin_event(tx, run, EVENTS[run.kind], row.host)
        return row

    async def _failed(self, run: Run, error: CloudseedError) -> None:
        async with self._nova.db.write() as tx:
            if run.kind == "nova.detach_interface":  # nobody waits for it, so the server tells
                await add_fault(tx, run.resource_id, error)
            await end_event(tx, run, EVENTS[run.kind], error)


def _without(row: Server, port_id: str) -> list[dict[str, Any]]:
    """The networks that the server asked for, but for one port."""
    asked = row.requested_networks
    return [order for order in asked if order.get("port") != port_id] if isinstance(asked, list) else []
