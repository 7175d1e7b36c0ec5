"""What cinder holds, for the audit, and the story of one volume."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.cinder import services
from cloudseed.cinder.models import attachments, backups, snapshots, volumes
from cloudseed.cinder.state import Cinder

_VOLUMES = (volumes.c.id, volumes.c.project_id, volumes.c.status, volumes.c.host, volumes.c.size, volumes.c.multiattach,
            volumes.c.group_id, volumes.c.status_since.label("since"))
_ATTACHMENTS = (attachments.c.id, attachments.c.volume_id, attachments.c.project_id,
                attachments.c.instance_uuid.label("server_id"), attachments.c.attach_status.label("status"),
                attachments.c.attach_mode.label("mode"), attachments.c.attached_host.label("host"),
                attachments.c.connection_info.is_not(None).label("exported"),
                attachments.c.status_since.label("since"))
_SNAPSHOTS = (snapshots.c.id, snapshots.c.volume_id, snapshots.c.project_id, snapshots.c.status,
              snapshots.c.group_snapshot_id, snapshots.c.volume_size.label("size"),
              snapshots.c.status_since.label("since"))
_BACKUPS = (backups.c.id, backups.c.volume_id, backups.c.project_id, backups.c.status, backups.c.host,
            backups.c.container, backups.c.location, backups.c.parent_id, backups.c.snapshot_id,
            backups.c.restore_volume_id, backups.c.status_since.label("since"))

_ON_HOSTS = ("cinder-volume", "cinder-backup")


async def picture(cinder: Cinder) -> dict[str, Any]:
    """Lists by name: volumes, attachments, snapshots, backups, agents; sizes in GiB, times in Unix seconds."""
    async with cinder.db.read() as tx:
        agents = [{"host": row.host, "binary": row.binary, "up": services.is_up(cinder, row)}
                  for row in await services.list_services(tx) if row.binary in _ON_HOSTS]
        return {"agents": agents,
                **{name: [dict(row._mapping) for row in await tx.all(sa.select(*columns))]
                   for name, columns in (("volumes", _VOLUMES), ("attachments", _ATTACHMENTS),
                                         ("snapshots", _SNAPSHOTS), ("backups", _BACKUPS))}}


async def explain(cinder: Cinder, kind: str, name: str) -> dict[str, Any] | None:
    """A volume's, snapshot's or backup's operations, by id or by name."""
    table = {"volume": volumes, "snapshot": snapshots, "backup": backups}.get(kind)
    if table is None:
        return None
    async with cinder.db.read() as tx:
        row = await tx.first(sa.select(table.c.id, table.c.name, table.c.status)
                             .where(sa.or_(table.c.id == name, table.c.name == name))
                             .order_by(table.c.created_at.desc()))
    operations = await cinder.engine.story(row.id if row is not None else name)
    if row is None and not operations:
        return None
    known = dict(row._mapping) if row is not None else {"id": name, "name": None, "status": "deleted"}
    return {kind: known, "operations": operations}
