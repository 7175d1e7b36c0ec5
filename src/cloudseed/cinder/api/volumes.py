"""/v3/volumes"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.cinder import backups, images, volume_create, volume_orders, volumes
from cloudseed.cinder.api import lists
from cloudseed.cinder.api.body import (
    check_pairs,
    check_range,
    check_text,
    check_uuid,
    convert,
    etag,
    pick,
    read,
    read_object,
    read_pairs,
    shown,
    strip,
)
from cloudseed.cinder.api.volume_views import detail, plain, summary
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request

STRICT_FROM = (3, 53)
_ADDED = {"group_id": (3, 13), "backup_id": (3, 47)}
_FILTERS_ADDED = {"glance_metadata": (3, 4), "group_id": (3, 10), "created_at": (3, 60), "updated_at": (3, 60),
                  "consumes_quota": (3, 65)}


class NewVolume(msgspec.Struct):
    size: int | None = None
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    display_description: str | None = None
    volume_type: str | None = None
    metadata: dict[str, str] | None = None
    snapshot_id: str | None = None
    source_volid: str | None = None
    consistencygroup_id: str | None = None
    availability_zone: str | None = None
    multiattach: bool | None = None
    image_id: str | None = None
    image_ref: str | None = msgspec.field(default=None, name="imageRef")
    group_id: str | None = None
    backup_id: str | None = None

    def __post_init__(self) -> None:
        check_range(self.size, "size", 1)
        for what in ("name", "display_name", "volume_type", "image_id", "image_ref", "availability_zone"):
            check_text(getattr(self, what), what)
        for what in ("description", "display_description"):
            check_text(getattr(self, what), what)
        check_pairs(self.metadata)
        for what in ("snapshot_id", "source_volid", "consistencygroup_id", "backup_id", "group_id"):
            check_uuid(getattr(self, what), what)
        sources = [name for name in ("snapshot_id", "source_volid", "image", "backup_id") if self.source(name)]
        if len(sources) > 1:
            raise ValueError(f"A volume has one source at most; the request names {' and '.join(sources)}")
        if self.multiattach:
            raise ValueError("multiattach: volumes that can be attached several times are made by a volume type whose "
                             "extra spec multiattach is \"<is> True\"")

    def source(self, name: str) -> str | None:
        return (self.image_ref or self.image_id) if name == "image" else getattr(self, name)


class ChangedVolume(msgspec.Struct):
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    display_name: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    display_description: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, str] | msgspec.UnsetType | None = msgspec.UNSET

    def __post_init__(self) -> None:
        for what in ("name", "display_name", "description", "display_description"):
            value = getattr(self, what)
            check_text(value if isinstance(value, str) else None, what)
        if isinstance(self.metadata, dict):
            check_pairs(self.metadata)

    def changes(self) -> dict[str, Any]:
        """Column -> new value, of the texts."""
        found: dict[str, Any] = {}
        for column in ("name", "description"):
            for field in (f"display_{column}", column):
                if (value := getattr(self, field)) is not msgspec.UNSET:
                    found[column] = strip(value)
        return found


class Volumes:
    """/v3/volumes"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response) -> None:
        await _list(self.cinder, req, resp, detailed=False)

    async def on_post(self, req: Request, resp: Response) -> None:
        body = await read_object(req, "volume", beside=("OS-SCH-HNT:scheduler_hints",))
        if not isinstance(body.get("OS-SCH-HNT:scheduler_hints") or {}, dict):
            raise Invalid("Invalid input for field/attribute OS-SCH-HNT:scheduler_hints. It must be an object.")
        asked = convert(req, body["volume"], NewVolume, "volume", added=_ADDED, strict_from=STRICT_FROM)
        if asked.consistencygroup_id is not None:
            raise Invalid("consistencygroup_id: consistency groups are gone from the API; use groups.")
        reference = asked.source("image")
        image = await images.find_image(self.cinder, req.ctx, reference) if reference else None
        order = volume_create.Order(
            size=asked.size, name=strip(asked.name if asked.name is not None else asked.display_name),
            description=strip(asked.description if asked.description is not None else asked.display_description),
            metadata=asked.metadata or {}, volume_type=asked.volume_type or None,
            availability_zone=asked.availability_zone, snapshot_id=asked.snapshot_id,
            source_volid=asked.source_volid, image=image, group_id=asked.group_id)
        volume = await volume_create.create_volume(self.cinder, req.ctx, order) if asked.backup_id is None else \
            await backups.create_volume_from_backup(self.cinder, req.ctx, order, asked.backup_id)
        resp.status = 202
        resp.media = {"volume": plain(req, volume)}


