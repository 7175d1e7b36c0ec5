"""/v2/schemas/{name} and /v2/info/...: what this glance speaks and can do."""

from __future__ import annotations

import sqlalchemy as sa

from cloudseed.glance.images import Glance
from cloudseed.glance.imports import METHODS
from cloudseed.glance.models import images
from cloudseed.glance.schemas import PUBLISHED
from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request


class SchemaResource:
    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        if name not in PUBLISHED:
            raise NotFound()
        resp.media = PUBLISHED[name]


class ImportInfoResource:
    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"import-methods": {"description": "Import methods available.", "type": "array",
                                         "value": list(METHODS)}}


class StoresInfoResource:
    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.media = {"stores": [{"id": self._glance.stores.default.name, "default": "true"}]}


class UsageInfoResource:
    """The project's storage against its quota; without a quota there is nothing to tell, as upstream."""

    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_get(self, req: Request, resp: Response) -> None:
        quota = self._glance.limits.user_storage_quota
        if not quota:
            resp.media = {"usage": {}}
            return
        async with self._glance.db.read() as tx:
            used = await tx.scalar(sa.select(sa.func.coalesce(sa.func.sum(images.c.size), 0)).where(
                images.c.owner == req.ctx.project_id, images.c.status != "deleted"))
        resp.media = {"usage": {"image_size_total": {"limit": quota >> 20, "usage": used >> 20}}}
