"""/v3/groups (3.13), /v3/group_snapshots (3.14), /v3/group_types (3.11)"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.cinder import group_types, groups
from cloudseed.cinder.api import lists
from cloudseed.cinder.api.body import (
    as_type,
    check_pairs,
    check_text,
    check_uuid,
    pick,
    read,
    read_action,
    read_object,
    read_pairs,
    shown,
    strip,
    when,
)
from cloudseed.cinder.errors import GroupTypeNotFound, NotSupported
from cloudseed.cinder.listing import Listing, equals
from cloudseed.cinder.models import group_types as types_table
from cloudseed.cinder.state import Cinder
from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.microversion import Version, require
from cloudseed.kernel.http.request import Request

TYPES_SINCE, GROUPS_SINCE, SNAPSHOTS_SINCE, RESET_SINCE = (3, 11), (3, 13), (3, 14), (3, 20)
TYPES = Listing(types_table, {key: types_table.c[key] for key in ("id", "name", "created_at")},
                lambda marker: GroupTypeNotFound(group_type_id=marker))


class _Base:
    since: Version = GROUPS_SINCE

    def __init__(self, cinder: Cinder) -> None:
        self.cinder = cinder


class _NewGroup(msgspec.Struct):
    group_type: str
    volume_types: list[str]
    name: str | None = None
    description: str | None = None
    availability_zone: str | None = None

    def __post_init__(self) -> None:
        for what in ("group_type", "name", "description", "availability_zone"):
            check_text(getattr(self, what), what)
        if not self.volume_types:
            raise ValueError("Invalid input for field/attribute volume_types. A group needs one volume type at least")


class _ChangedGroup(msgspec.Struct):
    name: str | None = None
    description: str | None = None
    add_volumes: str | None = None
    remove_volumes: str | None = None

    def __post_init__(self) -> None:
        check_text(self.name, "name")
        check_text(self.description, "description")
        if not any((self.name, self.description, self.add_volumes, self.remove_volumes)):
            raise ValueError("Cannot update group: it needs a name, a description, add_volumes or remove_volumes")


class _Source(msgspec.Struct):
    name: str | None = None
    description: str | None = None
    group_snapshot_id: str | None = None
    source_group_id: str | None = None

    def __post_init__(self) -> None:
        check_text(self.name, "name")
        check_text(self.description, "description")
        check_uuid(self.group_snapshot_id, "group_snapshot_id")
        check_uuid(self.source_group_id, "source_group_id")
        if (self.group_snapshot_id is None) == (self.source_group_id is None):
            raise ValueError("Either 'group_snapshot_id' or 'source_group_id' must be provided to create group from "
                             "source")


class _Delete(msgspec.Struct):
    delete_volumes: bool = msgspec.field(default=False, name="delete-volumes")


class _Status(msgspec.Struct):
    status: str


def group_view(req: Request, cinder: Cinder, row: Any, ids: list[str] | None = None) -> dict[str, Any]:
    view = {"id": row.id, "status": row.status, "availability_zone": row.availability_zone,
            "created_at": when(row.created_at), "name": row.name, "description": row.description,
            "group_type": row.group_type_id, "volume_types": row.volume_types}
    if req.microversion >= SNAPSHOTS_SINCE:
        view |= {"group_snapshot_id": row.group_snapshot_id, "source_group_id": row.source_group_id}
    if ids is not None and req.microversion >= (3, 25):
        view["volumes"] = ids
    if req.microversion >= (3, 38):
        view["replication_status"] = "disabled"
    if req.microversion >= (3, 58) and cinder.policy.check("group:group_project_attribute", req.ctx.identity):
        view["project_id"] = row.project_id
    return view


class Groups(_Base):
    """/v3/groups"""

    async def on_get(self, req: Request, resp: Response) -> None:
        await _list(self.cinder, req, resp, detailed=False)

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, GROUPS_SINCE)
        order = await read(req, "group", _NewGroup)
        row = await groups.create_group(
            self.cinder, req.ctx, name=strip(order.name), description=strip(order.description),
            group_type=order.group_type, types=order.volume_types, zone=order.availability_zone)
        resp.status = 202
        resp.media = {"group": {"id": row.id, "name": row.name}}


class GroupsDetail(_Base):
    """/v3/groups/detail"""

    async def on_get(self, req: Request, resp: Response) -> None:
        await _list(self.cinder, req, resp, detailed=True)


async def _list(cinder: Cinder, req: Request, resp: Response, *, detailed: bool) -> None:
    require(req.microversion, GROUPS_SINCE)
    query = lists.parse(req, {**groups.FILTERS, "list_volume": lambda text: True})
    where = [condition for condition in query.where if condition is not True]
    rows = await groups.list_groups(cinder, req.ctx, query.page, where, everybody=query.everybody)
    members: dict[str, list[str]] | None = None
    if detailed and req.bool_param("list_volume"):
        async with cinder.db.read() as tx:
            members = await groups.volume_ids(tx, [row.id for row in rows])
    views = [group_view(req, cinder, row, members.get(row.id, []) if members is not None else None) if detailed else
             {"id": row.id, "name": row.name} for row in rows]
    resp.media = lists.answer(req, "groups", query, rows, views)


class GroupsAction(_Base):
    """/v3/groups/action: create-from-src"""

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, SNAPSHOTS_SINCE)
        order = await read(req, "create-from-src", _Source)
        row = await groups.create_from_source(
            self.cinder, req.ctx, name=strip(order.name), description=strip(order.description),
            group_snapshot_id=order.group_snapshot_id, source_group_id=order.source_group_id)
        resp.status = 202
        resp.media = {"group": {"id": row.id, "name": row.name}}


class Group(_Base):
    """/v3/groups/{group_id}"""

    async def on_get(self, req: Request, resp: Response, group_id: str) -> None:
        require(req.microversion, GROUPS_SINCE)
        async with self.cinder.db.read() as tx:
            row = await groups.get(self.cinder, tx, req.ctx, group_id)
            members = (await groups.volume_ids(tx, [group_id])).get(group_id, [])
        resp.media = {"group": group_view(req, self.cinder, row, members if req.bool_param("list_volume") else None)}

    async def on_put(self, req: Request, resp: Response, group_id: str) -> None:
        require(req.microversion, GROUPS_SINCE)
        order = await read(req, "group", _ChangedGroup)
        changes = {what: getattr(order, what) for what in ("name", "description") if getattr(order, what) is not None}
        await groups.update_group(self.cinder, req.ctx, group_id, changes, _ids(order.add_volumes),
                                  _ids(order.remove_volumes))
        resp.status = 202


def _ids(text: str | None) -> list[str]:
    return [one.strip() for one in (text or "").split(",") if one.strip()][:100]


class GroupAction(_Base):
    """/v3/groups/{group_id}/action"""

    async def on_post(self, req: Request, resp: Response, group_id: str) -> None:
        require(req.microversion, GROUPS_SINCE)
        name, value = await read_action(req, '{"delete": {}}')
        resp.status = 202
        match name:
            case "delete":
                order = as_type(value, _Delete, name)
                await groups.delete_group(self.cinder, req.ctx, group_id, with_volumes=order.delete_volumes)
            case "reset_status":
                require(req.microversion, RESET_SINCE)
                status = as_type(value, _Status, name).status.lower()
                await groups.reset_status(self.cinder, req.ctx, group_id, status)
            case "enable_replication" | "disable_replication" | "failover_replication" | "list_replication_targets":
                require(req.microversion, (3, 38))
                async with self.cinder.db.read() as tx:
                    await groups.get(self.cinder, tx, req.ctx, group_id, f"group:{name}")
                raise NotSupported(what="Replication of groups", why="each volume has one host.")
            case _:
                raise Invalid(f"There is no such action: {shown(name)}")


# ---- group snapshots

class _NewSnapshot(msgspec.Struct):
    group_id: str
    name: str | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        check_uuid(self.group_id, "group_id")
        check_text(self.name, "name")
        check_text(self.description, "description")


def snapshot_view(req: Request, cinder: Cinder, row: Any) -> dict[str, Any]:
    view = {"id": row.id, "group_id": row.group_id, "status": row.status, "created_at": when(row.created_at),
            "name": row.name, "description": row.description, "group_type_id": row.group_type_id}
    if req.microversion >= (3, 58) and cinder.policy.check("group:group_snapshot_project_attribute",
                                                           req.ctx.identity):
        view["project_id"] = row.project_id
    return view


class GroupSnapshots(_Base):
    """/v3/group_snapshots"""

    async def on_get(self, req: Request, resp: Response) -> None:
        await _list_snapshots(self.cinder, req, resp, detailed=False)

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, SNAPSHOTS_SINCE)
        order = await read(req, "group_snapshot", _NewSnapshot)
        row = await groups.create_snapshot(self.cinder, req.ctx, order.group_id, name=strip(order.name),
                                           description=strip(order.description))
        resp.status = 202
        resp.media = {"group_snapshot": {"id": row.id, "name": row.name, "group_type_id": row.group_type_id}}


class GroupSnapshotsDetail(_Base):
    """/v3/group_snapshots/detail"""

    async def on_get(self, req: Request, resp: Response) -> None:
        await _list_snapshots(self.cinder, req, resp, detailed=True)


async def _list_snapshots(cinder: Cinder, req: Request, resp: Response, *, detailed: bool) -> None:
    require(req.microversion, SNAPSHOTS_SINCE)
    query = lists.parse(req, groups.GS_FILTERS)
    rows = await groups.list_snapshots(cinder, req.ctx, query.page, query.where, everybody=query.everybody)
    views = [snapshot_view(req, cinder, row) if detailed else {"id": row.id, "name": row.name} for row in rows]
    resp.media = lists.answer(req, "group_snapshots", query, rows, views)


class GroupSnapshot(_Base):
    """/v3/group_snapshots/{snapshot_id}"""

    async def on_get(self, req: Request, resp: Response, snapshot_id: str) -> None:
        require(req.microversion, SNAPSHOTS_SINCE)
        async with self.cinder.db.read() as tx:
            row = await groups.get_snapshot(self.cinder, tx, req.ctx, snapshot_id)
        resp.media = {"group_snapshot": snapshot_view(req, self.cinder, row)}

    async def on_delete(self, req: Request, resp: Response, snapshot_id: str) -> None:
        require(req.microversion, SNAPSHOTS_SINCE)
        await groups.delete_snapshot(self.cinder, req.ctx, snapshot_id)
        resp.status = 202


class GroupSnapshotAction(_Base):
    """/v3/group_snapshots/{snapshot_id}/action"""

    async def on_post(self, req: Request, resp: Response, snapshot_id: str) -> None:
        require(req.microversion, (3, 19))
        order = await read(req, "reset_status", _Status)
        await groups.reset_status(self.cinder, req.ctx, snapshot_id, order.status.lower(), snapshot=True)
        resp.status = 202


# ---- group types

class _NewType(msgspec.Struct):
    name: str
    description: str | None = None
    is_public: bool = True
    group_specs: dict[str, str] | None = None

    def __post_init__(self) -> None:
        check_text(self.name, "name", minimum=1)
        check_text(self.description, "description")
        check_pairs(self.group_specs, "group_specs")


class _ChangedType(msgspec.Struct):
    name: str | None = None
    description: str | None = None
    is_public: bool | None = None

    def __post_init__(self) -> None:
        check_text(self.name, "name", minimum=1)
        check_text(self.description, "description")
        if self.name is None and self.description is None and self.is_public is None:
            raise ValueError("Specify group type name, description or a combination thereof")


def type_view(req: Request, cinder: Cinder, row: Any) -> dict[str, Any]:
    view = {"id": row.id, "name": row.name, "description": row.description, "is_public": row.is_public}
    if cinder.policy.check("group:access_group_types_specs", req.ctx.identity):
        view["group_specs"] = row.group_specs
    return view


class GroupTypes(_Base):
    """/v3/group_types"""

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, TYPES_SINCE)
        query = lists.parse(req, {"name": equals(types_table.c.name), "is_public": lambda text: True})
        where = [condition for condition in query.where if condition is not True]
        if "admin" not in req.ctx.identity.roles:
            where.append(types_table.c.is_public.is_(True))
        async with self.cinder.db.read() as tx:
            rows = await TYPES.rows(tx, query.page, where)
        resp.media = lists.answer(req, "group_types", query, rows, [type_view(req, self.cinder, row) for row in rows])

    async def on_post(self, req: Request, resp: Response) -> None:
        require(req.microversion, TYPES_SINCE)
        order = await read(req, "group_type", _NewType)
        row = await group_types.create_type(
            self.cinder, req.ctx, name=order.name.strip(), description=order.description, is_public=order.is_public,
            specs=order.group_specs or {})
        resp.status = 202
        resp.media = {"group_type": type_view(req, self.cinder, row)}


class GroupType(_Base):
    """/v3/group_types/{type_id}"""

    async def on_get(self, req: Request, resp: Response, type_id: str) -> None:
        require(req.microversion, TYPES_SINCE)
        async with self.cinder.db.read() as tx:
            row = await group_types.get(tx, req.ctx, type_id)
        resp.media = {"group_type": type_view(req, self.cinder, row)}

    async def on_put(self, req: Request, resp: Response, type_id: str) -> None:
        require(req.microversion, TYPES_SINCE)
        order = await read(req, "group_type", _ChangedType)
        changes = {key: value for key, value in msgspec.structs.asdict(order).items() if value is not None}
        row = await group_types.update_type(self.cinder, req.ctx, type_id, changes)
        resp.media = {"group_type": type_view(req, self.cinder, row)}

    async def on_delete(self, req: Request, resp: Response, type_id: str) -> None:
        require(req.microversion, TYPES_SINCE)
        await group_types.delete_type(self.cinder, req.ctx, type_id)
        resp.status = 202


class GroupSpecs(_Base):
    """/v3/group_types/{type_id}/group_specs"""

    async def on_get(self, req: Request, resp: Response, type_id: str) -> None:
        require(req.microversion, TYPES_SINCE)
        self.cinder.policy.enforce("group:group_types_specs:get_all", req.ctx.identity)
        async with self.cinder.db.read() as tx:
            resp.media = {"group_specs": (await group_types.get(tx, req.ctx, type_id)).group_specs}

    async def on_post(self, req: Request, resp: Response, type_id: str) -> None:
        require(req.microversion, TYPES_SINCE)
        specs = read_pairs((await read_object(req, "group_specs"))["group_specs"], "group_specs")
        await group_types.change_specs(self.cinder, req.ctx, type_id, "create", add=specs)
        resp.status = 202
        resp.media = {"group_specs": specs}


class GroupSpec(_Base):
    """/v3/group_types/{type_id}/group_specs/{key}"""

    async def on_get(self, req: Request, resp: Response, type_id: str, key: str) -> None:
        require(req.microversion, TYPES_SINCE)
        self.cinder.policy.enforce("group:group_types_specs:get", req.ctx.identity)
        async with self.cinder.db.read() as tx:
            resp.media = {key: pick((await group_types.get(tx, req.ctx, type_id)).group_specs, key)}

    async def on_put(self, req: Request, resp: Response, type_id: str, key: str) -> None:
        require(req.microversion, TYPES_SINCE)
        specs = read_pairs(await req.json(), "group_specs")
        if list(specs) != [key]:
            raise Invalid(f"Request body and URI mismatch: the body must set {shown(key)}, and nothing else.")
        await group_types.change_specs(self.cinder, req.ctx, type_id, "update", add=specs)
        resp.media = specs

    async def on_delete(self, req: Request, resp: Response, type_id: str, key: str) -> None:
        require(req.microversion, TYPES_SINCE)
        await group_types.change_specs(self.cinder, req.ctx, type_id, "delete", remove=key)
        resp.status = 202
