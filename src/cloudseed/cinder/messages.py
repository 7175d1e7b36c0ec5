"""User messages: why something failed after its request was answered."""

from __future__ import annotations

import datetime
import uuid

import sqlalchemy as sa

from cloudseed.cinder.models import messages
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow

KEPT_FOR = datetime.timedelta(days=30)
# what was tried -> upstream's number of it
ACTIONS = {"schedule allocate volume": "001", "attach volume": "002", "copy volume to image": "003",
           "update attachment": "004", "copy image to volume": "005", "extend volume": "007",
           "create volume from backend storage": "008", "create snapshot": "009", "delete snapshot": "010",
           "create backup": "013", "delete backup": "014", "restore backup": "015", "reimage volume": "016",
           "delete volume": "017", "revert volume to snapshot": "018"}


async def add(tx: Tx, ctx: Context, project_id: str, action: str, resource_type: str, resource_id: str,
              reason: str, *, operation_id: str) -> None:
    """Note a failure.  One message for an operation and resource, however often it is told."""
    number = ACTIONS[action]
    message_id = str(uuid.uuid5(uuid.UUID(operation_id), resource_id))
    if await tx.scalar(sa.select(messages.c.id).where(messages.c.id == message_id)):
        return
    now = utcnow()
    await tx.execute(sa.delete(messages).where(messages.c.expires_at < now))
    await tx.execute(sa.insert(messages).values(
        id=message_id, project_id=project_id, request_id=ctx.request_id, resource_type=resource_type,
        resource_uuid=resource_id, event_id=f"VOLUME_{resource_type}_{number}_001", action_id=number, detail_id="001",
        user_message=f"{action}: {reason}", message_level="ERROR", expires_at=now + KEPT_FOR, created_at=now))
