"""/v2/images/{image_id}/file, /stage and /import: an image's bytes."""

from __future__ import annotations

from cloudseed.glance import imports
from cloudseed.glance.images import Glance, get_image
from cloudseed.glance.stores import Part
from cloudseed.glance.uploads import Operations
from cloudseed.kernel.errors import Forbidden, RangeNotSatisfiable, UnsupportedMediaType
from cloudseed.kernel.files import ClosingStream
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request


def require_octets(req: Request) -> None:
    kind = (req.content_type or "").partition(";")[0].strip()
    if kind != "application/octet-stream":
        raise UnsupportedMediaType(f"The request media type {kind} is not supported by this server: upload with "
                                   "Content-Type application/octet-stream.")


def parse_range(value: str | None, size: int) -> tuple[int, int] | None:
    """One `Range` as (start, end exclusive), None for the whole.  Raises RangeNotSatisfiable; several are refused."""
    if not value:
        return None
    unit, _, spec = value.partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or "," in spec or not (first + last).isdigit() or len(spec) > 40:
        raise RangeNotSatisfiable("The Range header cannot be understood: one range of bytes may be asked for.",
                                  headers={"Content-Range": f"bytes */{size}"})
    start, end = (int(first), int(last) + 1 if last else size) if first else (max(0, size - int(last)), size)
    if start >= size or end <= start:
        raise RangeNotSatisfiable("The Range requested is not available. Start position MUST be in the inclusive "
                                  f"range [0, {size - 1}].", headers={"Content-Range": f"bytes */{size}"})
    return start, min(end, size)


class ImageFileResource:
    def __init__(self, glance: Glance, operations: Operations) -> None:
        self._glance = glance
        self._operations = operations

    async def on_put(self, req: Request, resp: Response, image_id: str) -> None:
        require_octets(req)
        await self._operations.upload_image(req.ctx, image_id, req.chunks(), req.content_length)
        resp.status = 204

    async def on_get(self, req: Request, resp: Response, image_id: str) -> None:
        image = await get_image(self._glance, req.ctx, image_id, "download_image")
        if image.status == "deactivated" and "admin" not in req.ctx.identity.roles:
            raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
        if image.location is None or image.size is None:
            resp.status = 204
            return
        part = parse_range(req.get_header("Range"), image.size)
        start, end = part or (0, image.size)
        stream = await self._glance.stores.of(image.location).get(req.ctx, image.location,
                                                                      Part(start, end, image.size))
        resp.content_type = "application/octet-stream"
        resp.content_length = end - start
        if image.checksum and part is None:
            # upstream's clients compare it with the image's hex `checksum`
            resp.set_header("Content-MD5", image.checksum)
        if part is not None:
            resp.status = 206
            resp.set_header("Content-Range", f"bytes {start}-{end - 1}/{image.size}")
        resp.stream = ClosingStream(stream)


class ImageStageResource:
    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def on_put(self, req: Request, resp: Response, image_id: str) -> None:
        require_octets(req)
        await self._operations.stage_image(req.ctx, image_id, req.chunks(), req.content_length)
        resp.status = 204


class ImageImportResource:
    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def on_post(self, req: Request, resp: Response, image_id: str) -> None:
        await imports.import_image(self._operations, req.ctx, image_id, await req.json())
        resp.status = 202
