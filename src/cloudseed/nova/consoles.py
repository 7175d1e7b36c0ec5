"""Consoles of servers: who may look at one, and the URL that shows it.

The kinds are upstream's: `novnc` (the screen, RFB) and `serial`.  SPICE, MKS and RDP are known and refused, since
no driver here has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Invalid
from cloudseed.nova import console_tokens, servers
from cloudseed.nova.compute.consoles import ConsoleTypeUnavailable
from cloudseed.nova.errors import ServerNotReady
from cloudseed.nova.server_states import ServerStateConflict

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

PREFIX = "/console"  # where console/pages.py and console/proxy.py are served
# protocol -> (its kind of console, the page that shows it)
_PAGES = {"vnc": ("novnc", "vnc_lite.html"), "serial": ("serial", "serial.html")}
_NEVER_NOW = frozenset({"deleting", "migrating"})


class ConsoleTypeInvalid(Invalid):
    template = "Invalid console type %(console_type)s"


async def create_console_url(nova: Nova, ctx: Context, server_id: str, protocol: str, kind: str, root: str) -> str:
    """A URL that shows the server's console for a while.  `root`: scheme and address of this cloud's one port, as
    the client reaches it.

    Raises ConsoleTypeUnavailable, ConsoleTypeInvalid, ServerNotReady, ServerStateConflict.
    """
    server = await servers.get_server(nova, ctx, server_id, "os_compute_api:os-remote-consoles")
    if not server.host:
        raise ServerNotReady(server_id=server_id)
    if server.task_state in _NEVER_NOW:
        raise ServerStateConflict(action=f"get_{protocol}_console", server_id=server_id, attribute="task_state",
                                  state=server.task_state)
    if protocol not in _PAGES:
        raise ConsoleTypeUnavailable(console_type=kind)
    own_kind, page = _PAGES[protocol]
    if kind != own_kind:
        raise ConsoleTypeInvalid(console_type=kind)
    # the host says whether there is something to look at; the way to it is asked again when somebody comes
    await find_console(nova, ctx, server_id, server.host, own_kind)
    token = await console_tokens.issue(nova, server_id, own_kind, server.host)
    return f"{root}{PREFIX}/{page}?path={quote(f'{PREFIX[1:]}/websockify?token={token}', safe='')}"


async def find_console(nova: Nova, ctx: Context, server_id: str, host: str, kind: str, viewer: str = ""
                       ) -> dict[str, Any]:
    """How to connect to a console of a server on `host`: a ConsoleAddress (compute/consoles.py) as JSON.  `viewer`: the
    address among the hosts from which somebody is about to."""
    address: dict[str, Any] = await nova.api_bus.call(ctx, f"compute.{host}", "console", server_id=server_id,
                                                      kind=kind, viewer=viewer)
    return address


async def show_console_token(nova: Nova, ctx: Context, token: str) -> sa.Row[Any]:
    """What a living token opens, for admins.  Raises ConsoleTokenNotFound."""
    nova.policy.enforce("os_compute_api:os-console-auth-tokens", ctx.identity)
    return await console_tokens.redeem(nova, token)
