"""The host's cache of images: one download for many, checked, and nothing left of a broken one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloudseed.host.errors import HostError
from cloudseed.host.records import ImageInfo
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import NotFound, Unavailable
from cloudseed.kernel.image_download import Downloads
from cloudseed.nova.compute import images
from cloudseed.nova.compute.errors import BuildAborted, HostFailed
from cloudseed.nova.compute.images import ImageCache

IMAGE = "33333333-3333-4333-8333-333333333333"
DATA = b"disk" * 1000


class Download:
    status = 200

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), 1000):
            await asyncio.sleep(0)
            yield self._data[start:start + 1000]

    async def close(self) -> None:
        pass


class Glance:
    """The session's two calls."""

    def __init__(self) -> None:
        self.image: dict[str, Any] | None = {
            "id": IMAGE, "status": "active", "disk_format": "raw", "size": len(DATA), "os_hash_algo": "sha512",
            "os_hash_value": hashlib.sha512(DATA).hexdigest()}
        self.data = DATA
        self.downloads = 0

    async def get_json(self, ctx: Context, kind: str, path: str) -> Any:
        assert (kind, path) == ("image", f"/v2/images/{IMAGE}")
        if self.image is None:
            raise NotFound("No image found.")
        return self.image

    async def request(self, *arguments: Any, **options: Any) -> Download:
        self.downloads += 1
        return Download(self.data)


class Host:
    """The host process's cache."""

    def __init__(self, incoming: Path) -> None:
        self.incoming = incoming
        self.images: dict[str, ImageInfo] = {}
        self.refusal: HostError | None = None
        self.in_use: set[str] = set()

    async def list_images(self) -> list[ImageInfo]:
        return list(self.images.values())

    async def import_image(self, key: str, source: str, format: Any) -> ImageInfo:
        if self.refusal is not None:
            raise self.refusal
        data = (self.incoming / source).read_bytes()
        assert data == DATA
        (self.incoming / source).unlink()
        self.images[key] = ImageInfo(key=key, format=format, size_bytes=len(data), file_bytes=len(data))
        return self.images[key]

    async def remove_image(self, key: str) -> None:
        if key in self.in_use:
            raise HostError("conflict", "in use")
        del self.images[key]


class Rig:
    def __init__(self, path: Path) -> None:
        self.incoming = path / "images" / "incoming"
        self.incoming.mkdir(parents=True)
        self.glance, self.host = Glance(), Host(self.incoming)
        self.cache = ImageCache(self.glance, self.host, path, "here")  # type: ignore[arg-type]

    async def ensure(self) -> Any:
        return await self.cache.ensure(Context(), IMAGE)

    def left(self) -> list[str]:
        return [path.name for path in self.incoming.iterdir()]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_many_at_once_are_one_download_and_later_ones_none(rig: Rig) -> None:
    found = await asyncio.gather(*(rig.ensure() for _ in range(10)))
    assert {image.key for image in found} == {IMAGE} and rig.glance.downloads == 1
    await rig.ensure()
    assert rig.glance.downloads == 1 and rig.left() == []


async def test_who_gives_up_does_not_end_the_download_for_others(rig: Rig) -> None:
    first, second = asyncio.ensure_future(rig.ensure()), asyncio.ensure_future(rig.ensure())
    while not rig.glance.downloads:
        await asyncio.sleep(0)
    first.cancel()
    assert (await second).key == IMAGE and rig.glance.downloads == 1


@pytest.mark.parametrize(("change", "error", "text"), [
    ({"data": DATA[:-4]}, Unavailable, "only in part"),
    ({"data": b"fake" * 1000}, BuildAborted, "corrupt"),
    ({"status": "deactivated"}, BuildAborted, "not active"),
    ({"disk_format": "vmdk"}, BuildAborted, "disk format vmdk"),
    ({"gone": True}, BuildAborted, "could not be found"),
    ({"refusal": HostError("invalid", "refers to a backing file")}, BuildAborted, "backing file"),
    ({"refusal": HostError("no_space", "no space left")}, HostFailed, "no space left"),
    ({"refusal": HostError("unavailable", "no answer")}, Unavailable, "no answer")])
async def test_a_bad_image_is_refused_by_its_reason_and_leaves_nothing(rig: Rig, change: dict[str, Any], error: Any,
                                                                      text: str) -> None:
    assert rig.glance.image is not None
    if "data" in change:
        rig.glance.data = change["data"]
    elif "gone" in change:
        rig.glance.image = None
    elif "refusal" in change:
        rig.host.refusal = change["refusal"]
    else:
        rig.glance.image.update(change)
    with pytest.raises(error, match=text):
        await rig.ensure()
    assert rig.left() == [] and rig.host.images == {}


async def test_unused_images_go_and_used_ones_stay(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.ensure()
    await rig.cache.drop_unused()
    assert IMAGE in rig.host.images
    monkeypatch.setattr(images, "KEEP_UNUSED_S", 0.0)
    rig.host.in_use.add(IMAGE)
    await rig.cache.drop_unused()
    assert IMAGE in rig.host.images
    rig.host.in_use.clear()
    await rig.cache.drop_unused()
    assert rig.host.images == {}


async def test_what_a_killed_process_left_goes_and_what_others_download_stays(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    left = Downloads(rig.incoming, "nova").new(IMAGE)
    others = Downloads(rig.incoming, "cinder").new(IMAGE)
    for path in (left, others):
        path.write_bytes(b"half")
    rig.cache = ImageCache(rig.glance, rig.host, tmp_path, "here")  # type: ignore[arg-type]
    assert rig.left() == [others.name]
    await rig.ensure()
    assert rig.left() == [others.name]
