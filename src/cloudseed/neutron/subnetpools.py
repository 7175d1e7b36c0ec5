"""Subnet pools: prefixes from which subnets are cut, each within bounds of length and a quota of addresses."""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, address_scopes, errors, listing, models, prefixes, quotas
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.networks import touch
from cloudseed.neutron.server import Neutron, now

table = models.subnetpools
SPEC = listing.spec(table, errors.SubnetPoolNotFound)
_LENGTHS = ("default_prefixlen", "min_prefixlen", "max_prefixlen")


def _select(ctx: Context) -> sa.Select[Any]:
    return sa.select(table, access.shared_column(ctx, table, "subnetpool"))


def _record(row: Any) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "project_id": row.project_id, "tenant_id": row.project_id,
            "ip_version": row.ip_version, "default_prefixlen": row.default_prefixlen,
            "min_prefixlen": row.min_prefixlen, "max_prefixlen": row.max_prefixlen, "is_default": row.is_default,
            "shared": bool(row.shared), "prefixes": row.prefixes, "default_quota": row.default_quota,
            "address_scope_id": row.address_scope_id, "description": row.description or "", "tags": row.tags,
            "created_at": row.created_at, "updated_at": row.updated_at, "revision_number": row.revision_number}


async def list_subnetpools(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    async with neutron.db.read() as tx:
        statement = _select(ctx).where(*access.visible(neutron, ctx, table, "subnetpool"))
        return [_record(row) for row in await listing.page(tx, statement, SPEC, query, ctx)]


async def load(neutron: Neutron, ctx: Context, tx: Tx, pool_id: str) -> Any:
    """A visible pool's row; SubnetPoolNotFound."""
    row = await tx.first(_select(ctx).where(table.c.id == pool_id,
                                            *access.visible(neutron, ctx, table, "subnetpool")))
    if row is None:
        raise errors.SubnetPoolNotFound(id=pool_id)
    return row


async def get_subnetpool(neutron: Neutron, ctx: Context, pool_id: str) -> dict[str, Any]:
    async with neutron.db.read() as tx:
        return _record(await load(neutron, ctx, tx, pool_id))


def _check_prefixes(wanted: list[str]) -> tuple[int, list[str]]:
    """The version of a pool's prefixes, and the prefixes in their shortest form."""
    versions = {ipaddress.ip_network(prefix).version for prefix in wanted}
    if not versions:
        raise errors.InvalidInput(reason="Subnet pool prefix list is empty: name one at least")
    if len(versions) > 1:
        raise errors.InvalidInput(reason="All prefixes of a subnet pool must be of one IP version")
    return versions.pop(), prefixes.compact(wanted)


def _check_lengths(version: int, lengths: dict[str, int | None]) -> dict[str, int]:
    top = 32 if version == 4 else 128
    low = lengths["min_prefixlen"] if lengths["min_prefixlen"] is not None else 8 if version == 4 else 64
    high = lengths["max_prefixlen"] if lengths["max_prefixlen"] is not None else top
    usual = lengths["default_prefixlen"] if lengths["default_prefixlen"] is not None else low
    for name, value in (("min_prefixlen", low), ("max_prefixlen", high), ("default_prefixlen", usual)):
        if value > top:
            raise errors.IllegalSubnetPoolPrefixBounds(reason=f"{name}={value}, ip_version={version}")
    if not low <= usual <= high:
        raise errors.IllegalSubnetPoolPrefixBounds(
            reason=f"min_prefixlen={low}, default_prefixlen={usual}, max_prefixlen={high}")
    return {"default_prefixlen": usual, "min_prefixlen": low, "max_prefixlen": high}


async def check_scope(neutron: Neutron, ctx: Context, tx: Tx, scope_id: str | None, version: int,
                      wanted: list[str], pool_id: str) -> None:
    """The scope exists, is of the version, and no other pool of it has these addresses."""
    if scope_id is None:
        return
    scope = await address_scopes.load(neutron, ctx, tx, scope_id)
    if scope.ip_version != version:
        raise errors.InvalidInput(reason=f"Address scope {scope_id} is of IP version {scope.ip_version}")
    for other in await tx.scalars(sa.select(table.c.prefixes).where(table.c.address_scope_id == scope_id,
                                                                    table.c.id != pool_id)):
        if prefixes.overlap(wanted, other):
            raise errors.AddressScopePrefixConflict(
                f"Subnet pool prefixes overlap with another pool's in address scope {scope_id}.")


async def _check_default(tx: Tx, version: int, pool_id: str) -> None:
    known = await tx.scalar(sa.select(table.c.id).where(table.c.is_default, table.c.ip_version == version,
                                                        table.c.id != pool_id))
    if known is not None:
        raise errors.InvalidInput(reason=f"A default subnetpool for this IP family has already been set: {known}")


async def create_subnetpools(neutron: Neutron, ctx: Context, wishes: list[Wish],
                             attributes: Any) -> list[dict[str, Any]]:
    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            values, moment, pool_id = wish.values, now(), str(uuid.uuid4())
            access.authorize(neutron, ctx, "create_subnetpool", values, wish.differs(attributes))
            version, its = _check_prefixes(values["prefixes"])
            lengths = _check_lengths(version, values)
            await check_scope(neutron, ctx, tx, values["address_scope_id"], version, its, pool_id)
            if values["is_default"]:
                await _check_default(tx, version, pool_id)
            await quotas.check(tx, values["project_id"], "subnetpool")
            await tx.execute(sa.insert(table).values(
                id=pool_id, ip_version=version, prefixes=its, created_at=moment, updated_at=moment,
                revision_number=0, **lengths, **{name: values[name] for name in (
                    "project_id", "name", "description", "tags", "default_quota", "is_default",
                    "address_scope_id")}))
            if values["shared"]:
                await address_scopes.share(tx, "subnetpool", pool_id, values["project_id"])
            made.append(pool_id)
        rows = {row.id: row for row in await listing.by_ids(tx, _select(ctx), table.c.id, made)}
    return [_record(rows[pool_id]) for pool_id in made]


async def update_subnetpool(neutron: Neutron, ctx: Context, pool_id: str, wish: Wish) -> dict[str, Any]:
    """Change a pool; prefixes can only grow here."""
    values = dict(wish.values)
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, pool_id)
        access.check_revision(row, wish.expected_revision)
        access.authorize(neutron, ctx, "update_subnetpool", dict(row._mapping), values)
        its = row.prefixes
        if "prefixes" in values:
            _, its = _check_prefixes(values["prefixes"])
            if prefixes.subtract(row.prefixes, its):
                raise errors.IllegalSubnetPoolPrefixUpdate(reason="Existing prefixes must be a subset of the new ones")
            values["prefixes"] = its
        if any(name in values for name in _LENGTHS):
            values |= _check_lengths(row.ip_version, {name: values.get(name, row._mapping[name])
                                                      for name in _LENGTHS})
        await check_scope(neutron, ctx, tx, values.get("address_scope_id", row.address_scope_id), row.ip_version,
                           its, pool_id)
        if values.get("is_default"):
            await _check_default(tx, row.ip_version, pool_id)
        await touch(tx, table, pool_id, **values)
        return _record(await load(neutron, ctx, tx, pool_id))


