"""A small cinder for nova's tests: volumes, snapshots and attachments in memory that outlive a restart, states as
cinder's, and failures on demand."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from typing import Any

from cloudseed.kernel.errors import CloudseedError, Conflict, Invalid, NotFound
from cloudseed.kernel.http import faults
from cloudseed.kernel.http.app import Response, make_app
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.http.request import Request
from cloudseed.kernel.runtime import Environment, Service

Json = dict[str, Any]


class Cinder:
    """What cinder holds; one object is used over several starts of a cloud."""

    def __init__(self) -> None:
        self.volumes: dict[str, Json] = {}
        self.snapshots: dict[str, Json] = {}
        self.attachments: dict[str, Json] = {}
        self.failures: defaultdict[str, list[CloudseedError]] = defaultdict(list)  # by "POST attachments"
        self.hold: dict[str, asyncio.Event] = {}  # requests of that name wait
        self.calls: list[str] = []
        self.types = [{"id": str(uuid.uuid4()), "name": "__DEFAULT__"}]
        self.limits = {"totalSnapshotsUsed": 0, "maxTotalSnapshots": 10}

    async def note(self, name: str) -> None:
        self.calls.append(name)
        if name in self.hold:
            await self.hold[name].wait()
        if self.failures[name]:
            raise self.failures[name].pop(0)

    def add(self, size: int = 1, **values: Any) -> str:
        """A volume; its id."""
        volume_id = str(uuid.uuid4())
        self.volumes[volume_id] = {"id": volume_id, "name": "", "description": None, "size": size,
                                   "status": "available", "multiattach": False, "bootable": "false",
                                   "volume_type": "__DEFAULT__", "project": "", "readonly": False, **values}
        return volume_id

    def add_snapshot(self, volume_id: str, **values: Any) -> str:
        snapshot_id = str(uuid.uuid4())
        self.snapshots[snapshot_id] = {"id": snapshot_id, "volume_id": volume_id, "status": "available",
                                       "size": self.volumes[volume_id]["size"], "name": "", **values}
        return snapshot_id

    def of(self, server_id: str) -> list[str]:
        """The volumes that a server's attachments hold."""
        return sorted(a["volume_id"] for a in self.attachments.values() if a["instance"] == server_id)

    def volume(self, volume_id: str) -> Json:
        if volume_id not in self.volumes:
            raise NotFound(f"Volume {volume_id} could not be found.")
        return self.volumes[volume_id]

    def view(self, volume: Json) -> Json:
        mine = [a for a in self.attachments.values() if a["volume_id"] == volume["id"]]
        return {**volume, "attachments": [{"server_id": a["instance"], "attachment_id": a["id"],
                                           "volume_id": volume["id"], "id": volume["id"]} for a in mine]}

    def settle(self, volume: Json) -> None:
        """A volume's status after one of its attachments went."""
        mine = [a for a in self.attachments.values() if a["volume_id"] == volume["id"]]
        if not mine:
            volume["status"] = "available"
        else:
            volume["status"] = "in-use" if any(a["status"] == "attached" for a in mine) else "reserved"

    def build(self, env: Environment) -> Service:
        validator = env.validator(env.session("cinder-api", "cinder"))
        app = make_app({
            "/v3/volumes": Volumes(self), "/v3/volumes/detail": Volumes(self), "/v3/volumes/{volume_id}": Volume(self),
            "/v3/volumes/{volume_id}/action": VolumeAction(self), "/v3/snapshots": Snapshots(self),
            "/v3/snapshots/detail": Snapshots(self),
            "/v3/snapshots/{snapshot_id}": Snapshot(self), "/v3/attachments": Attachments(self),
            "/v3/attachments/{attachment_id}": Attachment(self),
            "/v3/attachments/{attachment_id}/action": AttachmentAction(self), "/v3/types": Types(self),
            "/v3/limits": Limits(self)}, fault=faults.nova, validator=validator, identity_url=env.identity_url)
        return Service("cinder", mounts=[Mount("/volume", "cinder-api", app)], handle=self)


class _Base:
    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder


class Volumes(_Base):
    async def on_get(self, req: Request, resp: Response) -> None:
        await self.cinder.note("GET volumes")
        found = list(self.cinder.volumes.values())
        if (name := req.get_param("name")) is not None:
            found = [volume for volume in found if volume["name"] == name]
        resp.media = {"volumes": [self.cinder.view(volume) for volume in found]}

    async def on_post(self, req: Request, resp: Response) -> None:
        await self.cinder.note("POST volumes")
        body = (await req.json(Json))["volume"]
        if body.get("snapshot_id") and body["snapshot_id"] not in self.cinder.snapshots:
            raise NotFound(f"Snapshot {body['snapshot_id']} could not be found.")
        volume_id = self.cinder.add(body["size"], name=body["name"], status="creating",
                                    bootable="true" if body.get("imageRef") or body.get("snapshot_id") else "false",
                                    volume_type=body.get("volume_type") or "__DEFAULT__",
                                    source={k: v for k, v in body.items() if k in ("imageRef", "snapshot_id")})
        resp.status = 202
        resp.media = {"volume": self.cinder.volumes[volume_id]}


class Volume(_Base):
    async def on_get(self, req: Request, resp: Response, volume_id: str) -> None:
        await self.cinder.note("GET volumes/{id}")
        volume = self.cinder.volume(volume_id)
        resp.media = {"volume": self.cinder.view(volume)}
        if volume["status"] == "creating":
            volume["status"] = "available"  # the next look finds it made

    async def on_put(self, req: Request, resp: Response, volume_id: str) -> None:
        await self.cinder.note("PUT volumes")
        self.cinder.volume(volume_id).update((await req.json(Json))["volume"])
        resp.media = {"volume": self.cinder.volume(volume_id)}

    async def on_delete(self, req: Request, resp: Response, volume_id: str) -> None:
        await self.cinder.note("DELETE volumes")
        volume = self.cinder.volume(volume_id)
        if volume["status"] not in ("available", "error"):
            raise Invalid(f"Invalid volume: Volume status must be available or error, not {volume['status']}.")
        del self.cinder.volumes[volume_id]
        resp.status = 202


