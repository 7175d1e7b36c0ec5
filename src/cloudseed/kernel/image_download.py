"""An image's bytes from glance into a file, hashed on their way: whoever caches images on a host stands on this."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from pathlib import Path
from typing import Any

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Invalid, Unavailable
from cloudseed.kernel.http.client import ServiceSession

DOWNLOAD_TIMEOUT_S = 3600.0


class CorruptImage(Invalid):
    """The bytes are not those that glance vouches for."""


class Downloads:
    """The files in `directory` into which one part of a host downloads: one process at a time does, so what is there
    when it starts is what a killed one left, and goes."""

    def __init__(self, directory: Path, part: str) -> None:
        self._directory = directory
        self._part = part
        for left in directory.glob(f"*.{part}-*"):
            left.unlink(missing_ok=True)

    def new(self, image_id: str) -> Path:
        """A name that no other download has; the file is the caller's to remove."""
        return self._directory / f"{image_id}.{self._part}-{uuid.uuid4().hex[:8]}"


async def download_image(session: ServiceSession, ctx: Context, image: dict[str, Any], path: Path) -> None:
    """Write the image that glance describes as `image` to the new file `path`.

    Raises Unavailable when it came in part, CorruptImage when its hash is not what glance says, OSError as the disk
    does.  The file is the caller's to remove then.
    """
    algorithm = image.get("os_hash_algo") if image.get("os_hash_value") else None
    digest = hashlib.new(algorithm) if algorithm else None
    received = 0
    response = await session.request(ctx, "image", "GET", f"/v2/images/{image['id']}/file", stream=True,
                                     timeout_s=DOWNLOAD_TIMEOUT_S)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            async for chunk in response.chunks():
                received += len(chunk)
                await asyncio.to_thread(_keep, descriptor, chunk, digest)
        finally:
            os.close(descriptor)
    finally:
        await response.close()
    if image.get("size") is not None and received != image["size"]:
        raise Unavailable(f"Image {image['id']} came only in part: {received} of {image['size']} bytes.")
    if digest is not None and digest.hexdigest() != image["os_hash_value"]:
        raise CorruptImage(f"Image {image['id']} is corrupt: its {algorithm} is not what glance says.")


def _keep(descriptor: int, chunk: bytes, digest: Any) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view):]
    if digest is not None:
        digest.update(chunk)