async def change_prefixes(neutron: Neutron, ctx: Context, pool_id: str, named: list[str], add: bool) -> list[str]:
    """Add prefixes to a pool, or remove some in which no subnet lies; the prefixes then."""
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, pool_id)
        access.authorize(neutron, ctx, "add_prefixes" if add else "remove_prefixes", dict(row._mapping))
        version, its = _check_prefixes(named)
        if version != row.ip_version:
            raise errors.InvalidInput(reason=f"The pool's prefixes are of IP version {row.ip_version}")
        if not add and prefixes.overlap(its, await used(tx, pool_id)):
            raise errors.IllegalSubnetPoolPrefixUpdate(reason="One or more removed prefixes are in use by subnets")
        then = prefixes.compact([*row.prefixes, *its]) if add else prefixes.subtract(row.prefixes, its)
        await check_scope(neutron, ctx, tx, row.address_scope_id, version, then, pool_id)
        await touch(tx, table, pool_id, prefixes=then)
        return then


async def delete_subnetpool(neutron: Neutron, ctx: Context, pool_id: str, expected: int | None = None) -> None:
    """Remove a pool of which no subnet is left."""
    rbac = models.rbac_policies
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, pool_id)
        access.check_revision(row, expected)
        access.authorize(neutron, ctx, "delete_subnetpool", dict(row._mapping))
        if await used(tx, pool_id):
            raise errors.SubnetPoolDeleteError(reason="Subnet pool has existing allocations")
        await tx.execute(sa.delete(rbac).where(rbac.c.object_type == "subnetpool", rbac.c.object_id == pool_id))
        await tx.execute(sa.delete(table).where(table.c.id == pool_id))


