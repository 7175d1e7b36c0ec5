"""/servers/{id}/os-volume_attachments"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import server_volumes, servers
from cloudseed.nova.api.block_device_bodies import TAG
from cloudseed.nova.api.body import check_query, is_uuid, read, shown
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.server_states import ServerStateConflict
from cloudseed.nova.server_volumes import VolumeOrder

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

_DEVICE = re.compile(r"(^/dev/x?[a-z]?d?)([a-z]+)[0-9]*\Z")


class NewAttachment(msgspec.Struct, forbid_unknown_fields=True):
    """POST"""

    volume_id: str = msgspec.field(name="volumeId")
    device: str | None = None
    tag: str | None = None
    delete_on_termination: bool = False

    def __post_init__(self) -> None:
        _check(self.volume_id, self.device, self.tag)


class AttachmentChange(msgspec.Struct, forbid_unknown_fields=True):
    """PUT"""

    volume_id: str = msgspec.field(name="volumeId")
    device: str | msgspec.UnsetType | None = msgspec.UNSET
    tag: str | msgspec.UnsetType = msgspec.UNSET
    delete_on_termination: bool | msgspec.UnsetType = msgspec.UNSET
    server_id: str | msgspec.UnsetType = msgspec.field(name="serverId", default=msgspec.UNSET)
    id: str | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        _check(self.volume_id, self.device or None, self.tag or None)


ADDED = {"tag": (2, 49), "delete_on_termination": (2, 79)}
CHANGE_ADDED = dict.fromkeys(("device", "tag", "delete_on_termination", "serverId", "id"), (2, 85))


def _check(volume_id: str, device: str | None, tag: str | None) -> None:
    if not is_uuid(volume_id):
        raise ValueError(f"Invalid input for field/attribute volumeId. Value: {shown(volume_id)}. {shown(volume_id)} "
                         "is not a 'uuid'")
    if device is not None and (len(device) > 255 or not _DEVICE.match(device)):
        raise ValueError(f"Invalid input for field/attribute device. Value: {shown(device)}. {shown(device)} does not "
                         "match '(^/dev/x{0,1}[a-z]{0,1}d{0,1})([a-z]+)[0-9]*$'")
    if tag is not None and not TAG.match(tag):
        raise ValueError("Invalid input for field/attribute tag. It must have 1 to 60 characters, no comma or slash")


def _view(req: Request, server_id: str, device: BlockDevice) -> dict[str, Any]:
    version = req.microversion
    body: dict[str, Any] = {} if version >= (2, 89) else {"id": device.volume_id}
    body |= {"volumeId": device.volume_id, "serverId": server_id}
    if device.device_name:
        body["device"] = device.device_name
    if version >= (2, 70):
        body["tag"] = device.tag
    if version >= (2, 79):
        body["delete_on_termination"] = device.delete_on_termination
    if version >= (2, 89):
        body |= {"attachment_id": device.attachment_id, "bdm_uuid": device.id}
    return body


async def _check_shelved(nova: Nova, req: Request, server_id: str, rule: str, action: str) -> None:
    """A shelved server's volumes can be changed from 2.20 on."""
    if req.microversion < (2, 20):
        server = await servers.get_server(nova, req.ctx, server_id, f"{server_volumes.RULE}:{rule}")
        if server.vm_state in ("shelved", "shelved_offloaded"):
            raise ServerStateConflict(action=action, server_id=server_id, attribute="vm_state", state=server.vm_state)


class VolumeAttachments:
    """/v2.1/servers/{server_id}/os-volume_attachments"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str) -> None:
        check_query(req, ("limit", "offset"), (2, 75))
        devices = await server_volumes.list_attachments(self.nova, req.ctx, server_id)
        if req.microversion >= (2, 89):
            devices = [device for device in devices if device.attachment_id]
        offset, limit = _number(req, "offset") or 0, _number(req, "limit")
        # 1000 is upstream's max_limit
        page = devices[offset:offset + min(limit if limit is not None else 1000, 1000)]
        resp.media = {"volumeAttachments": [_view(req, server_id, device) for device in page]}

    async def on_post(self, req: Request, resp: Response, server_id: str) -> None:
        version = req.microversion
        new = await read(req, "volumeAttachment", NewAttachment, added=ADDED)
        await _check_shelved(self.nova, req, server_id, "create", "attach_volume")
        device = await server_volumes.attach_volume(self.nova, req.ctx, server_id, VolumeOrder(
            volume_id=_canonical(new.volume_id), tag=new.tag, delete_on_termination=new.delete_on_termination,
            multiattach=version >= (2, 60)))
        if version >= (2, 101):
            resp.status = 202
            return
        body: dict[str, Any] = {"id": device.volume_id, "serverId": server_id, "volumeId": device.volume_id,
                                "device": device.device_name}
        if version >= (2, 70):
            body["tag"] = device.tag
        if version >= (2, 79):
            body["delete_on_termination"] = device.delete_on_termination
        resp.media = {"volumeAttachment": body}


class VolumeAttachment:
    """/v2.1/servers/{server_id}/os-volume_attachments/{volume_id}"""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def on_get(self, req: Request, resp: Response, server_id: str, volume_id: str) -> None:
        check_query(req, ())
        device = await server_volumes.get_attachment(self.nova, req.ctx, server_id, volume_id)
        resp.media = {"volumeAttachment": _view(req, server_id, device)}

    async def on_put(self, req: Request, resp: Response, server_id: str, volume_id: str) -> None:
        only_swap = req.microversion < (2, 85)
        change = await read(req, "volumeAttachment", AttachmentChange, added=CHANGE_ADDED)
        await servers.get_server(self.nova, req.ctx, server_id)
        swap = only_swap or _canonical(change.volume_id) != volume_id
        if swap:
            self.nova.policy.enforce(f"{server_volumes.RULE}:swap", req.ctx.identity, {})
        if not only_swap:
            given = {"id": change.id, "serverId": change.server_id, "device": change.device, "tag": change.tag}
            wanted = change.delete_on_termination
            await server_volumes.update_attachment(
                self.nova, req.ctx, server_id, volume_id,
                {name: value for name, value in given.items() if value is not msgspec.UNSET},
                wanted if isinstance(wanted, bool) else None)
        if swap:
            await server_volumes.swap_volume(self.nova, req.ctx, server_id, volume_id)
        resp.status = 202

    async def on_delete(self, req: Request, resp: Response, server_id: str, volume_id: str) -> None:
        await _check_shelved(self.nova, req, server_id, "delete", "detach_volume")
        await server_volumes.detach_volume(self.nova, req.ctx, server_id, volume_id)
        resp.status = 202


def _canonical(volume_id: str) -> str:
    digits = volume_id.replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _number(req: Request, name: str) -> int | None:
    value = req.get_param(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise Invalid(f"{name} param must be an integer")
    return int(value)
