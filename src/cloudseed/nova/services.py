"""Service records: which nova part runs on which host, whether it is up, and whether an operator disabled it.

A part is up when its last word is recent (`alive_since`) and nobody forced it down.  nova-compute reports over the bus
(the conductor writes it); the controllers of this process report here.
"""

from __future__ import annotations

import datetime
import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Invalid, NotFound
from cloudseed.kernel.last_words import LastWords
from cloudseed.nova.models import aggregate_hosts, aggregates, compute_nodes, servers, services

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

ServiceRecord = sa.Row[Any]


def moment(nova: Nova) -> datetime.datetime:
    """Now, by the clock of all who share nova's database: when a report came, and what is compared with that."""
    return datetime.datetime.fromtimestamp(nova.db.now(), datetime.UTC)


def alive_since(nova: Nova) -> datetime.datetime:
    """The earliest last word of a part that still counts as up."""
    return datetime.datetime.fromtimestamp(nova.hearing.since(), datetime.UTC)


def last_words(nova: Nova) -> LastWords:
    """Of computes and controllers; computes speak over the bus."""
    return LastWords(nova.db, nova.hearing, services.c.last_seen_at, only=services.c.binary == "nova-compute",
                     kept=lambda seconds: datetime.datetime.fromtimestamp(seconds, datetime.UTC),
                     seconds=lambda kept: float(kept.timestamp()))


def is_up(record: Any, since: datetime.datetime) -> bool:
    """Whether a service (a row of `services`) is alive; `since` as `alive_since` says."""
    return not record.forced_down and record.last_seen_at is not None and bool(record.last_seen_at >= since)


async def touch(nova: Nova, tx: Tx, host: str, binary: str) -> None:
    """Note that a part reported; its record is made on the first report."""
    now = moment(nova)
    seen = await tx.execute(sa.update(services).where(services.c.host == host, services.c.binary == binary)
                            .values(last_seen_at=now))
    if seen.rowcount == 0:
        await tx.execute(sa.insert(services).values(
            id=str(uuid.uuid4()), host=host, binary=binary, disabled=False, forced_down=False, last_seen_at=now,
            created_at=now, updated_at=now))


async def report_controllers(nova: Nova) -> None:
    """This process's conductor and scheduler are alive."""
    async with nova.db.write() as tx:
        for binary in ("nova-conductor", "nova-scheduler"):
            await touch(nova, tx, nova.config.host, binary)


async def list_services(nova: Nova, *, host: str | None = None,
                        binary: str | None = None) -> tuple[list[ServiceRecord], dict[str, str]]:
    """Services, and the availability zone of each compute host."""
    query = sa.select(services).order_by(services.c.created_at, services.c.binary, services.c.host)
    if host is not None:
        query = query.where(services.c.host == host)
    if binary is not None:
        query = query.where(services.c.binary == binary)
    async with nova.db.read() as tx:
        return list(await tx.all(query)), await zones_by_host(tx)


_ZONES = sa.select(aggregate_hosts.c.host, aggregates.c.metadata).select_from(
    aggregate_hosts.join(aggregates, aggregates.c.id == aggregate_hosts.c.aggregate_id))


async def zones_by_host(tx: Tx) -> dict[str, str]:
    """host -> the availability zone that an aggregate gives it (hosts without one are in DEFAULT_ZONE)."""
    rows = await tx.all(_ZONES)
    return {row.host: row.metadata["availability_zone"] for row in rows if row.metadata.get("availability_zone")}


async def get_service(nova: Nova, service_id: str) -> ServiceRecord:
    async with nova.db.read() as tx:
        row = await tx.first(sa.select(services).where(services.c.id == service_id))
    if row is None:
        raise NotFound(f"Service {service_id} could not be found.")
    return row


async def find_service(nova: Nova, host: str, binary: str) -> ServiceRecord:
    """By host and binary, as microversions before 2.53 name it."""
    async with nova.db.read() as tx:
        row = await tx.first(sa.select(services).where(services.c.host == host, services.c.binary == binary))
    if row is None:
        raise NotFound(f"Could not find binary {binary} on host {host}.")
    return row


async def update_service(nova: Nova, service_id: str, values: dict[str, Any]) -> ServiceRecord:
    """Enable, disable (with a reason) or force down a nova-compute."""
    record = await get_service(nova, service_id)
    if record.binary != "nova-compute":
        raise Invalid(f"Updating a {record.binary} service is not supported. Only nova-compute services can be "
                      "updated.")
    async with nova.db.write() as tx:
        await tx.execute(sa.update(services).where(services.c.id == service_id)
                         .values(**values, updated_at=utcnow()))
    return await get_service(nova, service_id)


async def delete_service(nova: Nova, service_id: str) -> None:
    """Forget a part that is gone for good.  Conflict while servers are on its host."""
    record = await get_service(nova, service_id)
    async with nova.db.write() as tx:
        if record.binary == "nova-compute":
            count = await tx.scalar(sa.select(sa.func.count()).select_from(servers).where(
                servers.c.host == record.host, servers.c.deleted_at.is_(None)))
            if count:
                raise Conflict(f"Unable to delete compute service that is hosting instances. Migrate or delete "
                               f"the instances first. ({count} on {record.host})")
            await tx.execute(sa.delete(compute_nodes).where(compute_nodes.c.host == record.host))
            await tx.execute(sa.delete(aggregate_hosts).where(aggregate_hosts.c.host == record.host))
        await tx.execute(sa.delete(services).where(services.c.id == service_id))
