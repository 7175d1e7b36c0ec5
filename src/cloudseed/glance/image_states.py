"""The states of an image, and the transitions that there are.

    queued --upload--> saving --stored--> active <--reactivate-- deactivated
      ^ \\--stage--> uploading --import--> importing --stored--> active --deactivate--> deactivated
      |---- upload or import failed ----|
    any --delete--> deleted          (`killed`, `pending_delete` are upstream's; nothing leads there here)

`saving`, `uploading` belong to a request in flight, `importing` to an operation: when their owner dies, the
operation engine undoes the work and the image is `queued` again (`uploading`: what was staged stays).
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from cloudseed.glance.errors import BadTransition, ImageNotFound
from cloudseed.glance.models import images
from cloudseed.kernel.db import Tx, utcnow

STATES = ("queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated")
TRANSIENT = ("saving", "importing")
ALLOWED: dict[str, frozenset[str]] = {
    "queued": frozenset({"saving", "uploading", "deleted"}),
    "saving": frozenset({"active", "queued", "deleted"}),
    "uploading": frozenset({"importing", "queued", "deleted"}),
    "importing": frozenset({"active", "queued", "deleted"}),
    "active": frozenset({"deactivated", "deleted"}),
    "deactivated": frozenset({"active", "deleted"}),
}


async def move(tx: Tx, image_id: str, old: Collection[str], new: str, **values: Any) -> bool:
    """Move an image from one of the states `old` to `new`.  False when it is in none of them."""
    assert all(new in ALLOWED[state] for state in old), (old, new)
    moved = await tx.execute(sa.update(images).where(images.c.id == image_id, images.c.status.in_(tuple(old)))
                             .values(status=new, status_since=time.time(), updated_at=utcnow(), **values))
    return moved.rowcount == 1


async def require_move(tx: Tx, image_id: str, old: Collection[str], new: str, **values: Any) -> None:
    """As `move`; raises BadTransition (409) that names the state it is in, or ImageNotFound."""
    if not await move(tx, image_id, old, new, **values):
        state = await tx.scalar(sa.select(images.c.status).where(images.c.id == image_id))
        if state in (None, "deleted"):
            raise ImageNotFound(image_id=image_id)
        raise BadTransition(old=state, new=new)
