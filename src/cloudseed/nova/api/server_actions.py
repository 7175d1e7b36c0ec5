"""/servers/{id}/action: one action a request, dispatched by its name to a module of `actions/`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import servers
from cloudseed.nova.api.actions import HANDLERS
from cloudseed.nova.api.body import shown
from cloudseed.nova.errors import MovedAway, NotSupportedYet

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

# actions that proxied neutron: gone from some microversion on
GONE_SINCE: dict[str, tuple[int, int]] = {
    "addFloatingIp": (2, 44), "removeFloatingIp": (2, 44)}


class ServerAction:
    """/v2.1/servers/{server_id}/action"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_post(self, req: Request, resp: Response, server_id: str) -> None:
        body: Any = await req.json()
        if not isinstance(body, dict) or len(body) != 1:
            raise Invalid("The body must be an object with one action, such as {\"os-stop\": null}.")
        name, value = next(iter(body.items()))
        handler = HANDLERS.get(name)
        if handler is None:
            await self._refuse(req, server_id, name)
        else:
            resp.status = 202
            await handler(self.nova, req, resp, server_id, value)

    async def _refuse(self, req: Request, server_id: str, name: str) -> None:
        if name in GONE_SINCE:
            require(req.microversion, maximum=(2, GONE_SINCE[name][1] - 1))
        if name == "resetNetwork":
            raise MovedAway()
        if name not in GONE_SINCE:
            raise Invalid(f"There is no such action: {shown(name)}")
        await servers.get_server(self.nova, req.ctx, server_id, "os_compute_api:servers:show")
        raise NotSupportedYet(action=name)
