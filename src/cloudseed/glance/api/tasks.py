"""/v2/tasks and /v2/images/{image_id}/tasks: what became of imports."""

from __future__ import annotations

from typing import Any

from cloudseed.glance import image_list, imports
from cloudseed.glance.api.images import when
from cloudseed.glance.images import Glance
from cloudseed.kernel.errors import Forbidden, Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request


def view(row: Any, *, details: bool = True) -> dict[str, Any]:
    shown = {"id": row.id, "type": row.type, "status": row.status, "owner": row.owner, "image_id": row.image_id,
             "request_id": row.request_id, "user_id": row.user_id, "created_at": when(row.created_at),
             "updated_at": when(row.updated_at), "self": f"/v2/tasks/{row.id}", "schema": "/v2/schemas/task"}
    if row.expires_at is not None:
        shown["expires_at"] = when(row.expires_at)
    return {**shown, **({"input": row.input, "result": row.result, "message": row.message} if details else {})}


class TasksResource:
    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_get(self, req: Request, resp: Response) -> None:
        limit = req.int_param("limit", image_list.DEFAULT_LIMIT, maximum=image_list.MAX_LIMIT)
        rows = await imports.list_tasks(self._glance, req.ctx, limit or 0, req.text_param("marker"))
        resp.media = {"tasks": [view(row, details=False) for row in rows], "first": "/v2/tasks",
                      "schema": "/v2/schemas/tasks"}
        if rows and len(rows) == limit:
            resp.media["next"] = f"/v2/tasks?limit={limit}&marker={rows[-1].id}"

    async def on_post(self, req: Request, resp: Response) -> None:
        """Upstream's only task to order is an import from a URL; ours come from the import API."""
        if not self._glance.policy.check("tasks_api_access", req.ctx.identity):
            raise Forbidden()
        await req.json(dict[str, Any])
        raise Invalid("Tasks cannot be created directly: import an image with POST /v2/images/{id}/import.")


class TaskResource:
    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_get(self, req: Request, resp: Response, task_id: str) -> None:
        resp.media = view(await imports.get_task(self._glance, req.ctx, task_id))


class ImageTasksResource:
    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_get(self, req: Request, resp: Response, image_id: str) -> None:
        resp.media = {"tasks": [view(row) for row in await imports.image_tasks(self._glance, req.ctx, image_id)]}
