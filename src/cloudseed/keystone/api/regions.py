"""/v3/regions"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import regions
from cloudseed.keystone.api.resource import Resource, changes, link, read, set_list, split
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Invalid
from cloudseed.keystone.lists import parse_filters


class Create(msgspec.Struct):
    description: str | None = None
    parent_region_id: str | None = None


class Update(msgspec.Struct):
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    parent_region_id: str | msgspec.UnsetType | None = msgspec.UNSET


def region_view(req: Request, row: Record) -> dict[str, Any]:
    return {**row.extra, "id": row.id, "description": row.description, "parent_region_id": row.parent_region_id,
            "links": link(req, f"regions/{row.id}")}


async def _create(resource: Resource, req: Request, resp: Response, region_id: str | None) -> None:
    value = await read(req, "region")
    given = value.get("id")
    if given is not None and not isinstance(given, str):
        raise Invalid("Invalid input for field/attribute id. It must be a string.")
    if region_id is not None and given is not None and given != region_id:
        raise Invalid("Conflicting region IDs specified: the URL and the body must name the same.")
    body, extra = split(value, Create)
    row = await regions.create_region(resource.ks, req.ctx, region_id=region_id or given,
                                      description=body.description or "", parent_region_id=body.parent_region_id,
                                      extra=extra)
    resp.status = 201
    resp.media = {"region": region_view(req, row)}


class RegionsResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("parent_region_id",))
        rows = await regions.list_regions(self.ks, req.ctx, filters)
        set_list(req, resp, "regions", [region_view(req, row) for row in rows], filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        await _create(self, req, resp, None)


class RegionResource(Resource):
    async def on_get(self, req: Request, resp: Response, region_id: str) -> None:
        resp.media = {"region": region_view(req, await regions.get_region(self.ks, req.ctx, region_id))}

    async def on_put(self, req: Request, resp: Response, region_id: str) -> None:
        await _create(self, req, resp, region_id)

    async def on_patch(self, req: Request, resp: Response, region_id: str) -> None:
        body, extra = split(await read(req, "region"), Update)
        row = await regions.update_region(self.ks, req.ctx, region_id, changes(body), extra)
        resp.media = {"region": region_view(req, row)}

    async def on_delete(self, req: Request, resp: Response, region_id: str) -> None:
        await regions.delete_region(self.ks, req.ctx, region_id)
        resp.status = 204
