"""Images of servers: createImage and createBackup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import quotas, server_snapshots
from cloudseed.nova.api.body import as_type, check_name, check_range
from cloudseed.nova.api.server_bodies import check_metadata
from cloudseed.nova.server_snapshots import SnapshotOrder

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class CreateImage(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    metadata: dict[str, str] = {}

    def __post_init__(self) -> None:
        check_name(self.name)
        check_metadata(self.metadata)


class CreateBackup(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    backup_type: str
    rotation: int
    metadata: dict[str, str] = {}

    def __post_init__(self) -> None:
        check_name(self.name)
        check_metadata(self.metadata)
        check_range(self.rotation, "rotation")
        if len(self.backup_type) > 255 or "\x00" in self.backup_type:
            raise ValueError("Invalid input for field/attribute backup_type. It is longer than 255 characters or holds "
                             "a NUL character")


async def create_image(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order = as_type(value, CreateImage, "createImage")
    await _check_quota(nova, req, order.metadata)
    image_id = await server_snapshots.create_image(
        nova, req.ctx, server_id, SnapshotOrder(name=order.name, metadata=order.metadata))
    _answer(req, resp, image_id)


async def create_backup(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order = as_type(value, CreateBackup, "createBackup")
    await _check_quota(nova, req, order.metadata)
    image_id = await server_snapshots.create_image(nova, req.ctx, server_id, SnapshotOrder(
        name=order.name, metadata=order.metadata, backup_type=order.backup_type, rotation=order.rotation))
    _answer(req, resp, image_id, location=order.rotation > 0)


async def _check_quota(nova: Nova, req: Request, metadata: dict[str, str]) -> None:
    """Nova's quota of metadata counted for images until its image proxy went."""
    if req.microversion < (2, 39):
        await quotas.check_request(nova, req.ctx, metadata, [])


def _answer(req: Request, resp: Response, image_id: str, *, location: bool = True) -> None:
    """The image's id since 2.45, a `Location` before."""
    if req.microversion >= (2, 45):
        resp.media = {"image_id": image_id}
    elif location:
        base = req.base_url.removesuffix("/compute") + "/image/v2"
        resp.set_header("Location", f"{base}/images/{image_id}")


HANDLERS = {"createImage": create_image, "createBackup": create_backup}
