"""/v2/images and /v2/images/{image_id}"""

from __future__ import annotations

import datetime
from typing import Any
from urllib.parse import urlencode

from cloudseed.glance import image_list, images, patches
from cloudseed.glance.images import Glance, Image
from cloudseed.glance.imports import METHODS
from cloudseed.glance.uploads import Operations
from cloudseed.kernel.errors import Invalid, UnsupportedMediaType
from cloudseed.kernel.http import json
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request


def when(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def view(image: Image) -> dict[str, Any]:
    """An image as clients see it; its own properties lie beside the standard ones."""
    shown: dict[str, Any] = {
        **image.properties, "name": image.name, "disk_format": image.disk_format,
        "container_format": image.container_format, "visibility": image.visibility, "size": image.size,
        "virtual_size": image.virtual_size, "status": image.status, "checksum": image.checksum,
        "protected": image.protected, "min_ram": image.min_ram, "min_disk": image.min_disk, "owner": image.owner,
        "os_hidden": image.os_hidden, "os_hash_algo": image.os_hash_algo, "os_hash_value": image.os_hash_value,
        "id": image.id, "created_at": when(image.created_at), "updated_at": when(image.updated_at),
        "tags": image.tags, "self": f"/v2/images/{image.id}", "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image"}
    if image.location:
        shown["stores"] = image.location.partition("://")[0]
    return shown


class ImagesResource:
    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_get(self, req: Request, resp: Response) -> None:
        query = image_list.parse(req.ctx, req.params)
        page = await image_list.list_images(self._glance, req.ctx, query)
        asked = [(k, v) for k, v in req.params.items() if k != "marker"]
        first = urlencode(asked, doseq=True)
        body: dict[str, Any] = {"images": [view(image) for image in page],
                                "first": f"/v2/images?{first}" if first else "/v2/images",
                                "schema": "/v2/schemas/images"}
        if page and len(page) == query.limit:
            body["next"] = f"/v2/images?{urlencode([*asked, ('marker', page[-1].id)], doseq=True)}"
        resp.media = body

    async def on_post(self, req: Request, resp: Response) -> None:
        body: dict[str, Any] = await req.json(dict[str, Any])
        image = await images.create_image(self._glance, req.ctx, body)
        resp.status = 201
        resp.set_header("Location", f"{req.base_url}/v2/images/{image.id}")
        resp.set_header("OpenStack-image-import-methods", ",".join(METHODS))
        resp.set_header("OpenStack-image-store-ids", self._glance.stores.default.name)
        resp.media = view(image)


class ImageResource:
    def __init__(self, glance: Glance, operations: Operations) -> None:
        self._glance = glance
        self._operations = operations

    async def on_get(self, req: Request, resp: Response, image_id: str) -> None:
        resp.media = view(await images.get_image(self._glance, req.ctx, image_id))

    async def on_patch(self, req: Request, resp: Response, image_id: str) -> None:
        media_type = (req.content_type or "").partition(";")[0].strip()
        if media_type not in patches.MEDIA_TYPES:
            raise UnsupportedMediaType(
                f"The request media type {media_type} is not supported by this server. "
                f"Image PATCH expects Content-Type one of: {', '.join(patches.MEDIA_TYPES)}",
                headers={"Accept-Patch": ", ".join(patches.MEDIA_TYPES)})
        changes = patches.parse(json.decode(await req.body()), media_type)
        resp.media = view(await patches.update_image(self._glance, req.ctx, image_id, changes))

    async def on_delete(self, req: Request, resp: Response, image_id: str) -> None:
        await self._operations.delete_image(req.ctx, image_id)
        resp.status = 204


class ActionResource:
    """POST /v2/images/{image_id}/actions/{action}"""

    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_post(self, req: Request, resp: Response, image_id: str, action: str) -> None:
        from cloudseed.glance.tags import set_active

        if action not in ("deactivate", "reactivate"):
            raise Invalid(f"Unknown action {action!r}: there are deactivate and reactivate.")
        await set_active(self._glance, req.ctx, image_id, action == "reactivate")
        resp.status = 204


class LocationsResource:
    """GET /v2/images/{image_id}/locations: for services; where bytes lie is nobody else's business."""

    def __init__(self, glance: Glance) -> None:
        self._glance = glance

    async def on_get(self, req: Request, resp: Response, image_id: str) -> None:
        image = await images.get_image(self._glance, req.ctx, image_id, "fetch_image_location")
        resp.media = [{"url": image.location, "metadata": {"store": image.location.partition("://")[0]}}] \
            if image.location else []
