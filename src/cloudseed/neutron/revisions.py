"""Every change of a row with the standard attributes grows its revision number."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron.server import now


async def touch(tx: Tx, of: sa.Table, id: str, **changes: Any) -> None:
    """Write changes of a row and count them: every change grows the revision number."""
    await tx.execute(sa.update(of).where(of.c.id == id).values(
        updated_at=now(), revision_number=of.c.revision_number + 1, **changes))
