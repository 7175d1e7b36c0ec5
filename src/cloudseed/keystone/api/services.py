"""/v3/services and /v3/endpoints"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.keystone import services
from cloudseed.keystone.api.resource import Resource, changes, link, read, set_list, split
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Invalid
from cloudseed.keystone.lists import parse_filters


class CreateService(msgspec.Struct):
    type: str
    name: str | None = None
    enabled: bool = True


class UpdateService(msgspec.Struct):
    type: str | msgspec.UnsetType = msgspec.UNSET
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET


class CreateEndpoint(msgspec.Struct):
    interface: str
    service_id: str
    url: str
    region_id: str | None = None
    region: str | None = None
    enabled: bool = True


class UpdateEndpoint(msgspec.Struct):
    interface: str | msgspec.UnsetType = msgspec.UNSET
    service_id: str | msgspec.UnsetType = msgspec.UNSET
    url: str | msgspec.UnsetType = msgspec.UNSET
    region_id: str | msgspec.UnsetType | None = msgspec.UNSET
    region: str | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET


def service_view(req: Request, row: Record) -> dict[str, Any]:
    return {**row.extra, "id": row.id, "name": row.name, "type": row.type, "enabled": row.enabled,
            "links": link(req, f"services/{row.id}")}


def endpoint_view(req: Request, row: Record) -> dict[str, Any]:
    return {**row.extra, "id": row.id, "interface": row.interface, "region_id": row.region_id,
            "region": row.region_id, "service_id": row.service_id, "url": row.url, "enabled": row.enabled,
            "links": link(req, f"endpoints/{row.id}")}


def _check_words(extra: dict[str, Any]) -> None:
    for key in ("name", "description"):
        if extra.get(key) is not None and not isinstance(extra[key], str):
            raise Invalid(f"Invalid input for field/attribute {key}. It must be a string.")


class ServicesResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("type", "name"))
        rows = await services.list_services(self.ks, req.ctx, filters)
        set_list(req, resp, "services", [service_view(req, row) for row in rows], filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        body, extra = split(await read(req, "service"), CreateService)
        _check_words(extra)
        row = await services.create_service(self.ks, req.ctx, service_type=body.type, name=body.name or "",
                                            enabled=body.enabled, extra=extra)
        resp.status = 201
        resp.media = {"service": service_view(req, row)}


class ServiceResource(Resource):
    async def on_get(self, req: Request, resp: Response, service_id: str) -> None:
        resp.media = {"service": service_view(req, await services.get_service(self.ks, req.ctx, service_id))}

    async def on_patch(self, req: Request, resp: Response, service_id: str) -> None:
        body, extra = split(await read(req, "service"), UpdateService)
        _check_words(extra)
        row = await services.update_service(self.ks, req.ctx, service_id, changes(body), extra)
        resp.media = {"service": service_view(req, row)}

    async def on_delete(self, req: Request, resp: Response, service_id: str) -> None:
        await services.delete_service(self.ks, req.ctx, service_id)
        resp.status = 204


class EndpointsResource(Resource):
    async def on_get(self, req: Request, resp: Response) -> None:
        filters = parse_filters(req, ("interface", "service_id", "region_id"))
        rows = await services.list_endpoints(self.ks, req.ctx, filters)
        set_list(req, resp, "endpoints", [endpoint_view(req, row) for row in rows], filters)

    async def on_post(self, req: Request, resp: Response) -> None:
        body, extra = split(await read(req, "endpoint"), CreateEndpoint)
        _check_words(extra)
        row = await services.create_endpoint(
            self.ks, req.ctx, interface=body.interface, service_id=body.service_id, url=body.url,
            region_id=body.region_id, legacy_region=body.region, enabled=body.enabled, extra=extra)
        resp.status = 201
        resp.media = {"endpoint": endpoint_view(req, row)}


class EndpointResource(Resource):
    async def on_get(self, req: Request, resp: Response, endpoint_id: str) -> None:
        resp.media = {"endpoint": endpoint_view(req, await services.get_endpoint(self.ks, req.ctx, endpoint_id))}

    async def on_patch(self, req: Request, resp: Response, endpoint_id: str) -> None:
        body, extra = split(await read(req, "endpoint"), UpdateEndpoint)
        _check_words(extra)
        row = await services.update_endpoint(self.ks, req.ctx, endpoint_id, changes(body), extra)
        resp.media = {"endpoint": endpoint_view(req, row)}

    async def on_delete(self, req: Request, resp: Response, endpoint_id: str) -> None:
        await services.delete_endpoint(self.ks, req.ctx, endpoint_id)
        resp.status = 204
