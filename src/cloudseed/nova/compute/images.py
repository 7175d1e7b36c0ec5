"""Images on the host: looked up in glance, downloaded once, checked, put into the host's cache of base images.

Servers that want the same image at the same time share one download.  An image's bytes never change in glance,
so the cache's key is its id.  The download is hashed on its way and enters the cache only when the hash that
glance names is right; a broken one leaves nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any, Literal, cast

from cloudseed.host.client import HostClient
from cloudseed.host.errors import HostError
from cloudseed.host.paths import StatePaths
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Forbidden, NotFound, Unavailable
from cloudseed.kernel.http.client import ServiceSession
from cloudseed.kernel.image_download import CorruptImage, Downloads, download_image
from cloudseed.nova.compute.drivers.base import CachedImage
from cloudseed.nova.compute.errors import BuildAborted, HostFailed

log = logging.getLogger(__name__)
FORMATS = ("raw", "qcow2")
KEEP_UNUSED_S = 24 * 3600.0  # as upstream: an image that no machine stands on stays for a day


class ImageCache:
    """The base images of one host."""

    def __init__(self, session: ServiceSession, host: HostClient, state: Path, host_name: str) -> None:
        self._session = session
        self._host = host
        self._files = Downloads(StatePaths(state).incoming, "nova")
        self._host_name = host_name
        self._downloads: dict[str, asyncio.Task[CachedImage]] = {}
        self._used: dict[str, float] = {}  # image id -> when it was last asked for (monotonic)

    async def ensure(self, ctx: Context, image_id: str) -> CachedImage:
        """The image in the cache, downloaded if it is not there.

        BuildAborted: glance does not have it (any more), or it cannot be a machine's disk.
        """
        try:
            image = await self._session.get_json(ctx, "image", f"/v2/images/{image_id}")
        except (NotFound, Forbidden) as exc:
            raise BuildAborted(f"Image {image_id} could not be found.", detail=exc.message) from exc
        if image["status"] != "active":
            raise BuildAborted(f"Image {image_id} is not active: its status is {image['status']}.")
        if image.get("disk_format") not in FORMATS:
            raise BuildAborted(f"Image {image_id} has disk format {image.get('disk_format')}; servers are made from "
                               f"{' or '.join(FORMATS)}.")
        self._used[image_id] = time.monotonic()
        cached = await self._cached(image_id)
        if cached is not None:
            return cached
        task = self._downloads.get(image_id)
        if task is None:
            task = self._downloads[image_id] = asyncio.create_task(self._download(ctx, image))
            task.add_done_callback(lambda done: self._downloaded(image_id, done))
        return await asyncio.shield(task)

    async def of_disk(self, ctx: Context, image_id: str) -> CachedImage:
        """The image that a server's disk stands on already: from the cache even when glance has it no more."""
        self._used[image_id] = time.monotonic()
        return await self._cached(image_id) or await self.ensure(ctx, image_id)

    def _downloaded(self, image_id: str, task: asyncio.Task[CachedImage]) -> None:
        self._downloads.pop(image_id, None)
        if not task.cancelled():
            task.exception()  # whoever waits has it; it may be that nobody does any more

    async def _cached(self, image_id: str) -> CachedImage | None:
        try:
            found = await self._host.list_images()
        except HostError as exc:
            raise Unavailable(f"The host process does not answer: {exc.message}") from exc
        return next((CachedImage(key=i.key, format=i.format, size_bytes=i.size_bytes) for i in found
                     if i.key == image_id), None)

    async def drop_unused(self) -> None:
        """Remove images that nobody asked for in a day and no machine stands on (the host process refuses those).

        What was asked for before this process began counts as asked for at its first look.
        """
        now = time.monotonic()
        try:
            for image in await self._host.list_images():
                if now - self._used.setdefault(image.key, now) < KEEP_UNUSED_S or image.key in self._downloads:
                    continue
                try:
                    await self._host.remove_image(image.key)
                    del self._used[image.key]
                    log.info("image %s was dropped from the cache", image.key)
                except HostError as exc:
                    if exc.code != "conflict":
                        raise
        except HostError as exc:
            raise Unavailable(f"The cache of images could not be looked through: {exc.message}") from exc

    async def _download(self, ctx: Context, image: dict[str, Any]) -> CachedImage:
        image_id = image["id"]
        path = self._files.new(image_id)
        try:
            await download_image(self._session, ctx, image, path)
            format = cast(Literal["qcow2", "raw"], image["disk_format"])
            info = await self._host.import_image(image_id, path.name, format)
            return CachedImage(key=info.key, format=info.format, size_bytes=info.size_bytes)
        except CorruptImage as exc:
            raise BuildAborted(exc.message) from exc
        except HostError as exc:
            if exc.code == "invalid":
                raise BuildAborted(f"Image {image_id} is refused: {exc.message}") from exc
            if exc.code in ("unavailable", "timeout"):
                raise Unavailable(f"The host process does not answer: {exc.message}") from exc
            raise HostFailed(host=self._host_name, doing=f"cache image {image_id}", reason=exc.message) from exc
        except OSError as exc:
            raise HostFailed(host=self._host_name, doing=f"download image {image_id}",
                             reason=exc.strerror or str(exc)) from exc
        finally:
            path.unlink(missing_ok=True)
