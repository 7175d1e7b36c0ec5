"""Start, stop, reboot, forced deletion and the way back from one, and the state that an admin sets by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import servers
from cloudseed.nova.api.body import as_type

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class Reboot(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]


class ResetState(msgspec.Struct, forbid_unknown_fields=True):
    state: Literal["active", "error"]


async def start(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    await servers.start_server(nova, req.ctx, server_id)


async def stop(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    await servers.stop_server(nova, req.ctx, server_id)


async def reboot(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order = as_type(value, Reboot, "reboot")
    await servers.reboot_server(nova, req.ctx, server_id, hard=order.type.lower() == "hard")


async def force_delete(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    await servers.delete_server(nova, req.ctx, server_id, force=True)


async def reset_state(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order = as_type(value, ResetState, "os-resetState")
    await servers.reset_state(nova, req.ctx, server_id, order.state)


async def restore(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    await servers.restore_server(nova, req.ctx, server_id)


async def inject_network_info(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    await servers.inject_network_info(nova, req.ctx, server_id)


HANDLERS = {"os-start": start, "os-stop": stop, "reboot": reboot, "forceDelete": force_delete,
            "os-resetState": reset_state, "restore": restore, "injectNetworkInfo": inject_network_info}
