"""What a server wrote to its serial console; and, in old microversions, URLs of its consoles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import servers
from cloudseed.nova.api import remote_consoles
from cloudseed.nova.api.body import as_type, check_range

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class ConsoleOutput(msgspec.Struct, forbid_unknown_fields=True):
    length: int | None = None

    def __post_init__(self) -> None:
        check_range(self.length, "length", -1)


async def console_output(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order = as_type(value, ConsoleOutput, "os-getConsoleOutput") if value is not None else ConsoleOutput()
    length = None if order.length in (None, -1) else order.length
    output = await servers.get_console_output(nova, req.ctx, server_id, length)
    resp.status = 200
    # JSON's readers choke on control characters that a guest may print, as upstream found
    resp.media = {"output": "".join(c for c in output if c in "\n\r\t\x1b" or ord(c) >= 32)}


HANDLERS = {"os-getConsoleOutput": console_output, **remote_consoles.ACTIONS}