class VolumeAction(_Base):
    async def on_post(self, req: Request, resp: Response, volume_id: str) -> None:
        (action, value), = (await req.json(Json)).items()
        await self.cinder.note(action)
        volume = self.cinder.volume(volume_id)
        moves = {"os-begin_detaching": ("in-use", "detaching"), "os-roll_detaching": ("detaching", "in-use")}
        if action in moves:
            old, new = moves[action]
            if volume["status"] != old:
                raise Invalid(f"Invalid volume: status must be {old}.")
            volume["status"] = new
        elif action == "os-reimage":
            if volume["status"] != "reserved":
                raise Conflict(f"Volume is {volume['status']}.")
            volume["reimaged"] = value["image_id"]
        resp.status = 202


class Snapshots(_Base):
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"snapshots": list(self.cinder.snapshots.values())}

    async def on_post(self, req: Request, resp: Response) -> None:
        await self.cinder.note("POST snapshots")
        body = (await req.json(Json))["snapshot"]
        snapshot_id = self.cinder.add_snapshot(body["volume_id"], name=body["name"], metadata=body["metadata"])
        resp.status = 202
        resp.media = {"snapshot": self.cinder.snapshots[snapshot_id]}


class Snapshot(_Base):
    async def on_get(self, req: Request, resp: Response, snapshot_id: str) -> None:
        if snapshot_id not in self.cinder.snapshots:
            raise NotFound(f"Snapshot {snapshot_id} could not be found.")
        resp.media = {"snapshot": self.cinder.snapshots[snapshot_id]}

    async def on_delete(self, req: Request, resp: Response, snapshot_id: str) -> None:
        await self.cinder.note("DELETE snapshots")
        if self.cinder.snapshots.pop(snapshot_id, None) is None:
            raise NotFound(f"Snapshot {snapshot_id} could not be found.")
        resp.status = 202


class Attachments(_Base):
    async def on_get(self, req: Request, resp: Response) -> None:
        await self.cinder.note("GET attachments")
        wanted = req.get_param("instance_id")
        resp.media = {"attachments": [a for a in self.cinder.attachments.values() if a["instance"] == wanted]}

    async def on_post(self, req: Request, resp: Response) -> None:
        await self.cinder.note("POST attachments")
        body = (await req.json(Json))["attachment"]
        volume = self.cinder.volume(body["volume_uuid"])
        own = any(a["volume_id"] == volume["id"] and a["instance"] == body["instance_uuid"]
                  for a in self.cinder.attachments.values())
        expected = ("available", "in-use", "reserved") if volume["multiattach"] else ("available",)
        if not own and volume["status"] not in expected:
            raise Invalid(f"Invalid volume: Volume {volume['id']} status must be available or downloading to reserve, "
                          f"but the current status is {volume['status']}.")
        attachment = {"id": str(uuid.uuid4()), "status": "reserved", "instance": body["instance_uuid"],
                      "volume_id": volume["id"], "attach_mode": "ro" if volume["readonly"] else "rw",
                      "connection_info": {}}
        self.cinder.attachments[attachment["id"]] = attachment
        if volume["status"] != "in-use":
            volume["status"] = "reserved"
        resp.media = {"attachment": attachment}


class Attachment(_Base):
    def find(self, attachment_id: str) -> Json:
        if attachment_id not in self.cinder.attachments:
            raise NotFound(f"Volume attachment {attachment_id} could not be found.")
        return self.cinder.attachments[attachment_id]

    async def on_get(self, req: Request, resp: Response, attachment_id: str) -> None:
        await self.cinder.note("GET attachments/{id}")
        resp.media = {"attachment": self.find(attachment_id)}

    async def on_put(self, req: Request, resp: Response, attachment_id: str) -> None:
        await self.cinder.note("PUT attachments")
        attachment = self.find(attachment_id)
        volume = self.cinder.volume(attachment["volume_id"])
        if attachment["status"] == "reserved":
            attachment["status"] = "attaching"
            if volume["status"] == "reserved":
                volume["status"] = "attaching"
        attachment["connector"] = (await req.json(Json))["attachment"]["connector"]
        attachment["connection_info"] = {
            "driver_volume_type": "nbd", "volume_id": volume["id"], "export": volume["id"],
            "access_mode": attachment["attach_mode"], "encrypted": False}
        resp.media = {"attachment": attachment}

    async def on_delete(self, req: Request, resp: Response, attachment_id: str) -> None:
        await self.cinder.note("DELETE attachments")
        attachment = self.find(attachment_id)
        service = "service" in req.ctx.identity.service_roles
        if not service and attachment["connection_info"]:
            raise Conflict("Detected user call to delete in-use attachment.")
        del self.cinder.attachments[attachment_id]
        self.cinder.settle(self.cinder.volume(attachment["volume_id"]))
        resp.media = {"attachments": []}


class AttachmentAction(_Base):
    async def on_post(self, req: Request, resp: Response, attachment_id: str) -> None:
        await self.cinder.note("os-complete")
        attachment = Attachment(self.cinder).find(attachment_id)
        attachment["status"] = "attached"
        self.cinder.volume(attachment["volume_id"])["status"] = "in-use"
        resp.status = 204


class Types(_Base):
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"volume_types": self.cinder.types}


class Limits(_Base):
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"limits": {"rate": [], "absolute": self.cinder.limits}}
