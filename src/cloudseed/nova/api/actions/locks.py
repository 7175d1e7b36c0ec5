"""Lock and unlock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import servers
from cloudseed.nova.api.body import as_type, check_text

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class Lock(msgspec.Struct, forbid_unknown_fields=True):
    locked_reason: str | None = None

    def __post_init__(self) -> None:
        check_text(self.locked_reason, "locked_reason")


async def lock(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order = as_type(value, Lock, "lock") if value is not None and req.microversion >= (2, 73) else Lock()
    await servers.lock_server(nova, req.ctx, server_id, order.locked_reason)


async def unlock(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    await servers.unlock_server(nova, req.ctx, server_id)


HANDLERS = {"lock": lock, "unlock": unlock}
