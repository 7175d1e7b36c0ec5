"""/servers/{id}/action: one action a request, dispatched by its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import security_groups, servers
from cloudseed.nova.api.body import as_type, check_range, check_text, shown
from cloudseed.nova.errors import MovedAway, NotSupportedYet

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class Reboot(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]


class ConsoleOutput(msgspec.Struct, forbid_unknown_fields=True):
    length: int | None = None

    def __post_init__(self) -> None:
        check_range(self.length, "length", -1)


class Lock(msgspec.Struct, forbid_unknown_fields=True):
    locked_reason: str | None = None

    def __post_init__(self) -> None:
        check_text(self.locked_reason, "locked_reason")


class ResetState(msgspec.Struct, forbid_unknown_fields=True):
    state: Literal["active", "error"]


class SecurityGroup(msgspec.Struct):
    name: str

    def __post_init__(self) -> None:
        check_text(self.name, "name")
        if not self.name.strip():
            raise ValueError("Invalid input for field/attribute name. It must not be empty")


# actions that upstream has and this cloud not yet: refused by name, with the rule that they will have
LATER: dict[str, str] = {
    "changePassword": "os-admin-password", "confirmResize": "servers:confirm_resize",
    "createBackup": "os-create-backup", "createImage": "servers:create_image", "evacuate": "os-evacuate",
    "injectNetworkInfo": "os-admin-actions:inject_network_info", "migrate": "os-migrate-server:migrate",
    "os-migrateLive": "os-migrate-server:migrate_live", "pause": "os-pause-server:pause",
    "unpause": "os-pause-server:unpause", "rebuild": "servers:rebuild", "rescue": "os-rescue",
    "unrescue": "os-unrescue", "resize": "servers:resize", "restore": "os-deferred-delete:restore",
    "resume": "os-suspend-server:resume", "suspend": "os-suspend-server:suspend",
    "revertResize": "servers:revert_resize", "shelve": "os-shelve:shelve", "shelveOffload": "os-shelve:shelve_offload",
    "unshelve": "os-shelve:unshelve", "trigger_crash_dump": "servers:trigger_crash_dump"}
# actions that proxied neutron or gave consoles: gone from some microversion on
GONE_SINCE: dict[str, tuple[int, int]] = {
    "addFixedIp": (2, 44), "removeFixedIp": (2, 44), "addFloatingIp": (2, 44), "removeFloatingIp": (2, 44),
    "os-getVNCConsole": (2, 6), "os-getSPICEConsole": (2, 6), "os-getSerialConsole": (2, 6),
    "os-getRDPConsole": (2, 6)}

Handler = Callable[["ServerAction", Request, Response, str, Any], Awaitable[None]]


class ServerAction:
    """/v2.1/servers/{server_id}/action"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_post(self, req: Request, resp: Response, server_id: str) -> None:
        body: Any = await req.json()
        if not isinstance(body, dict) or len(body) != 1:
            raise Invalid("The body must be an object with one action, such as {\"os-stop\": null}.")
        name, value = next(iter(body.items()))
        handler = _HANDLERS.get(name)
        if handler is None:
            await self._refuse(req, server_id, name)
        else:
            resp.status = 202
            await handler(self, req, resp, server_id, value)

    async def _refuse(self, req: Request, server_id: str, name: str) -> None:
        if name in GONE_SINCE:
            require(req.microversion, maximum=(2, GONE_SINCE[name][1] - 1))
        if name == "resetNetwork":
            raise MovedAway()
        rule = LATER.get(name)
        if rule is None and name not in GONE_SINCE:
            raise Invalid(f"There is no such action: {shown(name)}")
        await servers.get_server(self.nova, req.ctx, server_id, f"os_compute_api:{rule or 'servers:show'}")
        raise NotSupportedYet(action=name)

    async def start(self, req: Request, resp: Response, server_id: str, value: Any) -> None:
        await servers.start_server(self.nova, req.ctx, server_id)

    async def stop(self, req: Request, resp: Response, server_id: str, value: Any) -> None:
        await servers.stop_server(self.nova, req.ctx, server_id)

    async def reboot(self, req: Request, resp: Response, server_id: str, value: Any) -> None:
        order = as_type(value, Reboot, "reboot")
        await servers.reboot_server(self.nova, req.ctx, server_id, hard=order.type.lower() == "hard")

    async def force_delete(self, req: Request, resp: Response, server_id: str, value: Any) -> None:
        await servers.delete_server(self.nova, req.ctx, server_id, force=True)

    async def lock(self, req: Request, resp: Response, server_id: str, value: Any) -> None:
        order = as_type(value, Lock, "lock") if value is not None and req.microversion >= (2, 73) else Lock()
        await servers.lock_server(self.nova, req.ctx, server_id, order.locked_reason)

    async def unlock(self, req: Request, resp: Response, server_id: str, value: Any) -> None:
        await servers.unlock_server(self.nova, req.ctx, server_id)

    async def reset_state(self, req: Request, resp: Response, server_id: str, value: Any) -> None:
        order = as_type(value, ResetState, "os-resetState")
        await servers.reset_state(self.nova, req.ctx, server_id, order.state)

    async def add_security_group(self, req: Request, resp: Response, server_id: str, value: Any) -> None:
        order = as_type(value, SecurityGroup, "addSecurityGroup")
        await security_groups.add_to_server(self.nova, req.ctx, server_id, order.name)

    async def remove_security_group(self, req: Request, resp: Response, server_id: str, value: Any) -> None:
        order = as_type(value, SecurityGroup, "removeSecurityGroup")
        await security_groups.remove_from_server(self.nova, req.ctx, server_id, order.name)

    async def console_output(self, req: Request, resp: Response, server_id: str, value: Any) -> None:
        order = as_type(value, ConsoleOutput, "os-getConsoleOutput") if value is not None else ConsoleOutput()
        length = None if order.length in (None, -1) else order.length
        output = await servers.get_console_output(self.nova, req.ctx, server_id, length)
        resp.status = 200
        # JSON's readers choke on control characters that a guest may print, as upstream found
        resp.media = {"output": "".join(c for c in output if c in "\n\r\t\x1b" or ord(c) >= 32)}


_HANDLERS: dict[str, Handler] = {
    "os-start": ServerAction.start, "os-stop": ServerAction.stop, "reboot": ServerAction.reboot,
    "forceDelete": ServerAction.force_delete, "lock": ServerAction.lock, "unlock": ServerAction.unlock,
    "addSecurityGroup": ServerAction.add_security_group, "removeSecurityGroup": ServerAction.remove_security_group,
    "os-resetState": ServerAction.reset_state, "os-getConsoleOutput": ServerAction.console_output}
