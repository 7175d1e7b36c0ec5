"""What a host does to make an image of a server: a flat copy of its disk, sent to glance, then removed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from cloudseed.kernel.errors import Conflict, Unavailable
from cloudseed.nova.compute.admission import Kind
from cloudseed.nova.compute.parts import HostParts, Verb
from cloudseed.nova.compute.spec import decode_spec
from cloudseed.nova.compute.worker import Work

UPLOAD_TIMEOUT_S = 6 * 3600.0
PIECE_BYTES = 1 << 20


class SnapshotWork:
    """The verbs of a snapshot."""

    def __init__(self, parts: HostParts) -> None:
        self._parts = parts
        self.verbs: dict[Kind, Verb] = {
            Kind.SNAPSHOT: self._snapshot, Kind.UPLOAD_SNAPSHOT: self._upload, Kind.DISCARD_SNAPSHOT: self._discard}

    async def _snapshot(self, work: Work) -> None:
        spec = decode_spec(work.arguments["spec"])
        await work.wait(self._parts.driver.copy_disk(spec, work.arguments["image_id"]))

    async def _upload(self, work: Work) -> None:
        """An image that is active already was uploaded when we were asked before."""
        spec, image_id = decode_spec(work.arguments["spec"]), work.arguments["image_id"]
        session, path = self._parts.session, f"/v2/images/{image_id}"
        image = await session.get_json(work.ctx, "image", path)
        if image["status"] == "saving":
            raise Unavailable(f"Image {image_id} is still being saved by an upload before.")
        if image["status"] != "active":
            copy = await work.wait(self._parts.driver.copy_disk(spec, image_id))
            formats = {"disk_format": self._parts.driver.copy_format, "container_format": "bare"}
            await session.request(
                work.ctx, "image", "PATCH", path,
                headers={"Content-Type": "application/openstack-images-v2.1-json-patch"},
                body=_patch(formats))
            size = (await asyncio.to_thread(copy.stat)).st_size
            try:
                await work.wait(session.request(
                    work.ctx, "image", "PUT", f"{path}/file", timeout_s=UPLOAD_TIMEOUT_S, body=_pieces(copy),
                    headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)}))
            except Conflict as exc:
                raise Unavailable(f"Image {image_id} cannot be saved now: {exc.message}") from exc
        await self._parts.driver.drop_copy(work.server_id, image_id)

    async def _discard(self, work: Work) -> None:
        await self._parts.driver.drop_copy(work.server_id, work.arguments["image_id"])


def _patch(values: dict[str, str]) -> bytes:
    return msgspec.json.encode([{"op": "replace", "path": f"/{name}", "value": value}
                                for name, value in values.items()])


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while piece := await asyncio.to_thread(os.read, descriptor, PIECE_BYTES):
            yield piece
    finally:
        os.close(descriptor)
