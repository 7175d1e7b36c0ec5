"""Rescue and unrescue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import server_rescue
from cloudseed.nova.api.body import as_type, check_text, is_uuid, shown

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class Rescue(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    admin_password: str | None = msgspec.field(name="adminPass", default=None)
    image: str | None = msgspec.field(name="rescue_image_ref", default=None)

    def __post_init__(self) -> None:
        check_text(self.admin_password, "adminPass")
        if self.image is not None and not is_uuid(self.image):
            raise ValueError(f"Invalid input for field/attribute rescue_image_ref. Value: {shown(self.image)}. "
                             f"{shown(self.image)} is not a 'uuid'")


async def rescue(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    """The answer is a 200, as upstream's is for old clients' sake."""
    order = as_type(value, Rescue, "rescue") if value is not None else Rescue()
    password = await server_rescue.rescue_server(
        nova, req.ctx, server_id, order.image, order.admin_password, volume_backed=req.microversion >= (2, 87))
    resp.status = 200
    resp.media = {"adminPass": password}


async def unrescue(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    await server_rescue.unrescue_server(nova, req.ctx, server_id)


HANDLERS = {"rescue": rescue, "unrescue": unrescue}
