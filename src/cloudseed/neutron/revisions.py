"""Every change of a row with the standard attributes grows its revision number."""

from __future__ import annotations

import functools
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron.server import now


async def touch(tx: Tx, of: sa.Table, id: str, **changes: Any) -> None:
    """Write changes of a row and count them: every change grows the revision number."""
    await tx.execute(_touch(of), {"this": id, "moment": now(), **changes})


@functools.lru_cache(64)  # building a statement costs more than running it
def _touch(of: sa.Table) -> sa.Update:
    return sa.update(of).where(of.c.id == sa.bindparam("this")).values(
        updated_at=sa.bindparam("moment"), revision_number=of.c.revision_number + 1)
