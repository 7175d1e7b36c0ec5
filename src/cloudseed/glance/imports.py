"""Imports and their tasks: an import is an operation (uploads.py); its task is what its user sees of it."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import sqlalchemy as sa

from cloudseed.glance.images import Glance, get_image
from cloudseed.glance.models import operation_tables, tasks
from cloudseed.glance.uploads import Operations
from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Invalid, NotFound

METHODS = ("glance-direct",)
KEPT = datetime.timedelta(hours=48)
_STATUS = {"pending": "pending", "running": "processing", "undoing": "processing", "done": "success"}


async def import_image(operations: Operations, ctx: Context, image_id: str, body: Any) -> None:
    """Order an import: {"method": {"name": "glance-direct"}}.  Raises Invalid, Conflict."""
    method = body.get("method") if isinstance(body, dict) else None
    name = method.get("name") if isinstance(method, dict) else None
    if name not in METHODS:
        raise Invalid(f"Unknown import method name '{name}'. This cloud has: {', '.join(METHODS)}.")
    task_id, now = str(uuid.uuid4()), utcnow()

    async def record(tx: Tx) -> str:
        await tx.execute(sa.insert(tasks).values(
            id=task_id, type="api_image_import", status="pending", image_id=image_id,
            owner=ctx.identity.project_id or "", user_id=ctx.user_id, request_id=ctx.request_id,
            input={"image_id": image_id, "import_req": {"method": {"name": name}}}, result=None, message="",
            expires_at=None, created_at=now, updated_at=now))
        return task_id

    await operations.import_image(ctx, image_id, record)


async def sync_tasks(tx: Tx) -> None:
    """Render the operations' states into the tasks that are not at their end."""
    table = operation_tables.operations
    open_tasks = await tx.all(sa.select(tasks.c.id, tasks.c.image_id, tasks.c.status)
                              .where(tasks.c.status.in_(("pending", "processing"))))
    if not open_tasks:
        return
    rows = await tx.all(sa.select(table.c.data, table.c.status, table.c.error)
                        .where(table.c.resource_id.in_([task.image_id for task in open_tasks]),
                               table.c.kind == "glance.import"))
    by_task = {row.data.get("task_id"): row for row in rows}
    for task in open_tasks:
        row = by_task.get(task.id)
        status = _STATUS.get(row.status, "failure") if row is not None else "failure"
        if status == task.status:
            continue
        ended = status in ("success", "failure")
        await tx.execute(sa.update(tasks).where(tasks.c.id == task.id).values(
            status=status, updated_at=utcnow(), expires_at=utcnow() + KEPT if ended else None,
            result={"image_id": task.image_id} if status == "success" else None,
            message=(row.error or {}).get("message", "") if row is not None and status == "failure" else ""))


Selection = Callable[[Tx], Coroutine[Any, Any, Any]]


async def _read(glance: Glance, select: Selection) -> Any:
    """Bring the open tasks up to date, then read."""
    async with glance.db.read() as tx:
        stale = await tx.scalar(sa.select(tasks.c.id).where(tasks.c.status.in_(("pending", "processing"))).limit(1))
        if stale is None:
            return await select(tx)
    async with glance.db.write() as tx:
        await sync_tasks(tx)
        return await select(tx)


async def image_tasks(glance: Glance, ctx: Context, image_id: str) -> list[Any]:
    """The tasks of one image."""
    await get_image(glance, ctx, image_id)
    statement = sa.select(tasks).where(tasks.c.image_id == image_id).order_by(tasks.c.created_at)
    rows: list[Any] = list(await _read(glance, lambda tx: tx.all(statement)))
    return rows


async def list_tasks(glance: Glance, ctx: Context, limit: int, marker: str | None) -> list[Any]:
    """The caller's tasks (an admin's: all), newest first."""
    glance.policy.enforce("tasks_api_access", ctx.identity)
    statement = sa.select(tasks).order_by(tasks.c.created_at.desc(), tasks.c.id.desc()).limit(limit)
    if marker is not None:
        mark = await get_task(glance, ctx, marker)
        statement = statement.where(sa.tuple_(tasks.c.created_at, tasks.c.id)
                                    < sa.tuple_(sa.literal(mark.created_at, tasks.c.created_at.type), mark.id))
    rows: list[Any] = list(await _read(glance, lambda tx: tx.all(statement)))
    return rows


async def get_task(glance: Glance, ctx: Context, task_id: str) -> Any:
    glance.policy.enforce("tasks_api_access", ctx.identity)
    row = await _read(glance, lambda tx: tx.first(sa.select(tasks).where(tasks.c.id == task_id)))
    if row is None:
        raise NotFound(f"No task found with ID {task_id}")
    return row
