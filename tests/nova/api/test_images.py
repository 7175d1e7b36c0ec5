"""/images of old clients, which Tempest still asks: glance's images, in nova's words, as the user may see them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.nova.api.cloud import message, nova
from tests.nova.api.real_glance import CloudWithGlance

pytestmark = pytest.mark.asyncio(loop_scope="module")
LAST, LAST_METADATA = "2.35", "2.38"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CloudWithGlance]:
    async with CloudWithGlance(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


async def test_an_image_is_shown_listed_and_deleted(cloud: CloudWithGlance) -> None:
    client = await cloud.new_project("images")
    server_id = str(uuid.uuid4())
    image_id = await cloud.new_image(client, min_ram=64, min_disk=2, instance_uuid=server_id, color="red",
                                     auto_disk_config="True")
    image = (await nova(client, "GET", f"/images/{image_id}", version=LAST)).json()["image"]
    assert {link["rel"] for link in image.pop("links")} == {"self", "bookmark", "alternate"}
    assert image.pop("created") and image.pop("updated")
    server = image.pop("server")
    assert server["id"] == server_id and server["links"][0]["href"].endswith(f"/servers/{server_id}")
    assert image == {
        "id": image_id, "name": "tiny", "minRam": 64, "minDisk": 2, "status": "ACTIVE", "progress": 100,
        "metadata": {"instance_uuid": server_id, "color": "red", "auto_disk_config": "True"},
        "OS-EXT-IMG-SIZE:size": 1000, "OS-DCF:diskConfig": "AUTO"}
    listed = (await nova(client, "GET", "/images", version="2.1")).json()["images"]
    assert {one["id"] for one in listed} == {image_id, cloud.image_id}
    assert set(listed[0]) == {"id", "name", "links"}
    for query in (f"server=http://x/servers/{server_id}", "property-color=red", "minRam=64", "limit=1&status=ACTIVE"):
        found = (await nova(client, "GET", f"/images/detail?{query}", version="2.1")).json()
        assert [one["id"] for one in found["images"]] == [image_id], query
    following = found["images_links"][0]["href"]
    assert f"marker={image_id}" in following and "limit=1" in following
    for query in ("limit=x", "marker=nothing", "changes-since=x"):
        assert (await nova(client, "GET", f"/images?{query}", version="2.1")).status == 400, query
    assert (await nova(client, "DELETE", f"/images/{image_id}", version="2.1")).status == 204
    assert await cloud.image(client, image_id) is None
    gone = await nova(client, "GET", f"/images/{image_id}", version="2.1")
    assert gone.status == 404 and message(gone) == "Image not found."


async def test_glance_decides_who_may(cloud: CloudWithGlance) -> None:
    client, stranger = await cloud.new_project("owner"), await cloud.new_project("stranger")
    image_id = await cloud.new_image(client)
    assert (await nova(stranger, "GET", f"/images/{image_id}", version="2.1")).status == 404
    assert (await nova(stranger, "DELETE", f"/images/{image_id}", version="2.1")).status == 404
    refused = await nova(client, "DELETE", f"/images/{cloud.image_id}", version="2.1")
    assert refused.status == 403 and message(refused) == "You are not allowed to delete the image."
    assert (await nova(stranger, "PUT", f"/images/{cloud.image_id}/metadata/a", {"meta": {"a": "b"}},
                       "2.1")).status == 403
    for path in ("not-a-uuid", "..%2F..%2Fv2", str(uuid.uuid4())):
        assert (await nova(client, "GET", f"/images/{path}", version="2.1")).status == 404, path


async def test_the_metadata_of_an_image_are_its_properties(cloud: CloudWithGlance) -> None:
    client = await cloud.new_project("metadata")
    image_id = await cloud.new_image(client, a="1", b="2")
    path = f"/images/{image_id}/metadata"
    assert (await nova(client, "GET", path, version=LAST_METADATA)).json() == {"metadata": {"a": "1", "b": "2"}}
    added = await nova(client, "POST", path, {"metadata": {"b": "3", "c": "4"}}, "2.1")
    assert added.json() == {"metadata": {"a": "1", "b": "3", "c": "4"}}
    assert (await nova(client, "PUT", f"{path}/a", {"meta": {"a": "5"}}, "2.1")).json() == {"meta": {"a": "5"}}
    assert (await nova(client, "GET", f"{path}/a", version="2.1")).json() == {"meta": {"a": "5"}}
    assert (await nova(client, "DELETE", f"{path}/c", version="2.1")).status == 204
    assert (await nova(client, "DELETE", f"{path}/c", version="2.1")).status == 404
    assert (await nova(client, "GET", f"{path}/c", version="2.1")).status == 404
    replaced = await nova(client, "PUT", path, {"metadata": {"d": "6"}}, "2.1")
    assert replaced.json() == {"metadata": {"d": "6"}}
    image = await cloud.image(client, image_id)
    assert image is not None and image["d"] == "6" and "a" not in image
    for body in ({"meta": {"x": "1"}}, {"meta": {"a": 1, "b": "2"}}, {"meta": {"a": "x" * 256}}, {}):
        assert (await nova(client, "PUT", f"{path}/a", body, "2.1")).status == 400, body
    many = await nova(client, "PUT", path, {"metadata": {f"k{i}": "v" for i in range(129)}}, "2.1")
    assert many.status == 403


async def test_new_clients_ask_glance(cloud: CloudWithGlance) -> None:
    client = await cloud.new_project("new")
    for path in ("/images", "/images/detail", f"/images/{cloud.image_id}"):
        assert (await nova(client, "GET", path, version="2.36")).status == 404
    assert (await nova(client, "GET", f"/images/{cloud.image_id}/metadata", version="2.39")).status == 404
