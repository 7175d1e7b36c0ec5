"""Object versions (X-Versions-Location): what is overwritten or deleted is kept in another container.

`X-Versions-Location: archive` on a container: overwriting moves the old object to
`archive/<length of the name, 3 hex digits><name>/<its timestamp>`; deleting brings the latest of those back.
`X-History-Location` keeps what is deleted too, and brings nothing back.  Moving is a change of the row.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.swift.containers import find_container
from cloudseed.swift.errors import Precondition
from cloudseed.swift.listings import after
from cloudseed.swift.models import objects
from cloudseed.swift.store import Target

STACK, HISTORY = "x-versions-location", "x-history-location"


def archive_prefix(name: str) -> str:
    """Below what an object's versions lie in their container."""
    return f"{len(name):03x}{name}/"


async def archive_of(tx: Tx, container: Any) -> Any | None:
    """The row of the container that keeps `container`'s versions; None when it keeps none.

    Raises Precondition (412) when that container is gone, as swift.
    """
    location = container.metadata.get(STACK) or container.metadata.get(HISTORY)
    if not location:
        return None
    found = await find_container(tx, Target(container.account, location.partition("/")[0]))
    if found is None:
        raise Precondition(f"The container for versions, {location}, does not exist.")
    return found


async def keep(tx: Tx, container: Any, row: Any) -> bool:
    """Move `row` into its container's archive; False when there is none."""
    archive = await archive_of(tx, container)
    if archive is None or archive.id == container.id:
        return False
    name = f"{archive_prefix(row.name)}{row.created_at:016.5f}"
    await tx.execute(sa.delete(objects).where(objects.c.container_id == archive.id, objects.c.name == name))
    await tx.execute(sa.update(objects).where(objects.c.id == row.id).values(container_id=archive.id, name=name))
    return True


async def restore(tx: Tx, container: Any, name: str) -> None:
    """Bring the latest kept version of `name` back (stack mode only)."""
    if container.metadata.get(HISTORY):
        return
    archive = await archive_of(tx, container)
    if archive is None:
        return
    prefix = archive_prefix(name)
    latest = await tx.scalar(
        sa.select(objects.c.id).where(objects.c.container_id == archive.id, objects.c.name >= prefix,
                                      objects.c.name < after(prefix)).order_by(objects.c.name.desc()).limit(1))
    if latest is not None:
        await tx.execute(sa.update(objects).where(objects.c.id == latest).values(container_id=container.id, name=name))
