"""The networks, ports and security groups that a new server asks for, checked with neutron as the user."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Conflict, Forbidden, Invalid, NotFound, OverQuota

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

Network = dict[str, Any]
Order = dict[str, str]


async def check_networks(nova: Nova, ctx: Context, asked: list[Order] | str | None, count: int) -> list[Order] | str:
    """What is asked, resolved: a list of {uuid, port?, fixed_ip?, tag?} or "none".

    "auto" and null mean the one network that the project has; with "auto" neutron makes one if it has none.  Raises
    Invalid, Conflict (ambiguous, in use),
    Forbidden (external network), OverQuota (ports), with upstream's texts.
    """
    if asked == "none":
        return "none"
    if asked is None or isinstance(asked, str) or not asked:
        networks = await available_networks(nova, ctx)
        if asked == "auto" and not networks:
            networks = await _allocate(nova, ctx)
        if len(networks) > 1:
            raise Conflict("Multiple possible networks found, use a Network ID to be more specific.")
        if not networks:
            return "none"
        orders: list[Order] = [{"uuid": networks[0]["id"]}]
    else:
        orders, networks = await _resolve(nova, ctx, asked, count)
    for network in networks:
        check_usable(nova, ctx, network)
    new_ports = sum("port" not in order for order in orders) * count
    if new_ports:
        await _check_ports_quota(nova, ctx, new_ports)
    if len(networks) == 1:  # without a task of its own, which would wait for its turn
        await _look_again(nova, ctx, networks[0]["id"])
    else:
        await asyncio.gather(*(_look_again(nova, ctx, network["id"]) for network in networks[:10]))
    return orders


async def _allocate(nova: Nova, ctx: Context) -> list[Network]:
    """The network that neutron makes for a project without any."""
    try:
        made = await nova.api_session.get_json(ctx, "network", "/v2.0/auto-allocated-topology/None", as_user=True)
    except (Conflict, Forbidden) as exc:
        raise Invalid(f"Unable to automatically allocate a network for project {ctx.project_id}: it has no network, "
                      f"none is shared, and neutron cannot make one: {exc.message}") from exc
    return await list_as_user(nova, ctx, "networks", id=[made["auto_allocated_topology"]["id"]])


async def list_as_user(nova: Nova, ctx: Context, resource: str, **params: Any) -> list[dict[str, Any]]:
    """Neutron's list of a resource, as the user may see it."""
    answer = await nova.api_session.get_json(ctx, "network", f"/v2.0/{resource}", params=params, as_user=True)
    found: list[dict[str, Any]] = answer[resource.replace("-", "_")]
    return found


async def available_networks(nova: Nova, ctx: Context) -> list[Network]:
    """Networks that a server gets when it names none: the project's own, else those shared with it."""
    own = await list_as_user(nova, ctx, "networks", tenant_id=ctx.project_id, shared="false")
    usable = [network for network in own if not network.get("router:external")]
    if usable:
        return usable
    shared = await list_as_user(nova, ctx, "networks", shared="true")
    return [network for network in shared if not network.get("router:external")]


async def _resolve(nova: Nova, ctx: Context, asked: list[Order], count: int) -> tuple[list[Order], list[Network]]:
    """Every network and port that is named, found."""
    if count > 1 and any("port" in order for order in asked):
        raise Invalid("Failed to launch multiple instances with a single configured port ID. Please launch your "
                      "instance one by one with different ports.")
    if count > 1 and any("fixed_ip" in order for order in asked):
        raise Invalid("Invalid fixed IP and max count specified: one address cannot serve several instances.")
    ports = await _ports(nova, ctx, [order["port"] for order in asked if "port" in order])
    orders = [{**order, "uuid": ports[order["port"]]["network_id"]} if "port" in order else dict(order)
              for order in asked]
    ids = sorted({order["uuid"] for order in orders})
    networks = {network["id"]: network for network in await list_as_user(nova, ctx, "networks", id=ids)}
    for order in orders:
        network = networks.get(order["uuid"])
        if network is None:
            raise Invalid(f"Network {order['uuid']} could not be found.")
        if "port" not in order and not network.get("subnets"):
            raise Invalid(f"Network {order['uuid']} requires a subnet in order to boot instances on.")
    await _check_fixed_ips(nova, ctx, orders)
    return orders, [networks[id] for id in ids]


