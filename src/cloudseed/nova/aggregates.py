"""Host aggregates: named sets of compute hosts with metadata; `availability_zone` in it makes a zone of one."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Invalid, NotFound
from cloudseed.nova.models import aggregate_hosts, aggregates, servers, services

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

Aggregate = tuple[sa.Row[Any], list[str]]  # the record, and its hosts
ZONE = "availability_zone"


async def list_aggregates(nova: Nova) -> list[Aggregate]:
    async with nova.db.read() as tx:
        hosts: dict[int, list[str]] = {}
        for row in await tx.all(sa.select(aggregate_hosts).order_by(aggregate_hosts.c.host)):
            hosts.setdefault(row.aggregate_id, []).append(row.host)
        return [(row, hosts.get(row.id, [])) for row in
                await tx.all(sa.select(aggregates).order_by(aggregates.c.id))]


async def _get(tx: Tx, aggregate_id: int) -> Aggregate:
    row = await tx.first(sa.select(aggregates).where(aggregates.c.id == aggregate_id))
    if row is None:
        raise NotFound(f"Aggregate {aggregate_id} could not be found.")
    return row, list(await tx.scalars(sa.select(aggregate_hosts.c.host).where(
        aggregate_hosts.c.aggregate_id == aggregate_id).order_by(aggregate_hosts.c.host)))


async def get_aggregate(nova: Nova, aggregate_id: int) -> Aggregate:
    async with nova.db.read() as tx:
        return await _get(tx, aggregate_id)


async def create_aggregate(nova: Nova, name: str, zone: str | None) -> Aggregate:
    async with nova.db.write() as tx:
        await _check_name(tx, name, None)
        made = await tx.execute(sa.insert(aggregates).values(
            uuid=str(uuid.uuid4()), name=name, metadata={ZONE: zone} if zone else {}, created_at=utcnow()))
        assert made.inserted_primary_key is not None
        return await _get(tx, made.inserted_primary_key[0])


async def _check_name(tx: Tx, name: str, own_id: int | None) -> None:
    taken = await tx.scalar(sa.select(aggregates.c.id).where(aggregates.c.name == name))
    if taken is not None and taken != own_id:
        raise Conflict(f"Aggregate {name} already exists.")


async def update_aggregate(nova: Nova, aggregate_id: int, name: str | None, metadata: dict[str, str | None],
                           ) -> Aggregate:
    """Rename, and set metadata items; a null takes one away."""
    async with nova.db.write() as tx:
        row, hosts = await _get(tx, aggregate_id)
        if name is not None:
            await _check_name(tx, name, aggregate_id)
        merged = {**row.metadata, **metadata}
        kept = {key: value for key, value in merged.items() if value is not None}
        if kept.get(ZONE) != row.metadata.get(ZONE):
            await _check_zone(tx, aggregate_id, hosts, kept.get(ZONE))
        await tx.execute(sa.update(aggregates).where(aggregates.c.id == aggregate_id).values(
            name=name or row.name, metadata=kept, updated_at=utcnow()))
        return await _get(tx, aggregate_id)


async def _check_zone(tx: Tx, aggregate_id: int, hosts: list[str], zone: str | None) -> None:
    """A host is in one zone at most, and its zone does not change under its servers."""
    if not hosts:
        return
    joined = aggregate_hosts.join(aggregates, aggregates.c.id == aggregate_hosts.c.aggregate_id)
    for row in await tx.all(sa.select(aggregate_hosts.c.host, aggregates.c.metadata).select_from(joined).where(
            aggregate_hosts.c.host.in_(hosts), aggregate_hosts.c.aggregate_id != aggregate_id)):
        other = row.metadata.get(ZONE)
        if zone and other and other != zone:
            raise Conflict(f"Host {row.host} already exists in availability zone {other}.")
    if await tx.scalar(sa.select(sa.func.count()).select_from(servers).where(
            servers.c.host.in_(hosts), servers.c.deleted_at.is_(None))):
        raise Invalid(f"Cannot update aggregate {aggregate_id}. Reason: One or more hosts contain instances in this "
                      "zone.")


async def delete_aggregate(nova: Nova, aggregate_id: int) -> None:
    async with nova.db.write() as tx:
        _, hosts = await _get(tx, aggregate_id)
        if hosts:
            raise Invalid(f"Cannot remove host from aggregate {aggregate_id}. Reason: Host aggregate is not empty.")
        await tx.execute(sa.delete(aggregates).where(aggregates.c.id == aggregate_id))


async def add_host(nova: Nova, aggregate_id: int, host: str) -> Aggregate:
    async with nova.db.write() as tx:
        row, hosts = await _get(tx, aggregate_id)
        await _check_host(tx, host)
        if host in hosts:
            raise Conflict(f"Aggregate {aggregate_id} already has host {host}.")
        if row.metadata.get(ZONE):
            joined = aggregate_hosts.join(aggregates, aggregates.c.id == aggregate_hosts.c.aggregate_id)
            for other in await tx.all(sa.select(aggregates.c.metadata).select_from(joined).where(
                    aggregate_hosts.c.host == host)):
                if other.metadata.get(ZONE) not in (None, row.metadata[ZONE]):
                    raise Conflict(f"Cannot add host to aggregate {aggregate_id}. Reason: One or more hosts already "
                                   f"in availability zone(s) [{other.metadata[ZONE]!r}].")
        await tx.execute(sa.insert(aggregate_hosts).values(aggregate_id=aggregate_id, host=host))
        return await _get(tx, aggregate_id)


async def remove_host(nova: Nova, aggregate_id: int, host: str) -> Aggregate:
    async with nova.db.write() as tx:
        await _get(tx, aggregate_id)
        await _check_host(tx, host)
        gone = await tx.execute(sa.delete(aggregate_hosts).where(
            aggregate_hosts.c.aggregate_id == aggregate_id, aggregate_hosts.c.host == host))
        if gone.rowcount == 0:
            raise NotFound(f"Aggregate {aggregate_id} has no host {host}.")
        return await _get(tx, aggregate_id)


async def _check_host(tx: Tx, host: str) -> None:
    if await tx.first(sa.select(services.c.id).where(services.c.host == host,
                                                     services.c.binary == "nova-compute")) is None:
        raise NotFound(f"Compute host {host} could not be found.")
