"""Quotas of containers and accounts, checked when an upload begins (by its announced size) and when it ends."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.swift import accounts as account_functions
from cloudseed.swift import containers as container_functions
from cloudseed.swift.errors import TooLarge
from cloudseed.swift.models import accounts


async def check(tx: Tx, container: Any, size: int, replaced: int | None) -> None:
    """Raise TooLarge (413) when an object of `size` bytes does not fit in `container` (its row) any more.

    `replaced`: the size of the object whose place it takes, None when it is new.
    """
    byte_limit = container.metadata.get(container_functions.QUOTA_BYTES)
    count_limit = container.metadata.get(container_functions.QUOTA_COUNT)
    if byte_limit or count_limit:
        used = await container_functions.usage(tx, container.id)
        if byte_limit and used.bytes - (replaced or 0) + size > int(byte_limit):
            raise TooLarge(f"Upload exceeds quota: the container may hold {byte_limit} bytes.")
        if count_limit and used.objects + (replaced is None) > int(count_limit):
            raise TooLarge(f"Upload exceeds quota: the container may hold {count_limit} objects.")
    meta = await tx.scalar(sa.select(accounts.c.metadata).where(accounts.c.name == container.account))
    limits = {name: int(value) for name in account_functions.QUOTAS if (value := (meta or {}).get(name))}
    if not limits:
        return
    used_objects, used_bytes = await account_functions.usage(tx, container.account)
    for name, limit in limits.items():
        if name == account_functions.QUOTA_COUNT:
            if used_objects + (replaced is None) > limit:
                raise TooLarge(f"Upload exceeds quota: the account may hold {limit} objects.")
        elif used_bytes - (replaced or 0) + size > limit:
            raise TooLarge(f"Upload exceeds quota: the account may hold {limit} bytes.")
