"""/servers/{id}/remote-consoles and /os-console-auth-tokens/{token}; before 2.6 consoles were actions.

The action's answer is {"console": {type, url}}, the resource's {"remote_console": {protocol, type, url}}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import consoles
from cloudseed.nova.api.body import as_type, check_query, read, shown

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class RemoteConsole(msgspec.Struct, forbid_unknown_fields=True):
    protocol: Literal["vnc", "spice", "serial", "rdp", "mks"]
    type: Literal["novnc", "xvpvnc", "spice-html5", "serial", "rdp-html5", "webmks", "spice-direct"]


class ConsoleAction(msgspec.Struct, forbid_unknown_fields=True):
    type: str


# action -> (protocol, the types that its schema knows)
_ACTIONS = {"os-getVNCConsole": ("vnc", ("novnc", "xvpvnc")), "os-getSPICEConsole": ("spice", ("spice-html5",)),
            "os-getSerialConsole": ("serial", ("serial",)), "os-getRDPConsole": ("rdp", ("rdp-html5",))}
_SINCE = {"mks": (2, 8), "webmks": (2, 8), "spice-direct": (2, 99)}


def _root(req: Request) -> str:
    """Scheme and address of the one port, as this client reaches it."""
    return req.base_url.removesuffix("/compute")


class RemoteConsoles:
    """/v2.1/servers/{server_id}/remote-consoles"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_post(self, req: Request, resp: Response, server_id: str) -> None:
        require(req.microversion, (2, 6))
        order = await read(req, "remote_console", RemoteConsole)
        for name, value in (("protocol", order.protocol), ("type", order.type)):
            if req.microversion < _SINCE.get(value, (0, 0)):
                raise Invalid(f"Invalid input for field/attribute {name}. Value: {shown(value)}. It is not known in "
                              "this microversion.")
        url = await consoles.create_console_url(self.nova, req.ctx, server_id, order.protocol, order.type, _root(req))
        resp.media = {"remote_console": {"protocol": order.protocol, "type": order.type, "url": url}}


class ConsoleAuthToken:
    """/v2.1/os-console-auth-tokens/{token}: what a token opens; before 2.31 for RDP alone, which nobody has"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, token: str) -> None:
        check_query(req, ())
        if req.microversion < (2, 31):
            self.nova.policy.enforce("os_compute_api:os-console-auth-tokens", req.ctx.identity)
            raise Invalid("The requested console type details are not accessible")
        row = await consoles.show_console_token(self.nova, req.ctx, token)
        # the way to the machine's own socket is its host's affair: what a proxy elsewhere can reach is our port
        resp.media = {"console": {"instance_uuid": row.server_id, "host": row.host, "port": self.nova.config.port,
                                  "internal_access_path": f"{consoles.PREFIX}/websockify"}}


def _action(name: str) -> Any:
    protocol, types = _ACTIONS[name]

    async def handle(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
        require(req.microversion, maximum=(2, 5))
        kind = as_type(value, ConsoleAction, name).type
        if kind not in types:
            raise Invalid(f"Invalid input for field/attribute type. Value: {shown(kind)}. It must be one of "
                          f"{', '.join(types)}.")
        url = await consoles.create_console_url(nova, req.ctx, server_id, protocol, kind, _root(req))
        resp.status = 200
        resp.media = {"console": {"type": kind, "url": url}}

    return handle


ACTIONS = {name: _action(name) for name in _ACTIONS}
