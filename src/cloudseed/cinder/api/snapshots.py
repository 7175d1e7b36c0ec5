"""/v3/snapshots"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.cinder import snapshots
from cloudseed.cinder.api import lists
from cloudseed.cinder.api.body import (
    as_type,
    check_pairs,
    check_text,
    check_uuid,
    etag,
    pick,
    read,
    read_action,
    read_object,
    read_pairs,
    shown,
    strip,
    when,
)
from cloudseed.cinder.errors import NotSupported
from cloudseed.cinder.snapshots import Snapshot as Record
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request

IN_USE_SINCE = (3, 66)
_FILTERS_ADDED = {"metadata": (3, 22), "consumes_quota": (3, 65)}


class _New(msgspec.Struct):
    volume_id: str | None  # null is a volume that is not there
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    display_description: str | None = None
    force: bool | None = None
    metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        check_uuid(self.volume_id, "volume_id")
        for what in ("name", "display_name", "description", "display_description"):
            check_text(getattr(self, what), what)
        check_pairs(self.metadata)


class _Changed(msgspec.Struct):
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    display_name: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    display_description: str | msgspec.UnsetType | None = msgspec.UNSET

    def __post_init__(self) -> None:
        for what in ("name", "display_name", "description", "display_description"):
            value = getattr(self, what)
            check_text(value if isinstance(value, str) else None, what)

    def changes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for column in ("name", "description"):
            for field in (f"display_{column}", column):
                if (value := getattr(self, field)) is not msgspec.UNSET:
                    found[column] = strip(value)
        return found


def summary(req: Request, snapshot: Record) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": snapshot.id, "name": snapshot.name, "description": snapshot.description,
        "volume_id": snapshot.volume_id, "status": snapshot.status, "size": snapshot.volume_size,
        "created_at": when(snapshot.created_at), "updated_at": when(snapshot.updated_at),
        "metadata": snapshot.metadata}
    if req.microversion >= (3, 14):
        view["group_snapshot_id"] = snapshot.group_snapshot_id
    if req.microversion >= (3, 41):
        view["user_id"] = snapshot.user_id
    if req.microversion >= (3, 65):
        view["consumes_quota"] = snapshot.consumes_quota
    return view


def detail(req: Request, cinder: Cinder, snapshot: Record) -> dict[str, Any]:
    view = summary(req, snapshot)
    if cinder.policy.check("volume_extension:extended_snapshot_attributes", req.ctx.identity, snapshot.target):
        view["os-extended-snapshot-attributes:progress"] = snapshot.progress
        view["os-extended-snapshot-attributes:project_id"] = snapshot.project_id
    return view


class Snapshots:
    """/v3/snapshots"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response) -> None:
        await _list(self.cinder, req, resp, detailed=False)

    async def on_post(self, req: Request, resp: Response) -> None:
        asked = await read(req, "snapshot", _New)
        if req.microversion >= IN_USE_SINCE and asked.force is False:
            raise Invalid("Since microversion 3.66 the 'force' flag is invalid for this request: volumes in use can be "
                          "snapshotted without it. A value of true is ignored.")
        snapshot = await snapshots.create_snapshot(
            self.cinder, req.ctx, asked.volume_id or "None",
            name=strip(asked.name if asked.name is not None else asked.display_name),
            description=strip(asked.description if asked.description is not None else asked.display_description),
            metadata=asked.metadata or {}, in_use=bool(asked.force) or req.microversion >= IN_USE_SINCE)
        resp.status = 202
        resp.media = {"snapshot": summary(req, snapshot)}


class SnapshotsDetail:
    """/v3/snapshots/detail"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response) -> None:
        await _list(self.cinder, req, resp, detailed=True)


async def _list(cinder: Cinder, req: Request, resp: Response, *, detailed: bool) -> None:
    query = lists.parse(req, snapshots.FILTERS, snapshots.ADMIN_FILTERS, _FILTERS_ADDED)
    found, count = await snapshots.list_snapshots(cinder, req.ctx, query.page, query.where,
                                                  everybody=query.everybody, with_count=query.with_count)
    views = [detail(req, cinder, item) if detailed else summary(req, item) for item in found]
    resp.media = lists.answer(req, "snapshots", query, found, views, count)


class Snapshot:
    """/v3/snapshots/{snapshot_id}"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response, snapshot_id: str) -> None:
        async with self.cinder.db.read() as tx:
            snapshot = await snapshots.get(self.cinder, tx, req.ctx, snapshot_id)
        resp.media = {"snapshot": detail(req, self.cinder, snapshot)}

    async def on_put(self, req: Request, resp: Response, snapshot_id: str) -> None:
        changes = (await read(req, "snapshot", _Changed)).changes()
        if not changes:
            raise Invalid("Invalid input for field/attribute snapshot. The request names nothing to change.")
        snapshot = await snapshots.update_snapshot(self.cinder, req.ctx, snapshot_id, changes)
        resp.media = {"snapshot": summary(req, snapshot)}

    async def on_delete(self, req: Request, resp: Response, snapshot_id: str) -> None:
        await snapshots.delete_snapshot(self.cinder, req.ctx, snapshot_id)
        resp.status = 202


