"""Keeps disk and database in agreement: files whose row is gone, rows past their X-Delete-At, orphans.

A file may be removed only when the transaction that let go of it is durable: a power cut would otherwise
bring the row back without its bytes.
"""

from __future__ import annotations

import logging
import time

import sqlalchemy as sa

from cloudseed.swift.accounts import discard
from cloudseed.swift.models import objects, trash
from cloudseed.swift.store import Swift

log = logging.getLogger(__name__)
BATCH = 500


async def sync_files(swift: Swift) -> None:
    """One round: expire objects, then empty the trash."""
    await expire_objects(swift)
    await empty_trash(swift)


async def expire_objects(swift: Swift) -> None:
    """Delete objects whose X-Delete-At has passed (they answer 404 already)."""
    now = time.time()
    async with swift.db.read() as tx:
        due = await tx.scalar(sa.select(objects.c.id).where(objects.c.delete_at <= now).limit(1))
    if due is not None:
        async with swift.db.write() as tx:
            await discard(tx, objects.c.delete_at <= now)


async def empty_trash(swift: Swift) -> None:
    while True:
        async with swift.db.read() as tx:
            names = list(await tx.scalars(sa.select(trash.c.file).limit(BATCH)))
        if not names:
            return
        await swift.db.durable()
        await swift.files.remove(names)
        async with swift.db.write() as tx:
            await tx.execute(sa.delete(trash).where(trash.c.file.in_(names)))


async def sweep_orphans(swift: Swift) -> int:
    """Remove files that no row names and that are older than this process: what a killed process left between
    its rename and its commit.  Returns how many."""
    removed = 0
    for batch in swift.files.batches():
        old = [name for name, mtime in batch if mtime < swift.started_at - 1.0]
        for start in range(0, len(old), BATCH):
            part = old[start:start + BATCH]
            async with swift.db.read() as tx:
                known = set(await tx.scalars(sa.select(objects.c.file).where(objects.c.file.in_(part))))
            orphans = [name for name in part if name not in known]
            if orphans:
                log.warning("removing %d files that no object names", len(orphans))
                await swift.db.durable()
                await swift.files.remove(orphans)
                removed += len(orphans)
    return removed
