"""A nova that knows which server uses which attachment, and that notes what it is told."""

from __future__ import annotations

from typing import Any

from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http import faults
from cloudseed.kernel.http.app import Response, make_app
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.http.request import Request
from cloudseed.kernel.runtime import Environment, Service


class Nova:
    def __init__(self) -> None:
        self.uses: dict[tuple[str, str], str] = {}  # (server, volume) -> attachment
        self.events: list[dict[str, Any]] = []

    def build(self, env: Environment) -> Service:
        validator = env.validator(env.session("nova-api", "nova"))
        app = make_app({"/v2.1/servers/{server_id}/os-volume_attachments/{volume_id}": _Attachment(self),
                        "/v2.1/os-server-external-events": _Events(self)},
                       fault=faults.nova, validator=validator, identity_url=env.identity_url)
        return Service("nova", mounts=[Mount("/compute", "nova-api", app)])


class _Attachment:
    def __init__(self, nova: Nova) -> None:
        self._nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str, volume_id: str) -> None:
        found = self._nova.uses.get((server_id, volume_id))
        if found is None:
            raise NotFound()
        resp.media = {"volumeAttachment": {"volumeId": volume_id, "serverId": server_id, "attachment_id": found}}


class _Events:
    def __init__(self, nova: Nova) -> None:
        self._nova = nova

    async def on_post(self, req: Request, resp: Response) -> None:
        self._nova.events.extend((await req.json())["events"])
        resp.media = {"events": []}
