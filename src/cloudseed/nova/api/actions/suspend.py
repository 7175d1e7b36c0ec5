"""Pause, unpause, suspend, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import servers
from cloudseed.nova.server_states import TaskState

if TYPE_CHECKING:
    from cloudseed.nova.api.actions import Handler
    from cloudseed.nova.service import Nova


def _handler(action: str, task_state: TaskState, rule: str) -> Handler:
    async def handle(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
        await servers.order(nova, req.ctx, server_id, f"nova.{action}", task_state, rule=rule, action=action,
                            record=action)

    return handle


HANDLERS = {
    "pause": _handler("pause", TaskState.PAUSING, "os-pause-server:pause"),
    "unpause": _handler("unpause", TaskState.UNPAUSING, "os-pause-server:unpause"),
    "suspend": _handler("suspend", TaskState.SUSPENDING, "os-suspend-server:suspend"),
    "resume": _handler("resume", TaskState.RESUMING, "os-suspend-server:resume")}
