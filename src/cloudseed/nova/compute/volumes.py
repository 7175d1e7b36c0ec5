"""What nova asks of cinder for a server: its volumes made, attached, found again, given back.

A server's attachments are found by its id (`instance_id`), and a volume that was made for a device by its name,
which is the device's id until the volume is known to nova: so everything here may run twice.  Used by nova-api for
what a user's own rights decide (`as_user`), by nova-compute, and by nova-conductor where a host is gone.

The part's own token comes along as a service's: cinder lets nobody else take an attachment in use away
(CVE-2023-2088).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.kernel.http.client import Response, ServiceSession
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.errors import BuildAborted

log = logging.getLogger(__name__)
MICROVERSION = "volume 3.44"  # what attachments need: os-complete
REIMAGE_MICROVERSION = "volume 3.68"
ASK_EVERY_S = (0.1, 2.0)  # while a volume is being made: the first pause, and the longest
Json = dict[str, Any]


class Volumes:
    """Cinder, through the session of the part that works for the servers."""

    def __init__(self, session: ServiceSession) -> None:
        self._session = session

    async def _send(self, ctx: Context, method: str, path: str, json: Any = None, *, as_user: bool = False,
                    microversion: str = MICROVERSION, **options: Any) -> Response:
        headers = {"X-Service-Token": await self._session.own_token(ctx)} if method != "GET" else {}
        return await self._session.request(ctx, "volume", method, f"/v3{path}", json=json, as_user=as_user,
                                           microversion=microversion, headers=headers, **options)

    async def _get(self, ctx: Context, path: str, *, as_user: bool = False, **options: Any) -> Any:
        return (await self._send(ctx, "GET", path, as_user=as_user, **options)).json()

    # ---- looking

    async def get_volume(self, ctx: Context, volume_id: str, *, as_user: bool = False) -> Json:
        volume: Json = (await self._get(ctx, f"/volumes/{volume_id}", as_user=as_user))["volume"]
        return volume

    async def get_snapshot(self, ctx: Context, snapshot_id: str, *, as_user: bool = False) -> Json:
        snapshot: Json = (await self._get(ctx, f"/snapshots/{snapshot_id}", as_user=as_user))["snapshot"]
        return snapshot

    async def volume_types(self, ctx: Context) -> list[Json]:
        """The volume types that the user sees."""
        types: list[Json] = (await self._get(ctx, "/types", as_user=True))["volume_types"]
        return types

    async def limits(self, ctx: Context) -> Json:
        """The absolute limits of the user's project."""
        found: Json = (await self._get(ctx, "/limits", as_user=True))["limits"]["absolute"]
        return found

    async def attachments_of(self, ctx: Context, server_id: str) -> list[Json]:
        found: list[Json] = (await self._get(ctx, "/attachments", params={
            "instance_id": server_id, "all_tenants": "1"}))["attachments"]
        return [attachment for attachment in found if attachment.get("instance") == server_id]

    # ---- attaching

    async def reserve(self, ctx: Context, server_id: str, volume_id: str, *, as_user: bool = False) -> str:
        """An attachment without a connector, which keeps the volume for the server; returns its id."""
        sent = await self._send(ctx, "POST", "/attachments", {
            "attachment": {"volume_uuid": volume_id, "instance_uuid": server_id}}, as_user=as_user)
        return str(sent.json()["attachment"]["id"])

    async def reserve_again(self, ctx: Context, server_id: str, volume_id: str, *, as_user: bool = False) -> str:
        """As `reserve`, but an earlier try may have succeeded."""
        for attachment in await self.attachments_of(ctx, server_id):
            if attachment["volume_id"] == volume_id:
                return str(attachment["id"])
        return await self.reserve(ctx, server_id, volume_id, as_user=as_user)

    async def connect(self, ctx: Context, server_id: str, device: BlockDevice, connector: Json, *,
                      again: bool) -> BlockDevice:
        """Have the volume of `device` exported for us; returns the device with its attachment and connection.
        BuildAborted when cinder refuses."""
        assert device.volume_id is not None
        try:
            attachment_id = device.attachment_id
            if attachment_id is None:
                attach = self.reserve_again if again else self.reserve
                attachment_id = await attach(ctx, server_id, device.volume_id)
            sent = await self._send(ctx, "PUT", f"/attachments/{attachment_id}", {
                "attachment": {"connector": {**connector, "mountpoint": device.device_name or ""}}})
        except (Invalid, NotFound, Conflict, Forbidden) as exc:
            raise BuildAborted(f"Volume {device.volume_id} could not be attached. Reason: {exc.message}",
                               detail=exc.detail) from exc
        return msgspec.structs.replace(device, attachment_id=attachment_id,
                                       connection_info=connection_info(sent.json()["attachment"]))

    async def complete(self, ctx: Context, attachment_id: str) -> None:
        """The guest has, or will have, the volume: it is in use."""
        await self._send(ctx, "POST", f"/attachments/{attachment_id}/action", {"os-complete": None})

    async def refreshed(self, ctx: Context, device: BlockDevice) -> BlockDevice:
        """The device with its connection as cinder has it now; a lost attachment raises NotFound."""
        if device.attachment_id is None:
            raise NotFound(f"Volume {device.volume_id} has no attachment.")
        attachment = (await self._get(ctx, f"/attachments/{device.attachment_id}"))["attachment"]
        found = connection_info(attachment)
        return msgspec.structs.replace(device, connection_info=found) if found else device

    async def disconnect(self, ctx: Context, attachment_id: str) -> None:
        """Take the attachment away; that it is gone already is fine."""
        await self._send(ctx, "DELETE", f"/attachments/{attachment_id}", expect=(404,))

    async def disconnect_all(self, ctx: Context, server_id: str, volume_id: str | None = None) -> None:
        """Take away whatever attachment the server has, of one volume or of all."""
        for attachment in await self.attachments_of(ctx, server_id):
            if volume_id is None or attachment["volume_id"] == volume_id:
                await self.disconnect(ctx, attachment["id"])

    # ---- moving between hosts

    async def second(self, ctx: Context, server_id: str, device: BlockDevice, connector: Json) -> BlockDevice:
        """The device with another attachment beside its own, connected for another host of the same server."""
        await self.only(ctx, server_id, [device])  # what an earlier try made
        bare = msgspec.structs.replace(device, attachment_id=None, connection_info=None)
        made = await self.connect(ctx, server_id, bare, connector, again=False)
        assert made.attachment_id is not None
        await self.complete(ctx, made.attachment_id)
        return made

    async def is_bare(self, ctx: Context, server_id: str, device: BlockDevice) -> bool:
        """Whether the device's attachment is there and connected to no host."""
        return any(attachment["id"] == device.attachment_id and attachment["status"] == "reserved"
                   for attachment in await self.attachments_of(ctx, server_id))

    async def only(self, ctx: Context, server_id: str, devices: list[BlockDevice]) -> None:
        """Take every attachment of these volumes by the server away but those that the devices name."""
        kept = {device.attachment_id for device in devices}
        volumes = {device.volume_id for device in devices}
        for attachment in await self.attachments_of(ctx, server_id):
            if attachment["volume_id"] in volumes and attachment["id"] not in kept:
                await self.disconnect(ctx, attachment["id"])

    # ---- making

    async def make(self, ctx: Context, device: BlockDevice, *, again: bool) -> BlockDevice:
        """The volume of a device that has none yet, being made; `again`: an earlier try may have made it.

        BuildAborted when cinder refuses (quota, size, source gone).
        """
        volume = await self._made_before(ctx, device) if again else None
        if volume is None:
            body: Json = {"size": device.volume_size, "name": device.id, "description": ""}
            if device.volume_type:
                body["volume_type"] = device.volume_type
            if device.source_type == "image":
                body["imageRef"] = device.image_id
            elif device.source_type == "snapshot":
                body["snapshot_id"] = device.snapshot_id
            try:
                sent = await self._send(ctx, "POST", "/volumes", {"volume": body}, as_user=True)
            except (Invalid, NotFound, Conflict, Forbidden) as exc:
                raise BuildAborted(f"Failure prepping block device: {exc.message}", detail=exc.detail) from exc
            volume = sent.json()["volume"]
        return msgspec.structs.replace(device, volume_id=volume["id"], volume_size=volume["size"], made=True)

    async def _made_before(self, ctx: Context, device: BlockDevice) -> Json | None:
        found: list[Json] = (await self._get(ctx, "/volumes/detail", params={
            "name": device.id, "all_tenants": "1"}))["volumes"]
        return next((volume for volume in found if volume["name"] == device.id), None)

    async def call_it(self, ctx: Context, device: BlockDevice, name: str) -> None:
        """Give a volume that we made the name that its owner sees; it is known by its id now."""
        await self._send(ctx, "PUT", f"/volumes/{device.volume_id}", {"volume": {"name": name}}, as_user=True)

    async def available(self, ctx: Context, volume_id: str) -> Json:
        """The volume once it is made.  BuildAborted when that failed."""
        pause, asked = ASK_EVERY_S[0], 0
        while True:
            try:
                volume = await self.get_volume(ctx, volume_id)
            except NotFound as exc:
                raise BuildAborted(f"Volume {volume_id} could not be found.") from exc
            asked += 1
            status = volume["status"]
            if status not in ("creating", "downloading"):
                if status.startswith("error"):
                    raise BuildAborted(f"Volume {volume_id} did not finish being created even after we waited for it "
                                       f"{asked} times. And its status is {status}.")
                return volume
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, ASK_EVERY_S[1])

    # ---- giving back

    async def delete(self, ctx: Context, volume_id: str) -> None:
        """Delete a volume; what cinder refuses (it has snapshots) is its owner's business from now on."""
        try:
            await self._send(ctx, "DELETE", f"/volumes/{volume_id}", expect=(404,))
        except (Invalid, Conflict, Forbidden) as exc:
            log.warning("volume %s was not deleted with its server: %s", volume_id, exc.message)

    async def delete_made(self, ctx: Context, device: BlockDevice) -> None:
        """Delete the volume that was made for the device, also one that no record knows yet, and one that is still
        being made: cinder deletes it once that is over."""
        volume_id = device.volume_id
        if volume_id is None:
            volume = await self._made_before(ctx, device)
            volume_id = volume["id"] if volume is not None else None
        if volume_id is not None:
            try:
                await self.available(ctx, volume_id)
            except BuildAborted:
                pass  # failed or gone: all the better
            await self.delete(ctx, volume_id)

    async def give_back(self, ctx: Context, server_id: str, devices: list[BlockDevice]) -> None:
        """Undo `make` and `connect` of a server that is being built."""
        await self.disconnect_all(ctx, server_id)
        for device in devices:
            if device.is_volume and device.source_type != "volume" and (device.made or device.volume_id is None):
                await self.delete_made(ctx, device)

    async def release(self, ctx: Context, server_id: str, devices: list[BlockDevice], project_id: str) -> None:
        """A server of that project ends: every attachment of it, and every volume that should end with it.  Safe
        twice.

        What a server on the shelf keeps of a volume is a reservation, which a user may take away himself, and give
        the volume to another project: that one's is not ours to delete.
        """
        await self.disconnect_all(ctx, server_id)
        for device in devices:
            if device.is_volume and device.delete_on_termination and device.volume_id is not None:
                try:
                    volume = await self.get_volume(ctx, device.volume_id)
                except NotFound:
                    continue
                if volume.get("os-vol-tenant-attr:tenant_id", project_id) == project_id:
                    await self.delete(ctx, device.volume_id)
                else:
                    log.warning("volume %s is another project's by now: it does not end with server %s",
                                device.volume_id, server_id)

    # ---- what happens to a volume that is attached

    async def act(self, ctx: Context, volume_id: str, action: str, value: Any = None, *, as_user: bool = False,
                  microversion: str = MICROVERSION, expect: tuple[int, ...] = ()) -> Response:
        """An action of the volume: os-begin_detaching, os-roll_detaching, os-reimage."""
        return await self._send(ctx, "POST", f"/volumes/{volume_id}/action", {action: value}, as_user=as_user,
                                microversion=microversion, expect=expect)

    # ---- snapshots

    async def create_snapshot(self, ctx: Context, volume_id: str, name: str, metadata: dict[str, str]) -> Json:
        """A snapshot of a volume that may be in use, for the user."""
        sent = await self._send(ctx, "POST", "/snapshots", {"snapshot": {
            "volume_id": volume_id, "force": True, "name": name, "metadata": metadata}}, as_user=True)
        snapshot: Json = sent.json()["snapshot"]
        return snapshot

    async def snapshots_with(self, ctx: Context, key: str, value: str) -> list[Json]:
        """The snapshots with this in their metadata."""
        found: list[Json] = (await self._get(ctx, "/snapshots/detail", params={
            "all_tenants": "1", "metadata": str({key: value})}))["snapshots"]
        return [snapshot for snapshot in found if (snapshot.get("metadata") or {}).get(key) == value]

    async def delete_snapshot(self, ctx: Context, snapshot_id: str) -> None:
        """Delete a snapshot, waiting until it is made: cinder refuses before."""
        pause = ASK_EVERY_S[0]
        while True:
            try:
                status = (await self.get_snapshot(ctx, snapshot_id))["status"]
            except NotFound:
                return
            if status != "creating":
                await self._send(ctx, "DELETE", f"/snapshots/{snapshot_id}", expect=(404,))
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, ASK_EVERY_S[1])


def connection_info(attachment: Json) -> Json | None:
    """How to reach the volume, {"driver_volume_type", "data"}, from an attachment; null before it is connected.

    Cinder's API lays `data` flat beside the type; older ones and our drivers nest it.
    """
    found = attachment.get("connection_info")
    if not found or not found.get("driver_volume_type"):
        return None
    data = {**{name: value for name, value in found.items() if name not in ("driver_volume_type", "data")},
            **(found.get("data") or {})}
    data.setdefault("access_mode", "ro" if attachment.get("attach_mode") == "ro" else "rw")
    return {"driver_volume_type": found["driver_volume_type"], "data": data}