class _Status(msgspec.Struct):
    status: str
    progress: str | None = None

    def __post_init__(self) -> None:
        if self.progress is not None and not (self.progress.rstrip("%").isdecimal()
                                              and int(self.progress.rstrip("%")[:9]) <= 100):
            raise ValueError("Invalid input for field/attribute progress. It must be a percentage")


class SnapshotAction:
    """/v3/snapshots/{snapshot_id}/action"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_post(self, req: Request, resp: Response, snapshot_id: str) -> None:
        name, value = await read_action(req, '{"os-force_delete": {}}')
        resp.status = 202
        match name:
            case "os-reset_status":
                order = as_type(value, _Status, name)
                await snapshots.reset_status(self.cinder, req.ctx, snapshot_id, order.status.lower())
            case "os-force_delete":
                await snapshots.delete_snapshot(self.cinder, req.ctx, snapshot_id, force=True)
            case "os-update_snapshot_status":
                order = as_type(value, _Status, name)
                await snapshots.update_status(self.cinder, req.ctx, snapshot_id, order.status, order.progress)
            case "os-unmanage":
                async with self.cinder.db.read() as tx:
                    await snapshots.get(self.cinder, tx, req.ctx, snapshot_id, "snapshot_extension:snapshot_unmanage")
                raise NotSupported(what="Unmanaging snapshots", why="their files belong to the host process alone.")
            case _:
                raise Invalid(f"There is no such action: {shown(name)}")


class SnapshotMetadata:
    """/v3/snapshots/{snapshot_id}/metadata"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response, snapshot_id: str) -> None:
        async with self.cinder.db.read() as tx:
            found = await snapshots.get(self.cinder, tx, req.ctx, snapshot_id, "volume:get_snapshot_metadata")
        resp.media = {"metadata": found.metadata}
        if req.microversion >= (3, 15):
            resp.set_header("ETag", etag(found.metadata))

    async def on_post(self, req: Request, resp: Response, snapshot_id: str) -> None:
        await self._change(req, resp, snapshot_id, replace=False)

    async def on_put(self, req: Request, resp: Response, snapshot_id: str) -> None:
        await self._change(req, resp, snapshot_id, replace=True)

    async def _change(self, req: Request, resp: Response, snapshot_id: str, *, replace: bool) -> None:
        pairs = read_pairs((await read_object(req, "metadata"))["metadata"])
        found = await snapshots.change_metadata(self.cinder, req.ctx, snapshot_id, pairs, replace=replace)
        resp.media = {"metadata": found}


class SnapshotMetadataItem:
    """/v3/snapshots/{snapshot_id}/metadata/{key}"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response, snapshot_id: str, key: str) -> None:
        async with self.cinder.db.read() as tx:
            found = await snapshots.get(self.cinder, tx, req.ctx, snapshot_id, "volume:get_snapshot_metadata")
        resp.media = {"meta": {key: pick(found.metadata, key)}}

    async def on_put(self, req: Request, resp: Response, snapshot_id: str, key: str) -> None:
        pairs = read_pairs((await read_object(req, "meta"))["meta"])
        if list(pairs) != [key]:
            raise Invalid(f"Request body and URI mismatch: the body must set {shown(key)}, and nothing else.")
        await snapshots.change_metadata(self.cinder, req.ctx, snapshot_id, pairs, replace=False)
        resp.media = {"meta": pairs}

    async def on_delete(self, req: Request, resp: Response, snapshot_id: str, key: str) -> None:
        await snapshots.delete_metadata(self.cinder, req.ctx, snapshot_id, key)
