"""/v3/attachments (3.27)"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from cloudseed.cinder import attachments
from cloudseed.cinder.api import lists
from cloudseed.cinder.api.body import check_uuid, read, read_object, when
from cloudseed.cinder.export_work import ExportWork
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volumes import Attachment as Record
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request

SINCE, COMPLETE_SINCE = (3, 27), (3, 44)


class _New(msgspec.Struct):
    volume_uuid: str
    instance_uuid: str | None = None
    connector: dict[str, Any] | None = None
    mode: Literal["rw", "ro"] | None = None

    def __post_init__(self) -> None:
        check_uuid(self.volume_uuid, "volume_uuid")
        check_uuid(self.instance_uuid, "instance_uuid")


class _Changed(msgspec.Struct):
    connector: dict[str, Any]

    def __post_init__(self) -> None:
        if not self.connector:
            raise ValueError("Invalid input for field/attribute connector. It must not be empty")


def summary(attachment: Record) -> dict[str, Any]:
    return {"id": attachment.id, "status": attachment.attach_status, "instance": attachment.instance_uuid,
            "volume_id": attachment.volume_id}


def detail(attachment: Record) -> dict[str, Any]:
    """`connection_info` is flat here, as upstream: what the driver says, with its type beside."""
    info = attachment.connection_info
    flat = {**info.get("data", {}), "driver_volume_type": info["driver_volume_type"],
            "attachment_id": attachment.id} if info else {}
    return {**summary(attachment), "attached_at": when(attachment.attach_time) or "", "detached_at": "",
            "attach_mode": attachment.attach_mode, "connection_info": flat}


class Attachments:
    """/v3/attachments"""

    def __init__(self, cinder: Cinder, work: ExportWork) -> None:
        self.cinder = cinder
        self.work = work

    async def on_get(self, req: Request, resp: Response) -> None:
        await _list(self.cinder, req, resp, detailed=False)

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, SINCE)
        order = await read(req, "attachment", _New, added={"mode": (3, 54)})
        made = await attachments.create_attachment(self.cinder, self.work, req.ctx, order.volume_uuid,
                                                   order.instance_uuid, order.connector, order.mode)
        resp.media = {"attachment": detail(made)}


class AttachmentsDetail:
    """/v3/attachments/detail"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response) -> None:
        await _list(self.cinder, req, resp, detailed=True)


async def _list(cinder: Cinder, req: Request, resp: Response, *, detailed: bool) -> None:
    require(req.microversion, SINCE)
    query = lists.parse(req, attachments.FILTERS)
    found = await attachments.list_attachments(cinder, req.ctx, query.page, query.where, everybody=query.everybody)
    resp.media = {"attachments": [detail(item) if detailed else summary(item) for item in found]}


class Attachment:
    """/v3/attachments/{attachment_id}"""

    def __init__(self, cinder: Cinder, work: ExportWork) -> None:
        self.cinder = cinder
        self.work = work

    async def on_get(self, req: Request, resp: Response, attachment_id: str) -> None:
        require(req.microversion, SINCE)
        resp.media = {"attachment": detail(await attachments.get_attachment(self.cinder, req.ctx, attachment_id))}

    async def on_put(self, req: Request, resp: Response, attachment_id: str) -> None:
        require(req.microversion, SINCE)
        order = await read(req, "attachment", _Changed)
        made = await attachments.connect(self.cinder, self.work, req.ctx, attachment_id, order.connector)
        resp.media = {"attachment": detail(made)}

    async def on_delete(self, req: Request, resp: Response, attachment_id: str) -> None:
        require(req.microversion, SINCE)
        left = await attachments.delete_attachment(self.cinder, self.work, req.ctx, attachment_id)
        resp.media = {"attachments": [summary(item) for item in left]}


class AttachmentAction:
    """/v3/attachments/{attachment_id}/action (3.44)"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_post(self, req: Request, resp: Response, attachment_id: str) -> None:
        require(req.microversion, COMPLETE_SINCE)
        body = await read_object(req, "os-complete")
        if not isinstance(body["os-complete"], dict | None | str):
            raise Invalid("Invalid input for field/attribute os-complete.")
        await attachments.complete_attachment(self.cinder, req.ctx, attachment_id)
        resp.status = 204