# ---- subnets that are cut from pools

async def used(tx: Tx, pool_id: str) -> list[str]:
    """The networks that the pool gave to subnets."""
    return list(await tx.scalars(sa.select(models.subnets.c.cidr).where(models.subnets.c.subnetpool_id == pool_id)))


async def choose(neutron: Neutron, ctx: Context, tx: Tx, values: dict[str, Any]) -> str | None:
    """The pool of a new subnet: the one that it names, the default one if it says so, or none."""
    pool_id: str | None = values["subnetpool_id"]
    if values["use_default_subnetpool"] and pool_id is None:
        pool_id = await tx.scalar(sa.select(table.c.id).where(table.c.is_default,
                                                              table.c.ip_version == values["ip_version"]))
        if pool_id is None:
            raise errors.BadRequest(resource="subnets", reason="No default subnetpool found for IPv"
                                                               f"{values['ip_version']}")
    if pool_id is not None:
        await load(neutron, ctx, tx, pool_id)
    await _check_affinity(tx, values, pool_id)
    return pool_id


async def _check_affinity(tx: Tx, values: dict[str, Any], pool_id: str | None) -> None:
    """Subnets of one version on a network are all of one pool, or of none."""
    subnets = models.subnets
    others = await tx.scalars(sa.select(subnets.c.subnetpool_id).where(
        subnets.c.network_id == values["network_id"], subnets.c.ip_version == values["ip_version"]).distinct())
    if any(other != pool_id for other in others):
        raise errors.NetworkSubnetPoolAffinityError()


async def take(tx: Tx, values: dict[str, Any]) -> None:
    """Give a new subnet its network from its pool: the one it names, or the first free of its length."""
    pool = await tx.first(sa.select(table).where(table.c.id == values["subnetpool_id"]))
    assert pool is not None
    if pool.ip_version != values["ip_version"]:
        raise errors.BadRequest(resource="subnets", reason=f"Cannot allocate IPv{values['ip_version']} subnet from IPv"
                                                           f"{pool.ip_version} subnet pool")
    if values["cidr"] is not None and values["prefixlen"] is not None:
        raise errors.BadRequest(resource="subnets", reason="cidr and prefixlen must not be supplied together")
    asked = ipaddress.ip_network(values["cidr"]) if values["cidr"] is not None else None
    length = asked.prefixlen if asked is not None else values["prefixlen"]
    length = pool.default_prefixlen if length is None else length
    if length > pool.max_prefixlen:
        raise errors.MaxPrefixSubnetAllocationError(prefixlen=length, max_prefixlen=pool.max_prefixlen)
    if length < pool.min_prefixlen:
        raise errors.MinPrefixSubnetAllocationError(prefixlen=length, min_prefixlen=pool.min_prefixlen)
    taken = await used(tx, pool.id)
    await _check_quota(tx, pool, values["project_id"], length)
    if asked is not None:
        if not prefixes.covers(pool.prefixes, asked) or prefixes.overlap([str(asked)], taken):
            raise errors.SubnetAllocationError(reason="Cannot allocate requested subnet from the available set of "
                                                      "prefixes")
        return
    free = prefixes.first_free(pool.prefixes, length, taken)
    if free is None:
        raise errors.SubnetAllocationError(reason=f"Insufficient prefix space to allocate subnet size /{length}")
    values["cidr"] = free


async def _check_quota(tx: Tx, pool: Any, project_id: str, length: int) -> None:
    """A project's addresses of the pool stay within its quota (IPv4: addresses, IPv6: /64 networks)."""
    if pool.default_quota is None:
        return
    subnets = models.subnets
    mine = await tx.scalars(sa.select(subnets.c.cidr).where(subnets.c.subnetpool_id == pool.id,
                                                            subnets.c.project_id == project_id))
    unit = 32 if pool.ip_version == 4 else 64
    units = sum(2 ** max(0, unit - ipaddress.ip_network(cidr).prefixlen) for cidr in mine)
    if units + 2 ** max(0, unit - length) > pool.default_quota:
        raise errors.SubnetPoolQuotaExceeded()