async def _ports(nova: Nova, ctx: Context, ids: list[str]) -> dict[str, dict[str, Any]]:
    if len(set(ids)) != len(ids):
        raise Invalid("The same port is asked for more than once.")
    if not ids:
        return {}
    ports = {port["id"]: port for port in await list_as_user(nova, ctx, "ports", id=ids)}
    for id in ids:
        port = ports.get(id)
        if port is None:
            raise Invalid(f"Port id {id} could not be found.")
        if port.get("device_id"):
            raise Conflict(f"Port {id} is still in use.")
        if port.get("binding:host_id") and port.get("binding:vif_type") == "binding_failed":
            raise Invalid(f"Binding failed for port {id}, please check neutron logs for more information.")
        if not port.get("fixed_ips") and port.get("ip_allocation") not in ("none", "deferred"):
            raise Invalid(f"Port {id} requires a FixedIP in order to be used.")
    return ports


async def _check_fixed_ips(nova: Nova, ctx: Context, orders: list[Order]) -> None:
    """An address that is asked for must be free."""
    for order in orders:
        if "fixed_ip" in order and "port" not in order:
            taken = await list_as_user(nova, ctx, "ports", network_id=order["uuid"],
                                fixed_ips=f"ip_address={order['fixed_ip']}", fields=["id", "device_id"])
            if taken:
                raise Invalid(f"Fixed IP address {order['fixed_ip']} is already in use on instance "
                              f"{taken[0].get('device_id') or '(none)'}.")


def check_usable(nova: Nova, ctx: Context, network: Network) -> None:
    """Forbidden for an external network that is not shared, unless policy allows it."""
    if network.get("router:external") and not network.get("shared") \
            and not nova.policy.check("network:attach_external_network", ctx.identity):
        raise Forbidden(f"It is not allowed to create an interface on external network {network['id']}")


async def _check_ports_quota(nova: Nova, ctx: Context, count: int) -> None:
    ports = await list_as_user(nova, ctx, "ports", tenant_id=ctx.project_id, fields="id")
    quota = await nova.api_session.get_json(ctx, "network", f"/v2.0/quotas/{ctx.project_id}", as_user=True)
    limit = quota["quota"].get("port", -1)
    if 0 <= limit < len(ports) + count:
        raise OverQuota(f"The number of defined ports: {len(ports)} is over the limit: {limit}"
                        if len(ports) > limit else "Maximum number of ports exceeded")


async def _look_again(nova: Nova, ctx: Context, network_id: str) -> None:
    """The network at hand, once more: it may have gone while ports were counted."""
    try:
        await nova.api_session.get_json(ctx, "network", f"/v2.0/networks/{network_id}", as_user=True)
    except NotFound:
        raise Invalid(f"Network {network_id} could not be found.") from None


async def check_security_groups(nova: Nova, ctx: Context, names: list[str]) -> None:
    """Every group, given by name or id, exists in the project, and names one group only."""
    wanted = [name for name in dict.fromkeys(names) if name != "default"]
    if not wanted:
        return
    groups = await list_as_user(nova, ctx, "security-groups", tenant_id=ctx.project_id, fields=["id", "name"])
    ids, by_name = {group["id"] for group in groups}, [group["name"] for group in groups]
    for name in wanted:
        if name in ids:
            continue
        if name not in by_name:
            raise Invalid(f"Unable to find security_group with name or id '{name}'")
        if by_name.count(name) > 1:
            raise Conflict(f"Multiple security groups found matching '{name}'. Use an ID to be more specific.")
