"""Assembles glance: the app, the stores, the operations."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.glance.api import image_data, images, info, members, metadefs, tasks, versions
from cloudseed.glance.images import Glance
from cloudseed.glance.models import images as images_table
from cloudseed.glance.models import metadata, operation_tables
from cloudseed.glance.policies import RULES
from cloudseed.glance.stores import ImageStore, Stores
from cloudseed.glance.stores.files import FileImageStore
from cloudseed.glance.stores.swift import SwiftImageStore
from cloudseed.glance.uploads import Operations
from cloudseed.kernel.http import faults
from cloudseed.kernel.http.app import make_app
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.runtime import Environment, Service

PART = "glance-api"


def build(env: Environment) -> Service:
    db = env.database("glance", metadata)
    session = env.session(PART, "glance", discover=True)
    local = FileImageStore(env.state / "glance" / "images")
    stores: dict[str, ImageStore] = {"swift": SwiftImageStore(session), "file": local}
    glance = Glance(db, env.policy("glance", RULES), Stores(stores, env.config.image_store),
                    FileImageStore(env.state / "glance" / "staging"), env.operations(db, operation_tables),
                    format_enforcement=env.config.image_format_enforcement)
    operations = Operations(glance)
    app = make_app(
        {"/": versions.VersionsResource(300), "/versions": versions.VersionsResource(200),
         "/v2/images": images.ImagesResource(glance),
         "/v2/images/{image_id}": images.ImageResource(glance, operations),
         "/v2/images/{image_id}/file": image_data.ImageFileResource(glance, operations),
         "/v2/images/{image_id}/stage": image_data.ImageStageResource(operations),
         "/v2/images/{image_id}/import": image_data.ImageImportResource(operations),
         "/v2/images/{image_id}/actions/{action}": images.ActionResource(glance),
         "/v2/images/{image_id}/locations": images.LocationsResource(glance),
         "/v2/images/{image_id}/members": members.MembersResource(glance),
         "/v2/images/{image_id}/members/{member_id}": members.MemberResource(glance),
         "/v2/images/{image_id}/tags/{tag}": members.TagResource(glance),
         "/v2/images/{image_id}/tasks": tasks.ImageTasksResource(glance),
         "/v2/tasks": tasks.TasksResource(glance), "/v2/tasks/{task_id}": tasks.TaskResource(glance),
         "/v2/schemas/{name}": info.SchemaResource(),
         "/v2/info/import": info.ImportInfoResource(), "/v2/info/stores": info.StoresInfoResource(glance),
         "/v2/info/usage": info.UsageInfoResource(glance), **metadefs.routes(glance)},
        fault=faults.glance, validator=env.validator(session), identity_url=env.identity_url)
    app.req_options.strip_url_path_trailing_slash = False  # "/v2/images/" is an image without an id: 404

    async def start() -> None:
        if env.sole:
            local.sweep()
            glance.staging.sweep()
            await operations.recover_staging()

    async def ledger() -> dict[str, Any]:
        return await picture(glance, local)

    async def explain(kind: str, name: str) -> dict[str, Any] | None:
        return await story(glance, name) if kind == "image" else None

    return Service("glance", mounts=[Mount("/image", PART, app)], engines=[glance.engine], start=start, ledger=ledger,
                   explain=explain, handle=glance)


async def picture(glance: Glance, local: FileImageStore) -> dict[str, Any]:
    """For the audit: images with their bytes' place and size, since when in their state; files of our own."""
    table = images_table
    async with glance.db.read() as tx:
        rows = await tx.all(sa.select(table.c.id, table.c.status, table.c.owner, table.c.location, table.c.size,
                                      table.c.status_since.label("since")).where(table.c.status != "deleted"))
    return {"images": [dict(row._mapping) for row in rows], "files": local.listing(),
            "staged": glance.staging.listing()}


async def story(glance: Glance, name: str) -> dict[str, Any] | None:
    """One image's operations, by id or by name."""
    table = images_table
    async with glance.db.read() as tx:
        row = await tx.first(sa.select(table.c.id, table.c.name, table.c.status)
                             .where(sa.or_(table.c.id == name, table.c.name == name))
                             .order_by(table.c.created_at.desc()))
    if row is None:
        return None
    return {"image": dict(row._mapping), "operations": await glance.engine.story(row.id)}
