"""What nova asks of neutron for a server: its ports made, bound, found again, given back.

A server's ports are found by `device_id`, its own id, so everything here may run twice.  Ports that the user
made (`given`) are bound and unbound; others were made by nova and are deleted.  Used by nova-compute, and by
nova-conductor where a host is gone for good.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import Any

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError, Conflict, Forbidden, Invalid, NotFound
from cloudseed.kernel.http.client import ServiceSession
from cloudseed.nova.compute.errors import BuildAborted
from cloudseed.nova.compute.network_info import Vif, network_info
from cloudseed.nova.compute.spec import ServerSpec

log = logging.getLogger(__name__)
Port = dict[str, Any]
DHCP_KNOWN_S = 60.0


class Networks:
    """Neutron, through the session of the part that works for the servers."""

    def __init__(self, session: ServiceSession) -> None:
        self._session = session
        self._dhcp: dict[str, tuple[float, list[Port]]] = {}  # network id -> (known until, its DHCP ports)

    # ---- making

    async def allocate(self, ctx: Context, spec: ServerSpec, host: str, *, again: bool) -> list[Vif]:
        """Every port that the server asked for, made and bound to `host`; returns the picture.

        `again`: an earlier try may have made some, look for them first.  BuildAborted when the order cannot be
        fulfilled (network gone, no address, quota, port in use).
        """
        if spec.requested_networks == "none":
            return []
        existing = await self._own_ports(ctx, spec) if again else []
        tags: dict[str, str] = {}
        try:
            wanted, bound = await self._wanted(ctx, spec), []
            groups = await self._security_groups(ctx, spec)
            for order in wanted:
                port = _take(existing, order) or await self._obtain(ctx, spec, order, groups)
                bound.append(await self.bind(ctx, spec, port["id"], host))
                if order.get("tag"):
                    tags[port["id"]] = order["tag"]
        except (Invalid, NotFound, Conflict, Forbidden) as exc:
            if isinstance(exc, BuildAborted):
                raise
            raise BuildAborted(exc.message, detail=exc.detail) from exc
        return await self.picture(ctx, spec, [port["id"] for port in bound], tags) if bound else []

    async def _wanted(self, ctx: Context, spec: ServerSpec) -> list[dict[str, Any]]:
        """The order's networks, each checked to exist.  "auto" is every network that the project has."""
        orders = spec.requested_networks
        if isinstance(orders, str):
            found = await self._list(ctx, "networks", {"tenant_id": spec.project_id, "shared": "false"})
            found += await self._list(ctx, "networks", {"shared": "true"})
            if len(found) > 1:
                raise BuildAborted("Multiple possible networks found, use a Network ID to be more specific.")
            return [{"uuid": network["id"]} for network in found]
        ids = sorted({order["uuid"] for order in orders if order.get("uuid") and not order.get("port")})
        if ids:
            known = {network["id"] for network in await self._list(ctx, "networks", {"id": ids})}
            for missing in set(ids) - known:
                raise BuildAborted(f"Network {missing} could not be found.")
        return list(orders)

    async def _security_groups(self, ctx: Context, spec: ServerSpec) -> list[str]:
        """Ids of the groups asked for; empty for the project's default group alone, which neutron applies."""
        asked = list(dict.fromkeys(spec.security_groups))
        if asked in ([], ["default"]):
            return []
        if all(_is_uuid(group) for group in asked):
            return asked
        known = await self._list(ctx, "security-groups", {"tenant_id": spec.project_id, "fields": ["id", "name"]})
        ids = []
        for group in asked:
            matches = [g["id"] for g in known if group in (g["id"], g["name"])]
            if len(matches) != 1:
                problem = "not found" if not matches else "ambiguous: use its id"
                raise BuildAborted(f"Security group {group} is {problem} in project {spec.project_id}.")
            ids.append(matches[0])
        return ids

    async def make(self, ctx: Context, spec: ServerSpec, order: dict[str, Any], device_id: str) -> str:
        """A new port in the order's network, of the project's default group, bound to nothing yet; returns its id."""
        port = await self._create(ctx, spec, order, [], device_id)
        return str(port["id"])

    async def port(self, ctx: Context, port_id: str) -> Port:
        """One port.  NotFound."""
        answer = await self._session.get_json(ctx, "network", f"/v2.0/ports/{port_id}")
        found: Port = answer["port"]
        return found

    async def set_addresses(self, ctx: Context, port_id: str, fixed_ips: list[dict[str, str]]) -> None:
        """Give the port exactly these addresses; one with only a `subnet_id` is chosen by neutron."""
        await self._session.request(ctx, "network", "PUT", f"/v2.0/ports/{port_id}",
                                    json={"port": {"fixed_ips": fixed_ips}})

    async def subnets_of(self, ctx: Context, network_id: str) -> list[dict[str, Any]]:
        return await self._list(ctx, "subnets", {"network_id": network_id})

    async def _obtain(self, ctx: Context, spec: ServerSpec, order: dict[str, Any], groups: list[str]) -> Port:
        if order.get("port"):
            port = await self.port(ctx, order["port"])
            if port.get("device_id") and port["device_id"] != spec.id:
                raise BuildAborted(f"Port {port['id']} is still in use.")
            return port
        return await self._create(ctx, spec, order, groups, spec.id)

    async def _create(self, ctx: Context, spec: ServerSpec, order: dict[str, Any], groups: list[str],
                      device_id: str) -> Port:
        body: Port = {"network_id": order["uuid"], "tenant_id": spec.project_id, "device_id": device_id,
                      "admin_state_up": True}
        if groups:
            body["security_groups"] = groups
        if order.get("fixed_ip"):
            body["fixed_ips"] = [{"ip_address": order["fixed_ip"]}]
        created = await self._session.request(ctx, "network", "POST", "/v2.0/ports", json={"port": body})
        made: Port = created.json()["port"]
        return made

    async def bind(self, ctx: Context, spec: ServerSpec, port_id: str, host: str) -> Port:
        """Make the port the server's, on `host`."""
        owner = f"compute:{spec.availability_zone or 'nova'}"
        change = {"device_id": spec.id, "device_owner": owner, "binding:host_id": host}
        answer = await self._session.request(ctx, "network", "PUT", f"/v2.0/ports/{port_id}", json={"port": change})
        bound: Port = answer.json()["port"]
        if bound.get("binding:vif_type") == "binding_failed":
            raise CloudseedError(f"Neutron cannot bind port {port_id} on host {host}: is its network agent alive?")
        return bound

    # ---- looking

    async def ports_of(self, ctx: Context, server_id: str) -> list[Port]:
        return await self._list(ctx, "ports", {"device_id": server_id})

    async def _own_ports(self, ctx: Context, spec: ServerSpec) -> list[Port]:
        """The ports that are the server's: of its project, or given.  Whoever has a port may write any server's id
        into its `device_id`, which must not plug it into a stranger's server."""
        return [port for port in await self.ports_of(ctx, spec.id)
                if port.get("tenant_id") == spec.project_id or port["id"] in spec.given_ports]

    async def picture(self, ctx: Context, spec: ServerSpec, order: list[str] | None = None,
                      tags: dict[str, str] | None = None) -> list[Vif]:
        """The server's interfaces as neutron has them now, with the users' tags: those known, and `tags` by port."""
        ports = await self._own_ports(ctx, spec)
        if not ports:
            return []
        subnet_ids = sorted({ip["subnet_id"] for port in ports for ip in port.get("fixed_ips", ())})
        network_ids = sorted({port["network_id"] for port in ports})
        subnets = await self._list(ctx, "subnets", {"id": subnet_ids}) if subnet_ids else []
        dhcp = await self._dhcp_ports(ctx, network_ids)
        answers = await asyncio.gather(*(self._session.get_json(ctx, "network", f"/v2.0/networks/{network_id}")
                                         for network_id in network_ids))
        networks = {answer["network"]["id"]: answer["network"] for answer in answers}
        # a port that was just made has none
        floating = (await self._list(ctx, "floatingips", {"port_id": [port["id"] for port in ports]})
                    if spec.network_info or spec.given_ports else [])
        known = {vif["id"]: vif["tag"] for vif in spec.network_info if vif.get("tag")}
        return network_info(order or [vif["id"] for vif in spec.network_info], ports, networks, subnets, dhcp,
                            spec.given_ports, {**known, **(tags or {})}, floating)

    async def _dhcp_ports(self, ctx: Context, network_ids: list[str]) -> list[Port]:
        """The networks' DHCP ports, remembered for a while: they change with their network's first and last subnet."""
        now = time.monotonic()
        known = {network_id: self._dhcp[network_id][1] for network_id in network_ids
                 if network_id in self._dhcp and self._dhcp[network_id][0] > now}
        if unknown := [network_id for network_id in network_ids if network_id not in known]:
            found = await self._list(ctx, "ports", {"network_id": unknown, "device_owner": "network:dhcp"})
            if len(self._dhcp) > 10_000:
                self._dhcp.clear()
            for network_id in unknown:
                known[network_id] = [port for port in found if port["network_id"] == network_id]
                if known[network_id]:  # a network without one may get one any moment
                    self._dhcp[network_id] = now + DHCP_KNOWN_S, known[network_id]
        return [port for ports in known.values() for port in ports]

    async def _list(self, ctx: Context, resource: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        answer = await self._session.get_json(ctx, "network", f"/v2.0/{resource}", params=params)
        found: list[dict[str, Any]] = answer[resource.replace("-", "_")]
        return found

    # ---- moving between hosts: a second binding, then the other is the active one

    async def join(self, ctx: Context, port_id: str, host: str) -> None:
        """Bind the port to one more host, where it waits; bound there already is fine."""
        try:
            await self._session.request(ctx, "network", "POST", f"/v2.0/ports/{port_id}/bindings",
                                        json={"binding": {"host": host}})
        except Conflict:
            if host not in await self._bindings(ctx, port_id):
                raise

    async def activate(self, ctx: Context, port_id: str, host: str) -> None:
        """Let the port's binding to `host` be the active one; so already is fine."""
        try:
            await self._session.request(ctx, "network", "PUT", f"/v2.0/ports/{port_id}/bindings/{host}/activate")
        except Conflict:
            if (await self._bindings(ctx, port_id)).get(host) != "ACTIVE":
                raise

    async def leave(self, ctx: Context, port_id: str, host: str) -> None:
        """Forget the port's binding to `host`, unless it is the active one; gone already is fine."""
        if (await self._bindings(ctx, port_id)).get(host, "ACTIVE") != "ACTIVE":
            await self._session.request(ctx, "network", "DELETE", f"/v2.0/ports/{port_id}/bindings/{host}",
                                        expect=(404,))

    async def _bindings(self, ctx: Context, port_id: str) -> dict[str, str]:
        """The port's bindings: host -> ACTIVE or INACTIVE; none of a port that is gone."""
        answer = await self._session.request(ctx, "network", "GET", f"/v2.0/ports/{port_id}/bindings", expect=(404,))
        if answer.status == 404:
            return {}
        return {binding["host"]: binding["status"] for binding in answer.json()["bindings"]}

    # ---- giving back

    async def release(self, ctx: Context, server_id: str, given: list[str]) -> None:
        """Unbind the given ports, delete the others.  Safe twice."""
        for port in await self.ports_of(ctx, server_id):
            await self.release_port(ctx, port["id"], given=port["id"] in given)

    async def unbind(self, ctx: Context, port_id: str) -> None:
        """Bind the port to no host; it stays the server's.  Gone is fine."""
        await self._session.request(ctx, "network", "PUT", f"/v2.0/ports/{port_id}", expect=(404,),
                                    json={"port": {"binding:host_id": None, "binding:profile": {}}})

    async def release_port(self, ctx: Context, port_id: str, *, given: bool) -> None:
        """Unbind a port that the user made, delete another.  Safe twice."""
        if given:
            change: Port = {"device_id": "", "device_owner": "", "binding:host_id": None, "binding:profile": {}}
            await self._session.request(ctx, "network", "PUT", f"/v2.0/ports/{port_id}", json={"port": change},
                                        expect=(404,))
        else:
            await self._session.request(ctx, "network", "DELETE", f"/v2.0/ports/{port_id}", expect=(404,))


def _take(existing: list[Port], order: dict[str, Any]) -> Port | None:
    """The port that an earlier try made for this order, if any; taken off the list."""
    for port in existing:
        fits = port["id"] == order["port"] if order.get("port") else port["network_id"] == order.get("uuid") and (
            not order.get("fixed_ip") or order["fixed_ip"] in {ip["ip_address"] for ip in port["fixed_ips"]})
        if fits:
            existing.remove(port)
            return port
    return None


def _is_uuid(value: str) -> bool:
    try:
        uuid.UUID(value)
    except ValueError:
        return False
    return True