class VolumesDetail:
    """/v3/volumes/detail"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response) -> None:
        await _list(self.cinder, req, resp, detailed=True)


async def _list(cinder: Cinder, req: Request, resp: Response, *, detailed: bool) -> None:
    query = lists.parse(req, volumes.FILTERS, volumes.ADMIN_FILTERS, _FILTERS_ADDED)
    found, count = await volumes.list_volumes(cinder, req.ctx, query.page, query.where, everybody=query.everybody,
                                              with_count=query.with_count)
    views = [detail(req, cinder, volume) if detailed else summary(req, volume) for volume in found]
    resp.media = lists.answer(req, "volumes", query, found, views, count)


class VolumesSummary:
    """/v3/volumes/summary (3.12)"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, (3, 12))
        query = lists.parse(req, volumes.FILTERS, volumes.ADMIN_FILTERS, _FILTERS_ADDED)
        number, size, metadata = await volumes.summarize(self.cinder, req.ctx, query.where, everybody=query.everybody)
        view: dict[str, Any] = {"total_count": number, "total_size": size}
        if req.microversion >= (3, 36):
            view["metadata"] = metadata
        resp.media = {"volume-summary": view}


class Volume:
    """/v3/volumes/{volume_id}"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response, volume_id: str) -> None:
        volume = await volumes.get_volume(self.cinder, req.ctx, volume_id)
        resp.media = {"volume": detail(req, self.cinder, volume)}

    async def on_put(self, req: Request, resp: Response, volume_id: str) -> None:
        asked = await read(req, "volume", ChangedVolume)
        changes = asked.changes()
        metadata = asked.metadata if isinstance(asked.metadata, dict) else None
        if not changes and metadata is None and req.microversion >= STRICT_FROM:
            raise Invalid("Invalid input for field/attribute volume. The request names nothing to change: name, "
                          "description or metadata.")
        volume = await volumes.update_volume(self.cinder, req.ctx, volume_id, changes, metadata)
        resp.media = {"volume": plain(req, volume)}

    async def on_delete(self, req: Request, resp: Response, volume_id: str) -> None:
        force = req.microversion >= (3, 23) and req.bool_param("force")
        await volume_orders.delete_volume(self.cinder, req.ctx, volume_id, cascade=req.bool_param("cascade"),
                                          force=force)
        resp.status = 202


class VolumeMetadata:
    """/v3/volumes/{volume_id}/metadata"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response, volume_id: str) -> None:
        volume = await volumes.get_volume(self.cinder, req.ctx, volume_id, "volume:get_volume_metadata")
        resp.media = {"metadata": volume.metadata}
        if req.microversion >= (3, 15):
            resp.set_header("ETag", etag(volume.metadata))

    async def on_post(self, req: Request, resp: Response, volume_id: str) -> None:
        await self._change(req, resp, volume_id, replace=False, rule="volume:create_volume_metadata")

    async def on_put(self, req: Request, resp: Response, volume_id: str) -> None:
        await self._change(req, resp, volume_id, replace=True, rule="volume:update_volume_metadata")

    async def _change(self, req: Request, resp: Response, volume_id: str, *, replace: bool, rule: str) -> None:
        metadata = read_pairs((await read_object(req, "metadata"))["metadata"])
        found = await volumes.change_metadata(self.cinder, req.ctx, volume_id, metadata, replace=replace, rule=rule)
        resp.media = {"metadata": found}


class VolumeMetadataItem:
    """/v3/volumes/{volume_id}/metadata/{key}"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response, volume_id: str, key: str) -> None:
        volume = await volumes.get_volume(self.cinder, req.ctx, volume_id, "volume:get_volume_metadata")
        resp.media = {"meta": {key: pick(volume.metadata, key)}}

    async def on_put(self, req: Request, resp: Response, volume_id: str, key: str) -> None:
        metadata = read_pairs((await read_object(req, "meta"))["meta"])
        if list(metadata) != [key]:
            raise Invalid(f"Request body and URI mismatch: the body must set {shown(key)}, and nothing else.")
        await volumes.change_metadata(self.cinder, req.ctx, volume_id, metadata, replace=False,
                                      rule="volume:update_volume_metadata")
        resp.media = {"meta": metadata}

    async def on_delete(self, req: Request, resp: Response, volume_id: str, key: str) -> None:
        await volumes.delete_metadata(self.cinder, req.ctx, volume_id, key)


class VolumeEncryption:
    """/v3/volumes/{volume_id}/encryption, and one key of it: no volume is encrypted"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response, volume_id: str, key: str | None = None) -> None:
        await volumes.get_volume(self.cinder, req.ctx, volume_id, "volume_extension:volume_encryption_metadata")
        if key is None:
            resp.media = {}
        else:
            resp.content_type, resp.text = "text/plain", ""
