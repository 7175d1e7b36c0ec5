"""/v3/backups"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from cloudseed.cinder import backups
from cloudseed.cinder.api import lists
from cloudseed.cinder.api.body import (
    as_type,
    check_pairs,
    check_text,
    check_uuid,
    is_admin,
    links,
    read,
    read_action,
    shown,
    strip,
    when,
)
from cloudseed.cinder.backups import Backup as Stored
from cloudseed.cinder.backups import Record
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.json import decode
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request

SERVICE = "cinder.backup.drivers.swift.SwiftBackupDriver"  # the name that upstream's records have for swift


class _New(msgspec.Struct):
    volume_id: str
    name: str | None = None
    description: str | None = None
    container: str | None = None
    incremental: bool = False
    force: bool = False
    snapshot_id: str | None = None
    metadata: dict[str, str] | None = None
    availability_zone: str | None = None

    def __post_init__(self) -> None:
        check_uuid(self.volume_id, "volume_id")
        check_uuid(self.snapshot_id, "snapshot_id")
        check_text(self.name, "name")
        check_text(self.description, "description")
        check_text(self.container, "container")
        if self.container is not None and ("/" in self.container or self.container in (".", "..")
                                           or len(self.container.encode()) > 255):
            raise ValueError("Invalid input for field/attribute container. It must be a container's name, without /")
        check_pairs(self.metadata)


class _Changed(msgspec.Struct):
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, str] | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        for what in ("name", "description"):
            value = getattr(self, what)
            check_text(value if isinstance(value, str) else None, what)
        if isinstance(self.metadata, dict):
            check_pairs(self.metadata)


class _Restore(msgspec.Struct):
    volume_id: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        check_uuid(self.volume_id, "volume_id")
        check_text(self.name, "name")


class _Status(msgspec.Struct):
    status: str


class _Imported(msgspec.Struct):
    backup_service: str
    backup_url: str

    def __post_init__(self) -> None:
        check_text(self.backup_service, "backup_service", minimum=1)


def summary(req: Request, backup: Stored) -> dict[str, Any]:
    return {"id": backup.id, "name": backup.name, "links": links(req, "backups", backup.id)}


def detail(req: Request, backup: Stored) -> dict[str, Any]:
    view = {**summary(req, backup), "status": backup.status, "size": backup.size,
            "object_count": backup.object_count, "availability_zone": backup.availability_zone,
            "container": backup.container, "created_at": when(backup.created_at),
            "updated_at": when(backup.updated_at), "description": backup.description,
            "fail_reason": backup.fail_reason, "volume_id": backup.volume_id,
            "is_incremental": backup.parent_id is not None, "has_dependent_backups": backup.dependents > 0,
            "snapshot_id": backup.snapshot_id, "data_timestamp": when(backup.data_timestamp)}
    if req.microversion >= (3, 18) and is_admin(req):
        view["os-backup-project-attr:project_id"] = backup.project_id
    if req.microversion >= (3, 43):
        view["metadata"] = backup.metadata
    if req.microversion >= (3, 56):
        view["user_id"] = backup.user_id
    return view


class Backups:
    """/v3/backups"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response) -> None:
        await _list(self.cinder, req, resp, detailed=False)

    async def on_post(self, req: Request, resp: Response) -> None:
        asked = await read(req, "backup", _New, added={"metadata": (3, 43), "availability_zone": (3, 51)})
        backup = await backups.create_backup(self.cinder, req.ctx, backups.Order(
            volume_id=asked.volume_id, name=strip(asked.name), description=strip(asked.description),
            container=asked.container or None, incremental=asked.incremental, force=asked.force,
            snapshot_id=asked.snapshot_id, metadata=asked.metadata or {},
            availability_zone=asked.availability_zone))
        resp.status = 202
        resp.media = {"backup": summary(req, backup)}


class BackupsDetail:
    """/v3/backups/detail"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response) -> None:
        await _list(self.cinder, req, resp, detailed=True)


async def _list(cinder: Cinder, req: Request, resp: Response, *, detailed: bool) -> None:
    query = lists.parse(req, backups.FILTERS, backups.ADMIN_FILTERS)
    found, count = await backups.list_backups(cinder, req.ctx, query.page, query.where, everybody=query.everybody,
                                              with_count=query.with_count)
    views = [detail(req, item) if detailed else summary(req, item) for item in found]
    resp.media = lists.answer(req, "backups", query, found, views, count)


class BackupsImport:
    """/v3/backups/import_record"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_post(self, req: Request, resp: Response) -> None:
        asked = await read(req, "backup-record", _Imported)
        self.cinder.policy.enforce("backup:backup-import", req.ctx.identity)
        if asked.backup_service != SERVICE:
            raise Invalid(f"Invalid backup: the record is of service {shown(asked.backup_service)}, not of {SERVICE}.")
        try:
            content = base64.b64decode(asked.backup_url, validate=True)
        except (binascii.Error, ValueError):
            raise Invalid("Invalid input for field/attribute backup_url. It must be base64.") from None
        record = as_type(decode(content), Record, "backup_url")
        resp.status = 201
        resp.media = {"backup": summary(req, await backups.import_record(self.cinder, req.ctx, record))}


class Backup:
    """/v3/backups/{backup_id}"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response, backup_id: str) -> None:
        async with self.cinder.db.read() as tx:
            backup = await backups.get(self.cinder, tx, req.ctx, backup_id)
        resp.media = {"backup": detail(req, backup)}

    async def on_put(self, req: Request, resp: Response, backup_id: str) -> None:
        require(req.microversion, (3, 9))
        asked = await read(req, "backup", _Changed, added={"metadata": (3, 43)})
        changes = {what: getattr(asked, what) for what in ("name", "description", "metadata")
                   if getattr(asked, what) is not msgspec.UNSET}
        if not changes:
            raise Invalid("Invalid input for field/attribute backup. The request names nothing to change.")
        resp.media = {"backup": summary(req, await backups.update_backup(self.cinder, req.ctx, backup_id, changes))}

    async def on_delete(self, req: Request, resp: Response, backup_id: str) -> None:
        await backups.delete_backup(self.cinder, req.ctx, backup_id)
        resp.status = 202


class BackupRestore:
    """/v3/backups/{backup_id}/restore"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_post(self, req: Request, resp: Response, backup_id: str) -> None:
        asked = await read(req, "restore", _Restore)
        backup, volume = await backups.restore_backup(self.cinder, req.ctx, backup_id, asked.volume_id,
                                                      strip(asked.name))
        resp.status = 202
        resp.media = {"restore": {"backup_id": backup.id, "volume_id": volume.id, "volume_name": volume.name}}


class BackupExport:
    """/v3/backups/{backup_id}/export_record"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_get(self, req: Request, resp: Response, backup_id: str) -> None:
        record = await backups.export_record(self.cinder, req.ctx, backup_id)
        resp.media = {"backup-record": {
            "backup_service": SERVICE, "backup_url": base64.b64encode(msgspec.json.encode(record)).decode()}}


class BackupAction:
    """/v3/backups/{backup_id}/action"""

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder

    async def on_post(self, req: Request, resp: Response, backup_id: str) -> None:
        name, value = await read_action(req, '{"os-force_delete": {}}')
        resp.status = 202
        match name:
            case "os-reset_status":
                order = as_type(value, _Status, name)
                await backups.reset_status(self.cinder, req.ctx, backup_id, order.status.lower())
            case "os-force_delete":
                await backups.delete_backup(self.cinder, req.ctx, backup_id, force=True)
            case _:
                raise Invalid(f"There is no such action: {shown(name)}")
