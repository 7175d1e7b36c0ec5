"""What several keystones of one cloud share through their database: the keys, and the news that something changed.

A single process needs neither: its keys are files (keys.py), its memory is its own.  Here the keys lie in the
database, sealed with a key from the cloud's secrets, which every control machine has: a copy of the database alone
opens nothing.  A change takes the next number in the transaction that makes it; every process looks at that number
each second, and is told sooner where it can be.
"""

from __future__ import annotations

import base64
import hashlib

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken

from cloudseed.kernel.config import ConfigError
from cloudseed.kernel.db import Database, Tx
from cloudseed.keystone.keys import KEEP, KeyRing
from cloudseed.keystone.models import changes, sealed_keys

LOOK_S = 1.0
CHANNEL = "keystone_changed"


class SharedKeys(KeyRing):
    """The keys of one purpose (`kind`), numbered as KeyRepository's.  Nothing works before `load`."""

    def __init__(self, db: Database, kind: str, secret: str, *, keep: int = KEEP) -> None:
        self._db = db
        self._kind = kind
        self._keep = keep
        self._seal = Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"keystone {secret}".encode()).digest()))

    async def load(self) -> None:
        """Read the keys, made on first use.  Raises ConfigError when they were sealed with another secret."""
        async with self._db.read() as tx:
            found = await self._read(tx)
        if len(found) < 2:
            async with self._db.write() as tx:
                found = await self._read(tx)  # another process may have been quicker
                for number in {0, 1} - found.keys() if len(found) < 2 else ():
                    found[number] = Fernet.generate_key()
                    await self._insert(tx, number, found[number])
        self._use(found)

    async def rotate(self) -> int:
        """Replace the primary key by the staged one.  Returns the new primary's number."""
        async with self._db.write() as tx:
            found = await self._read(tx)
            promoted = max(found) + 1
            found[promoted] = found[0]
            found[0] = Fernet.generate_key()
            await tx.execute(sa.delete(sealed_keys).where(sealed_keys.c.kind == self._kind, sealed_keys.c.number == 0))
            for number in (0, promoted):
                await self._insert(tx, number, found[number])
            kept = sorted(found)
            for number in kept[1:max(1, len(kept) - self._keep + 1)]:
                del found[number]
                await tx.execute(sa.delete(sealed_keys).where(sealed_keys.c.kind == self._kind,
                                                              sealed_keys.c.number == number))
            await note_change(tx)
        self._use(found)
        return promoted

    async def _read(self, tx: Tx) -> dict[int, bytes]:
        rows = await tx.all(sa.select(sealed_keys.c.number, sealed_keys.c.data).where(
            sealed_keys.c.kind == self._kind))
        try:
            return {row.number: self._seal.decrypt(row.data.encode()) for row in rows}
        except InvalidToken:
            raise ConfigError("keystone's keys in the database were sealed with another secret: this machine's secrets "
                              "are not this cloud's (cloudseed secrets --services control makes a copy)") from None

    async def _insert(self, tx: Tx, number: int, key: bytes) -> None:
        await tx.execute(sa.insert(sealed_keys).values(kind=self._kind, number=number,
                                                       data=self._seal.encrypt(key).decode()))


async def note_change(tx: Tx) -> None:
    """What this transaction changes, others may remember otherwise."""
    done = await tx.execute(sa.update(changes).values(number=changes.c.number + 1))
    if done.rowcount == 0:
        await tx.execute(sa.insert(changes).values(id=1, number=1))
    await tx.notify(CHANNEL)



async def last_change(db: Database) -> int:
    """The number of the latest change; 0 before the first."""
    async with db.look() as tx:
        return int(await tx.scalar(sa.select(changes.c.number)) or 0)
