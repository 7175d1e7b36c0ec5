"""A network for who has none: made with subnets and a router to the outside when it is first asked for.

It takes a default subnet pool and a default external network, which administrators mark.  Each step looks at what is
there already, so that a topology which a killed process left half made is finished by the next request, or removed by
a deletion; the network is up, and the topology recorded, at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.neutron import access, errors, models, networks, routers, subnets
from cloudseed.neutron.attributes import Attributes, Wish, parse_create
from cloudseed.neutron.server import Neutron

table = models.auto_allocated_topologies
NETWORK, ROUTER = "auto_allocated_network", "auto_allocated_router"
RULE = "auto_allocated_topology"


def _project(neutron: Neutron, ctx: Context, project_id: str) -> str:
    """Whose topology is meant: the client's library writes "None" for the token's own project."""
    project = (ctx.project_id or "") if project_id == "None" else project_id
    if not project or (project != ctx.project_id and not access.is_admin(neutron, ctx)):
        raise errors.PolicyNotAuthorized(rule=f"get_{RULE}")
    return project


class AutoAllocation:
    """`attributes`: those of networks, subnets and routers by their paths."""

    def __init__(self, neutron: Neutron, attributes: Mapping[str, Attributes]) -> None:
        self._neutron = neutron
        self._attributes = attributes
        self._one_at_a_time = asyncio.Lock()

    async def check(self, ctx: Context, project_id: str) -> str:
        """Whether a topology could be made; AutoAllocationFailure says what is missing.  Returns the project."""
        project = _project(self._neutron, ctx, project_id)
        access.authorize(self._neutron, ctx, f"get_{RULE}", {"project_id": project})
        await self._means()
        return project

    async def get(self, ctx: Context, project_id: str) -> dict[str, Any]:
        """The project's network, made if there is none."""
        project = _project(self._neutron, ctx, project_id)
        access.authorize(self._neutron, ctx, f"get_{RULE}", {"project_id": project})
        async with self._one_at_a_time:
            known = await self._known(project)
            network_id = known.network_id if known is not None else await self._make(ctx, project)
        return {"id": network_id, "project_id": project, "tenant_id": project}

    async def delete(self, ctx: Context, project_id: str) -> None:
        """Remove network and router; NetworkInUse while ports are on it."""
        project = _project(self._neutron, ctx, project_id)
        access.authorize(self._neutron, ctx, f"delete_{RULE}", {"project_id": project})
        async with self._one_at_a_time:
            known = await self._known(project)
            network_id = known.network_id if known is not None else await self._begun(models.networks, project, NETWORK)
            router_id = known.router_id if known is not None else await self._begun(models.routers, project, ROUTER)
            await self._check_unused(network_id)
            if router_id is not None:
                for interface in await self._interfaces(router_id):
                    await routers.remove_interface(self._neutron, ctx, router_id, {"subnet_id": interface.subnet_id})
                await routers.delete_router(self._neutron, ctx, router_id)
            if network_id is not None:
                await networks.delete_network(self._neutron, ctx, network_id)

    # ---- what is there

    async def _known(self, project: str) -> Any:
        async with self._neutron.db.read() as tx:
            return await tx.first(sa.select(table).where(table.c.project_id == project))

    async def _begun(self, of: sa.Table, project: str, name: str) -> str | None:
        """What an interrupted request left."""
        async with self._neutron.db.read() as tx:
            found: str | None = await tx.scalar(sa.select(of.c.id).where(
                of.c.project_id == project, of.c.name == name).order_by(of.c.created_at).limit(1))
        return found

    async def _means(self) -> tuple[str, list[Any]]:
        """The default external network and the default pools."""
        outside, pools = models.networks, models.subnetpools
        async with self._neutron.db.read() as tx:
            network_id = await tx.scalar(sa.select(outside.c.id).where(outside.c.external, outside.c.is_default)
                                         .order_by(outside.c.created_at).limit(1))
            rows = list(await tx.all(sa.select(pools.c.id, pools.c.ip_version).where(pools.c.is_default)
                                     .order_by(pools.c.ip_version)))
        if network_id is None:
            raise errors.AutoAllocationFailure(reason="No default router:external network")
        if not rows:
            raise errors.AutoAllocationFailure(reason="No default subnetpools defined")
        return network_id, rows

    async def _interfaces(self, router_id: str) -> list[Any]:
        async with self._neutron.db.read() as tx:
            return await routers.interfaces(tx, router_id)

    async def _check_unused(self, network_id: str | None) -> None:
        ports = models.ports
        async with self._neutron.db.read() as tx:
            used = await tx.scalars(sa.select(ports.c.id).where(
                ports.c.network_id == network_id, ports.c.device_owner.not_like("network:%")).limit(20))
        if used:
            raise errors.NetworkInUse(id=network_id, ports=",".join(used))

    # ---- making it

    def _wish(self, ctx: Context, path: str, resource: str, /, **values: Any) -> list[Wish]:
        return parse_create(resource, path, self._attributes[path], {resource: values}, ctx, True)[0]

    async def _make(self, ctx: Context, project: str) -> str:
        outside, pools = await self._means()
        network_id = await self._begun(models.networks, project, NETWORK)
        if network_id is None:
            made = await networks.create_networks(self._neutron, ctx, self._wish(
                ctx, "networks", "network", name=NETWORK, project_id=project, admin_state_up=False),
                self._attributes["networks"])
            network_id = str(made[0]["id"])
        spaces = models.subnets
        for pool in pools:
            async with self._neutron.db.read() as tx:
                there = await tx.scalar(sa.select(spaces.c.id).where(
                    spaces.c.network_id == network_id, spaces.c.ip_version == pool.ip_version).limit(1))
            if there is None:
                await subnets.create_subnets(self._neutron, ctx, self._wish(
                    ctx, "subnets", "subnet", name=f"auto_allocated_subnet_v{pool.ip_version}", project_id=project,
                    network_id=network_id, ip_version=pool.ip_version, subnetpool_id=pool.id),
                    self._attributes["subnets"])
        router_id = await self._begun(models.routers, project, ROUTER)
        if router_id is None:
            made = await routers.create_routers(self._neutron, ctx, self._wish(
                ctx, "routers", "router", name=ROUTER, project_id=project,
                external_gateway_info={"network_id": outside}), self._attributes["routers"])
            router_id = str(made[0]["id"])
        joined = {interface.subnet_id for interface in await self._interfaces(router_id)}
        async with self._neutron.db.read() as tx:
            its = await tx.scalars(sa.select(spaces.c.id).where(spaces.c.network_id == network_id))
        for subnet_id in its:
            if subnet_id not in joined:
                await routers.add_interface(self._neutron, ctx, router_id, {"subnet_id": subnet_id})
        async with self._neutron.db.write() as tx:
            await networks.touch(tx, models.networks, network_id, admin_state_up=True)
            await tx.execute(sa.insert(table).values(project_id=project, network_id=network_id, router_id=router_id))
        await self._neutron.look_again(ctx)
        return network_id
