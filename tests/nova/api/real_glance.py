"""The cloud of nova's API tests, with glance as it is."""

from __future__ import annotations

from pathlib import Path

from cloudseed.glance.service import build
from tests.nova.api.cloud import Json, NovaCloud
from tests.support.cloud import Client

IMAGES = "/image/v2/images"


class CloudWithGlance(NovaCloud):
    """`image_id` is a real image, public, of a few bytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, image_store="file")
        self.images.build = build  # type: ignore[method-assign]

    async def __aenter__(self) -> CloudWithGlance:
        await super().__aenter__()
        self.image_id = await self.new_image(self.admin, visibility="public", hw_disk_bus="scsi", min_ram=16,
                                             cache_in_nova="true")
        return self

    async def new_image(self, client: Client, **values: object) -> str:
        body = {"name": "tiny", "disk_format": "raw", "container_format": "bare", **values}
        made = await client.post(IMAGES, body)
        assert made.status == 201, made.body
        image_id: str = made.json()["id"]
        stored = await client.request("PUT", f"{IMAGES}/{image_id}/file", body=b"x" * 1000,
                                      headers={"Content-Type": "application/octet-stream"})
        assert stored.status == 204, stored.body
        return image_id

    async def image(self, client: Client, image_id: str) -> Json | None:
        answer = await client.get(f"{IMAGES}/{image_id}")
        found: Json | None = answer.json() if answer.status == 200 else None
        return found


