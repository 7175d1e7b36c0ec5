"""/os-server-external-events"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import external_events
from cloudseed.nova.api.body import as_type, check_name, is_uuid, read_whole, shown

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

_NAMES = {"network-changed": (2, 1), "network-vif-plugged": (2, 1), "network-vif-unplugged": (2, 1),
          "network-vif-deleted": (2, 1), "volume-extended": (2, 51), "power-update": (2, 76),
          "accelerator-request-bound": (2, 82), "volume-reimaged": (2, 93)}
_STATUSES = ("failed", "completed", "in-progress")


class Event(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One item of `events`."""

    name: str
    server_uuid: str
    status: str | None = None
    tag: str | None = None

    def __post_init__(self) -> None:
        if not is_uuid(self.server_uuid):
            raise ValueError(f"Invalid input for field/attribute server_uuid. Value: {shown(self.server_uuid)}. "
                             f"{shown(self.server_uuid)} is not a 'uuid'")
        if self.status is not None and self.status not in _STATUSES:
            raise ValueError(f"Invalid input for field/attribute status. Value: {shown(self.status)}. "
                             f"{shown(self.status)} is not one of {list(_STATUSES)}")
        if self.tag is not None:
            check_name(self.tag, "tag")


class ServerExternalEvents:
    """/v2.1/os-server-external-events"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_post(self, req: Request, resp: Response) -> None:
        self.nova.policy.enforce("os_compute_api:os-server-external-events:create", req.ctx.identity,
                                 {"project_id": req.ctx.project_id})
        body = await read_whole(req, "events")
        events = as_type(body["events"], list[Event], "events")
        if not 1 <= len(events) <= 1000:
            raise Invalid(f"Invalid input for field/attribute events. It must hold 1 to 1000 events, not "
                          f"{len(events)}.")
        allowed = [name for name, since in _NAMES.items() if req.microversion >= since]
        for event in events:
            if event.name not in allowed:
                raise Invalid(f"Invalid input for field/attribute name. Value: {shown(event.name)}. "
                              f"{shown(event.name)} is not one of {allowed}")
        answers, resp.status = await external_events.deliver(
            self.nova, req.ctx, [{"status": "completed", **msgspec.to_builtins(event)} for event in events])
        resp.media = {"events": answers}
