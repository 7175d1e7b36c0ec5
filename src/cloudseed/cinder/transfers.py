"""Transfers: a volume given to whoever knows the key, which is shown once and kept as a salted hash only."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudseed.cinder import quotas, volumes
from cloudseed.cinder.errors import InvalidVolume, TransferNotFound
from cloudseed.cinder.listing import Listing, Page, equals
from cloudseed.cinder.models import snapshots
from cloudseed.cinder.models import transfers as table
from cloudseed.cinder.models import volumes as volumes_table
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volume_states import move
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Invalid

LISTING = Listing(table, {key: table.c[key] for key in ("id", "name", "volume_id", "created_at")},
                  lambda marker: TransferNotFound(transfer_id=marker))
FILTERS = {"name": equals(table.c.name), "volume_id": equals(table.c.volume_id), "id": equals(table.c.id)}
KEY_BYTES, SALT_BYTES = 16, 16


class Offer(NamedTuple):
    """A new transfer and its key."""

    row: Any
    auth_key: str


def _hash(salt: str, auth_key: str) -> str:
    return hmac.new(salt.encode(), auth_key.encode(), hashlib.sha256).hexdigest()


async def _get(cinder: Cinder, tx: Tx, ctx: Context, transfer_id: str, rule: str) -> Any:
    """A transfer of the caller's own project, or anybody's for an administrator."""
    row = await tx.first(sa.select(table).where(table.c.id == transfer_id))
    target = {"project_id": row.source_project_id} if row is not None else {}
    if row is None or not cinder.policy.check("volume:get_transfer", ctx.identity, target):
        raise TransferNotFound(transfer_id=transfer_id)
    cinder.policy.enforce(rule, ctx.identity, target)
    return row


async def get_transfer(cinder: Cinder, ctx: Context, transfer_id: str) -> Any:
    async with cinder.db.read() as tx:
        return await _get(cinder, tx, ctx, transfer_id, "volume:get_transfer")


async def list_transfers(cinder: Cinder, ctx: Context, page: Page, where: Sequence[Any], *, everybody: bool
                         ) -> Sequence[Any]:
    cinder.policy.enforce("volume:get_all_transfers", ctx.identity, {"project_id": ctx.identity.project_id})
    scope = [] if everybody else [table.c.source_project_id == ctx.project_id]
    async with cinder.db.read() as tx:
        return await LISTING.rows(tx, page, where, visible=scope)


async def create_transfer(cinder: Cinder, ctx: Context, volume_id: str, name: str | None, *, no_snapshots: bool
                          ) -> Offer:
    """Offer an available volume; it can do nothing else meanwhile."""
    auth_key, salt, transfer_id = secrets.token_hex(KEY_BYTES), secrets.token_hex(SALT_BYTES), str(uuid.uuid4())
    async with cinder.db.write() as tx:
        volume = await volumes.get(cinder, tx, ctx, volume_id, "volume:create_transfer")
        if volume.group_id is not None:
            raise InvalidVolume(reason=f"volume {volume_id} belongs to the group {volume.group_id}")
        if not no_snapshots:
            await _check_snapshots(tx, volume_id)
        if not await move(tx, volume_id, ["available"], "awaiting-transfer"):
            raise InvalidVolume(reason=f"status must be available, but it is {volume.status}")
        await tx.execute(sa.insert(table).values(
            id=transfer_id, volume_id=volume_id, name=name, salt=salt, crypt_hash=_hash(salt, auth_key),
            no_snapshots=no_snapshots, source_project_id=volume.project_id, created_at=utcnow()))
        row = await tx.first(sa.select(table).where(table.c.id == transfer_id))
    return Offer(row, auth_key)


async def _check_snapshots(tx: Tx, volume_id: str) -> None:
    for row in await tx.all(sa.select(snapshots.c.id, snapshots.c.status).where(snapshots.c.volume_id == volume_id)):
        if row.status != "available":
            raise Invalid(f"Invalid snapshot: snapshot: {row.id} status must be available")


async def delete_transfer(cinder: Cinder, ctx: Context, transfer_id: str) -> None:
    async with cinder.db.write() as tx:
        row = await _get(cinder, tx, ctx, transfer_id, "volume:delete_transfer")
        await tx.execute(sa.delete(table).where(table.c.id == transfer_id))
        await move(tx, row.volume_id, ["awaiting-transfer"], "available")


async def accept_transfer(cinder: Cinder, ctx: Context, transfer_id: str, auth_key: str) -> Any:
    """Take an offered volume into the caller's project; the key is the permission."""
    cinder.policy.enforce("volume:accept_transfer", ctx.identity, {"project_id": ctx.identity.project_id})
    if not ctx.project_id:
        raise Invalid("A volume belongs to a project: use a token with a project scope.")
    async with cinder.db.write() as tx:
        row = await tx.first(sa.select(table).where(table.c.id == transfer_id))
        if row is None:
            raise TransferNotFound(transfer_id=transfer_id)
        if not hmac.compare_digest(_hash(row.salt, auth_key), row.crypt_hash):
            raise Invalid(f"Invalid auth key: Attempt to transfer {transfer_id} with invalid auth key.")
        volume = await volumes.read(tx, row.volume_id)
        assert volume is not None
        owned = snapshots.c.volume_id == volume.id
        sizes = [] if row.no_snapshots else await tx.scalars(sa.select(snapshots.c.volume_size).where(owned))
        if volume.project_id != ctx.project_id:
            await quotas.check_size(tx, ctx.project_id, volume.size)
            await quotas.check(tx, ctx.project_id, volume.type_name, {
                "volumes": 1, "gigabytes": volume.size + sum(sizes), "snapshots": len(sizes)})
        if not await move(tx, volume.id, ["awaiting-transfer"], "available"):
            raise InvalidVolume(reason=f"Volume {volume.id} is not awaiting a transfer, but {volume.status}.")
        owner = {"project_id": ctx.project_id, "user_id": ctx.user_id, "updated_at": utcnow()}
        await tx.execute(sa.update(volumes_table).where(volumes_table.c.id == volume.id).values(**owner))
        if not row.no_snapshots:
            await tx.execute(sa.update(snapshots).where(owned).values(**owner))
        await tx.execute(sa.delete(table).where(table.c.id == transfer_id))
    return row
