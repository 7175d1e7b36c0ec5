"""Subnets that were made without a pool come into one: the pool takes over their addresses."""

from __future__ import annotations

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.neutron import access, errors, models, networks, prefixes, subnetpools
from cloudseed.neutron.revisions import touch
from cloudseed.neutron.server import Neutron

spaces = models.subnets


async def onboard_network_subnets(neutron: Neutron, ctx: Context, pool_id: str,
                                  network_id: str) -> list[dict[str, str]]:
    """Bring a network's subnets of the pool's IP version into it; only the network's owner or an administrator may.

    Raises IllegalSubnetPoolPrefixUpdate when the pool gave the addresses to another subnet, AddressScopePrefixConflict.
    """
    async with neutron.db.write() as tx:
        pool = await subnetpools.load(neutron, ctx, tx, pool_id)
        access.authorize(neutron, ctx, "onboard_network_subnets", dict(pool._mapping))
        network = await networks.load(neutron, ctx, tx, network_id)
        if network.project_id != ctx.project_id and not access.is_admin(neutron, ctx):
            raise errors.PolicyNotAuthorized(rule="onboard_network_subnets")
        coming = list(await tx.all(sa.select(spaces.c.id, spaces.c.cidr).where(
            spaces.c.network_id == network_id, spaces.c.ip_version == pool.ip_version).order_by(spaces.c.created_at)))
        used = await subnetpools.used(tx, pool_id)
        for subnet in coming:
            if prefixes.overlap([subnet.cidr], used):
                raise errors.IllegalSubnetPoolPrefixUpdate(reason=(
                    f"Onboarding subnet {subnet.id}: {subnet.cidr} conflicts with allocated prefixes in subnet pool "
                    f"{pool_id}"))
        then = prefixes.compact([*pool.prefixes, *[subnet.cidr for subnet in coming]])
        await subnetpools.check_scope(neutron, ctx, tx, pool.address_scope_id, pool.ip_version, then, pool_id)
        await touch(tx, models.subnetpools, pool_id, prefixes=then)
        for subnet in coming:
            await touch(tx, spaces, subnet.id, subnetpool_id=pool_id)
    return [{"id": subnet.id, "cidr": subnet.cidr} for subnet in coming]
