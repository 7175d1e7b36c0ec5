"""The volumes of a server on the shelf: kept for it in cinder, and connected to no host.

As upstream: each gets a reservation, then loses the attachment that its host had, so that it shows as `reserved`
and its export is gone.  Whoever brings the server back connects the reservation.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cloudseed.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.kernel.operations import Run
from cloudseed.nova import block_devices
from cloudseed.nova.compute.volumes import Volumes
from cloudseed.nova.conductor.records import load_spec

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)


async def reserve_for_shelf(nova: Nova, run: Run) -> None:
    """Leave each volume of the server a reservation alone.  Safe twice: what an earlier try reserved is taken."""
    volumes = Volumes(nova.conductor_session)
    devices = [device for device in (await load_spec(nova, run.resource_id)).connected_volumes
               if device.volume_id is not None and device.attachment_id is not None]
    if not devices:
        return
    held = await volumes.attachments_of(run.ctx, run.resource_id)
    for device in devices:
        assert device.volume_id is not None
        mine = [attachment for attachment in held if attachment["volume_id"] == device.volume_id]
        reserved = [attachment["id"] for attachment in mine if attachment["status"] == "reserved"]
        try:
            kept = device.attachment_id if device.attachment_id in reserved else reserved[0] if reserved else \
                await volumes.reserve(run.ctx, run.resource_id, device.volume_id)
        except (Invalid, NotFound, Conflict, Forbidden) as exc:
            log.warning("volume %s of shelved server %s stays as it is: %s", device.volume_id, run.resource_id,
                        exc.message)
            continue
        async with nova.db.write() as tx:
            await block_devices.change_device(tx, run.resource_id, device.id, attachment_id=kept, connection_info=None)
        for attachment in mine:
            if attachment["id"] != kept:
                await volumes.disconnect(run.ctx, attachment["id"])
