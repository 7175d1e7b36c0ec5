"""Images into volumes, volumes into images.

An image enters through the host's cache of base images, as nova's do: hashed on its way, refused when it refers to
other files, and there for the next volume or server.  A volume goes to glance as the raw bytes of one moment, or
packed by the host as qcow2.
"""

from __future__ import annotations

import asyncio
import weakref
from pathlib import Path
from typing import Literal

from cloudseed.cinder.volume.backend import Backend
from cloudseed.cinder.volume.errors import ImageRefused
from cloudseed.host.records import ByteSource, VolumeInfo
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from cloudseed.kernel.http.client import ServiceSession
from cloudseed.kernel.image_download import CorruptImage, Downloads, download_image

# glance's disk format -> how qemu-img reads it
FORMATS: dict[str, Literal["qcow2", "raw"]] = {"raw": "raw", "iso": "raw", "qcow2": "qcow2"}
UPLOAD_FORMATS = ("raw", "qcow2")
UPLOAD_TIMEOUT_S = 24 * 3600.0
_ATTEMPTS = 3  # at an image that is dropped from the cache before it is used


class VolumeImages:
    """Between glance and one host's volumes.  `incoming`: where the host takes images from."""

    def __init__(self, session: ServiceSession, backend: Backend, incoming: Path) -> None:
        self._session = session
        self._backend = backend
        self._files = Downloads(incoming, "cinder")
        self._downloads: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def make_volume(self, ctx: Context, volume_id: str, size_bytes: int, image_id: str) -> VolumeInfo:
        """Make a volume of an image.  Raises ImageRefused, NotFound, and what the host says."""
        doing = f"make volume {volume_id} of image {image_id}"
        source = ByteSource(kind="image", id=image_id)
        for _ in range(_ATTEMPTS - 1):
            await self._ensure_cached(ctx, image_id)
            try:
                return await self._backend.ask(doing, self._backend.host.create_volume(volume_id, size_bytes, source))
            except NotFound:
                continue
        await self._ensure_cached(ctx, image_id)
        return await self._backend.ask(doing, self._backend.host.create_volume(volume_id, size_bytes, source))

    async def _ensure_cached(self, ctx: Context, image_id: str) -> None:
        lock = self._downloads.get(image_id) or asyncio.Lock()
        self._downloads[image_id] = lock  # there as long as somebody holds or wants it
        async with lock:
            try:
                image = await self._session.get_json(ctx, "image", f"/v2/images/{image_id}")
            except (NotFound, Forbidden) as exc:
                raise NotFound(f"Image {image_id} could not be found.", detail=exc.message) from exc
            format = FORMATS.get(image.get("disk_format") or "")
            if format is None:
                raise ImageRefused(image_id=image_id, reason=f"its disk format is {image.get('disk_format')}; volumes "
                                   f"are made from {', '.join(FORMATS)}")
            if image["status"] != "active":
                raise ImageRefused(image_id=image_id, reason=f"its status is {image['status']}, not active")
            doing, host = f"cache image {image_id}", self._backend.host
            if any(known.key == image_id for known in await self._backend.ask(doing, host.list_images())):
                return
            path = self._files.new(image_id)
            try:
                await download_image(self._session, ctx, image, path)
                await self._backend.ask(doing, host.import_image(image_id, path.name, format))
            except CorruptImage as exc:
                raise ImageRefused(image_id=image_id, reason=exc.message) from exc
            except OSError as exc:
                text = f"Host {self._backend.name} could not {doing}: {exc.strerror or exc}"
                raise Unavailable(text) from exc
            finally:
                path.unlink(missing_ok=True)

    async def copy_to_image(self, ctx: Context, volume_id: str, image_id: str, disk_format: str) -> None:
        """Upload a volume as it is now into a queued image; an image that has its bytes is left as it is."""
        if disk_format not in UPLOAD_FORMATS:
            raise Invalid(f"A volume becomes an image of disk format {' or '.join(UPLOAD_FORMATS)}, not {disk_format}.")
        backend, host = self._backend, self._backend.host
        async with backend.moment(volume_id, image_id) as source:
            image = await self._session.get_json(ctx, "image", f"/v2/images/{image_id}")
            if image["status"] == "active":
                return
            if image["status"] not in ("queued", "saving"):
                raise Conflict(f"Image {image_id} is {image['status']}: it takes no bytes any more.")
            doing = f"pack volume {volume_id}"
            try:
                if disk_format == "qcow2":
                    await backend.ask(doing, host.remove_pack(image_id))
                    await backend.ask(doing, host.pack_volume(image_id, source))
                    source = ByteSource(kind="pack", id=image_id)
                await self._session.request(ctx, "image", "PUT", f"/v2/images/{image_id}/file",
                                            headers={"Content-Type": "application/octet-stream"},
                                            body=backend.stream(source), timeout_s=UPLOAD_TIMEOUT_S)
            finally:
                await backend.ask(doing, host.remove_pack(image_id))
