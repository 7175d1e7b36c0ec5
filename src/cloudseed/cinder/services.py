"""The services that reported (os-services), the pools that they offer, and the choice among them."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.cinder.models import services
from cloudseed.cinder.state import DEFAULT_ZONE, Cinder
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Invalid, NoCapacity
from cloudseed.kernel.last_words import LastWords


async def report(cinder: Cinder, host: str, binary: str, capabilities: dict[str, Any]) -> None:
    """What a part says of itself, now and again; its first word makes it known."""
    now = cinder.db.now()
    async with cinder.db.write() as tx:
        changed = await tx.execute(
            sa.update(services).where(services.c.host == host, services.c.binary == binary)
            .values(reported_at=now, capabilities=capabilities))
        if changed.rowcount == 0:
            await tx.execute(sa.insert(services).values(
                host=host, binary=binary, uuid=str(uuid.uuid4()), availability_zone=DEFAULT_ZONE, disabled=False,
                frozen=False, reported_at=now, capabilities=capabilities, created_at=utcnow()))


def is_up(cinder: Cinder, row: Any) -> bool:
    """Whether its last word is recent, by the clock of those who share the database: never by one of its own."""
    return bool(row.reported_at >= cinder.hearing.since())


def last_words(cinder: Cinder) -> LastWords:
    """Of managers and schedulers; managers speak over the bus."""
    return LastWords(cinder.db, cinder.hearing, services.c.reported_at, only=services.c.binary != "cinder-scheduler")


async def list_services(tx: Tx, binary: str | None = None, host: str | None = None) -> list[Any]:
    statement = sa.select(services).order_by(services.c.binary, services.c.host)
    if binary:
        statement = statement.where(services.c.binary == binary)
    if host:
        statement = statement.where(services.c.host == host)
    return list(await tx.all(statement))


async def zones(tx: Tx) -> dict[str, bool]:
    """Availability zones of volume managers; whether one in it is enabled."""
    found: dict[str, bool] = {}
    for row in await list_services(tx, "cinder-volume"):
        found[row.availability_zone] = found.get(row.availability_zone, False) or not row.disabled
    return found or {DEFAULT_ZONE: True}


async def check_zone(tx: Tx, name: str | None) -> str:
    """The zone that a new thing goes to.  Raises Invalid for one that is not there."""
    known = await zones(tx)
    if name is None:
        return DEFAULT_ZONE if DEFAULT_ZONE in known else next(iter(known))
    if name not in known:
        raise Invalid(f"Availability zone '{name}' is invalid.")
    return name


def _fits(cinder: Cinder, row: Any, size: int, extra_specs: dict[str, str]) -> str | None:
    """Why a manager cannot take a volume of `size` GiB; None when it can."""
    capabilities = row.capabilities
    if row.disabled:
        return "disabled"
    if row.frozen:
        return "frozen"
    if not is_up(cinder, row):
        return "down"
    free = capabilities.get("free_capacity_gb")
    if isinstance(free, int | float) and free < size:
        return f"only {free:g} GiB are free"
    wanted = extra_specs.get("volume_backend_name")
    if wanted is not None and capabilities.get("volume_backend_name") != wanted:
        return f"its volume_backend_name is not {wanted}"
    return None


async def choose_host(cinder: Cinder, ctx: Context, *, size: int, zone: str, extra_specs: dict[str, str]) -> str:
    """cinder-scheduler's one question: which manager takes a volume.  Raises NoCapacity that says why none does."""
    async with cinder.db.read() as tx:
        rows = [row for row in await list_services(tx, "cinder-volume") if row.availability_zone == zone]
    refused = {row.host: _fits(cinder, row, size, extra_specs) for row in rows}
    able = [row for row in rows if refused[row.host] is None]
    if not able:
        reasons = "; ".join(f"{host}: {why}" for host, why in refused.items()) or f"there is none in zone {zone}"
        raise NoCapacity(f"No valid backend was found for a volume of {size} GiB ({reasons}).")
    best = max(able, key=lambda row: (float(row.capabilities.get("free_capacity_gb") or 0), row.host))
    return str(best.host)


def full_name(host: str, backend: str = "files") -> str:
    """A manager's one pool, in upstream's form: host@backend#pool."""
    return f"{host}@{backend}#{backend}"


def pool_name(row: Any) -> str:
    """As `full_name`, by what the manager itself says of its backend."""
    return full_name(row.host, row.capabilities.get("volume_backend_name") or "files")
