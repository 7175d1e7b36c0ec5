"""Interfaces of a server that stands: what may be attached and detached, and the orders for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.nova import servers
from cloudseed.nova.server_networks import available_networks, check_usable, list_as_user

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

ATTACH_TIMEOUT_S = 300.0


async def attach_interface(nova: Nova, ctx: Context, server_id: str, *, network_id: str | None, port_id: str | None,
                           address: str | None, tag: str | None) -> str:
    """Plug a port (given, or made in a network, or in the only network there is) into the server.

    Returns the port's id once the card is in the running machine, or will be there at the next start.
    """
    server = await servers.get_server(nova, ctx, server_id, "os_compute_api:os-attach-interfaces:create")
    if network_id and port_id:
        raise Invalid("Must not input both network_id and port_id")
    if address and not network_id:
        raise Invalid("Must input network_id when request IP address")
    servers.check_order(nova, ctx, server, "attach_interface")
    if port_id:
        order = await _given(nova, ctx, port_id)
    else:
        order = await _network(nova, ctx, network_id)
        if address:
            order["fixed_ip"] = address
    operation_id = await servers.order(
        nova, ctx, server_id, "nova.attach_interface", None, rule="os-attach-interfaces:create",
        action="attach_interface", record="attach_interface", data={"order": order, "tag": tag})
    data = await servers.outcome(nova, ctx, operation_id, ATTACH_TIMEOUT_S)
    return str(data["port_id"])


async def _given(nova: Nova, ctx: Context, port_id: str) -> dict[str, Any]:
    try:
        answer = await nova.api_session.get_json(ctx, "network", f"/v2.0/ports/{port_id}", as_user=True)
    except NotFound:
        raise NotFound(f"Port id {port_id} could not be found.") from None
    port = answer["port"]
    if port.get("device_id"):
        raise Conflict(f"Port {port_id} is still in use.")
    if port.get("tenant_id") != ctx.project_id and not nova.policy.check("context_is_admin", ctx.identity):
        raise Forbidden(f"Port {port_id} not usable for the server: it belongs to another project.")
    if not port.get("fixed_ips") and port.get("ip_allocation") not in ("none", "deferred"):
        raise Invalid(f"Port {port_id} requires a FixedIP in order to be used.")
    return {"port": port["id"], "uuid": port["network_id"]}


async def _network(nova: Nova, ctx: Context, network_id: str | None) -> dict[str, Any]:
    if network_id:
        found = await list_as_user(nova, ctx, "networks", id=network_id)
        if not found:
            raise NotFound(f"Network {network_id} could not be found.")
    else:
        found = await available_networks(nova, ctx)
        if not found:
            raise Invalid("No specific network was requested and none are available for project "
                          f"'{ctx.project_id}'.")
        if len(found) > 1:
            raise Invalid("Multiple possible networks found, use a Network ID to be more specific.")
    network = found[0]
    check_usable(nova, ctx, network)
    if not network.get("subnets"):
        raise Invalid(f"Network {network['id']} requires a subnet in order to boot instances on.")
    return {"uuid": network["id"]}


async def detach_interface(nova: Nova, ctx: Context, server_id: str, port_id: str) -> None:
    """Order that the card of `port_id` is unplugged; the port is unbound, or deleted when nova made it."""
    server = await servers.get_server(nova, ctx, server_id, "os_compute_api:os-attach-interfaces:delete")
    servers.check_order(nova, ctx, server, "detach_interface")
    if all(vif["id"] != port_id for vif in server.network_info):
        raise NotFound(f"Port id {port_id} could not be found.")
    await servers.order(nova, ctx, server_id, "nova.detach_interface", None, rule="os-attach-interfaces:delete",
                        action="detach_interface", record="detach_interface", data={"port_id": port_id})


async def add_fixed_ip(nova: Nova, ctx: Context, server_id: str, network_id: str) -> None:
    """Order one more address for the server's port on a network."""
    await servers.order(nova, ctx, server_id, "nova.add_fixed_ip", None, rule="os-multinic:add",
                        action="add_fixed_ip", record="addFixedIp", data={"network_id": network_id})


async def remove_fixed_ip(nova: Nova, ctx: Context, server_id: str, address: str) -> None:
    """Order that one of the server's addresses is taken from it."""
    await servers.order(nova, ctx, server_id, "nova.remove_fixed_ip", None, rule="os-multinic:remove",
                        action="remove_fixed_ip", record="removeFixedIp", data={"address": address})
