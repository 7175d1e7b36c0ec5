"""createImage and createBackup: what the image is, what clients are told, what is refused, what a failure leaves."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cloudseed.nova.compute.errors import HostFailed
from tests.nova.api.cloud import message, nova
from tests.nova.api.real_glance import IMAGES, CloudWithGlance
from tests.support.cloud import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CloudWithGlance]:
    async with CloudWithGlance(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


async def settled(cloud: CloudWithGlance, client: Client, server_id: str, status: str = "ACTIVE") -> None:
    await cloud.wait_for(client, server_id, status)


async def test_a_snapshot_is_an_image_of_the_server(cloud: CloudWithGlance) -> None:
    client = await cloud.new_project("snap")
    server = await cloud.boot(client)
    answer = await nova(client, "POST", f"/servers/{server['id']}/action",
                        {"createImage": {"name": "snap", "metadata": {"color": "red"}}})
    assert answer.status == 202, answer.body
    image_id = answer.json()["image_id"]
    assert answer.json() == {"image_id": image_id} and "location" not in answer.headers
    image = await cloud.image(client, image_id)
    assert image is not None and image["status"] in ("queued", "saving", "active")
    await settled(cloud, client, server["id"])
    image = await cloud.image(client, image_id)
    assert image is not None
    expected = {
        "name": "snap", "status": "active", "visibility": "private", "owner": client.project_id, "color": "red",
        "image_type": "snapshot", "instance_uuid": server["id"], "user_id": client.user_id,
        "base_image_ref": cloud.image_id, "hw_disk_bus": "scsi", "min_ram": 16, "min_disk": 1,
        "container_format": "bare", "disk_format": "raw", "image_state": "available", "image_location": "snapshot",
        "owner_id": client.project_id}
    assert {name: image.get(name) for name in expected} == expected
    assert "cache_in_nova" not in image
    assert (await client.get(f"{IMAGES}/{image_id}/file")).body == b"the disk of vm\n"
    again = await cloud.boot(client, imageRef=image_id)
    assert again["image"]["id"] == image_id
    actions = (await nova(client, "GET", f"/servers/{server['id']}/os-instance-actions")).json()["instanceActions"]
    assert actions[0]["action"] == "createImage" and actions[0]["message"] is None


async def test_old_clients_get_a_location(cloud: CloudWithGlance) -> None:
    client = await cloud.new_project("location")
    server = await cloud.boot(client)
    path = f"/servers/{server['id']}/action"
    answer = await nova(client, "POST", path, {"createImage": {"name": "old"}}, "2.1")
    assert answer.status == 202 and answer.body == b""
    assert answer.headers["location"].startswith("http://127.0.0.1:8080/image/v2/images/")
    await settled(cloud, client, server["id"])
    image = await cloud.image(client, answer.headers["location"].rpartition("/")[2])
    assert image is not None and image["status"] == "active"
    backup = {"createBackup": {"name": "none", "backup_type": "daily", "rotation": 0}}
    answer = await nova(client, "POST", path, backup, "2.1")
    assert answer.status == 202 and "location" not in answer.headers


async def test_backups_rotate(cloud: CloudWithGlance) -> None:
    client, stranger = await cloud.new_project("rotate"), await cloud.new_project("stranger")
    server = await cloud.boot(client)
    foreign = await cloud.new_image(stranger, instance_uuid=server["id"], image_type="backup", backup_type="daily")
    for number, kind in enumerate(["daily", "daily", "weekly", "daily"]):
        backup = {"createBackup": {"name": f"b{number}", "backup_type": kind, "rotation": 2, "metadata": {"n": "1"}}}
        answer = await nova(client, "POST", f"/servers/{server['id']}/action", backup)
        assert answer.status == 202, answer.body
        await settled(cloud, client, server["id"])
    mine = (await client.get(f"{IMAGES}?owner={client.project_id}&sort=name:asc")).json()["images"]
    assert [(image["name"], image["backup_type"], image["image_type"]) for image in mine] == [
        ("b1", "daily", "backup"), ("b2", "weekly", "backup"), ("b3", "daily", "backup")]
    assert await cloud.image(stranger, foreign) is not None


@pytest.mark.parametrize("body", [
    {"createImage": {}}, {"createImage": {"name": ""}}, {"createImage": {"name": "x" * 256}},
    {"createImage": {"name": "a\x00"}}, {"createImage": {"name": "x", "metadata": {"a": "b" * 256}}},
    {"createImage": {"name": "x", "color": 1}}, {"createImage": None}, {"createImage": "x"},
    {"createBackup": {"name": "x", "backup_type": "daily"}}, {"createBackup": {"name": "x", "rotation": 1}},
    {"createBackup": {"name": "x", "backup_type": "daily", "rotation": -1}},
    {"createBackup": {"name": "x", "backup_type": "daily", "rotation": "many"}},
    {"createBackup": {"name": "x", "backup_type": 5, "rotation": 1}},
    {"createBackup": {"name": "x", "backup_type": "y" * 256, "rotation": 1}}])
async def test_the_form_is_checked(cloud: CloudWithGlance, body: object) -> None:
    answer = await nova(cloud.admin, "POST", f"/servers/{uuid.uuid4()}/action", body)
    assert answer.status == 400 and message(answer)


async def test_states_in_which_it_is_refused(cloud: CloudWithGlance) -> None:
    client = await cloud.new_project("states")
    server = await cloud.boot(client)
    driver = cloud.driver()
    driver.latency_s = 0.5
    try:
        path, order = f"/servers/{server['id']}/action", {"createImage": {"name": "x"}}
        assert (await nova(client, "POST", path, order)).status == 202
        answer = await nova(client, "POST", path, order)
        assert answer.status == 409 and "Cannot 'createImage' instance" in message(answer)
        assert "while it is in task_state image_" in message(answer)
        stop = await nova(client, "POST", path, {"os-stop": None})
        assert stop.status == 409
    finally:
        driver.latency_s = 0.0
    await settled(cloud, client, server["id"])
    assert (await nova(client, "POST", path, {"os-stop": None})).status == 202
    await settled(cloud, client, server["id"], "SHUTOFF")
    assert (await nova(client, "POST", path, order)).status == 202
    await settled(cloud, client, server["id"], "SHUTOFF")
    assert (await nova(await cloud.new_project("others"), "POST", path, order)).status == 404


async def test_a_snapshot_that_fails_leaves_no_image(cloud: CloudWithGlance) -> None:
    client = await cloud.new_project("fails")
    server = await cloud.boot(client)
    cloud.driver().failures["copy_disk"] = [HostFailed(host="h", doing="copy", reason="disk on fire")]
    answer = await nova(client, "POST", f"/servers/{server['id']}/action", {"createImage": {"name": "x"}})
    assert answer.status == 202
    await settled(cloud, client, server["id"])
    assert await cloud.image(client, answer.json()["image_id"]) is None


async def test_what_glance_refuses_is_refused(cloud: CloudWithGlance) -> None:
    client = await cloud.new_project("refused")
    server = await cloud.boot(client)
    order = {"createImage": {"name": "x", "metadata": {"status": "active"}}}
    answer = await nova(client, "POST", f"/servers/{server['id']}/action", order)
    assert answer.status == 403 and "read-only" in message(answer)
    await settled(cloud, client, server["id"])
    assert (await client.get(f"{IMAGES}?owner={client.project_id}")).json()["images"] == []


async def test_an_admins_snapshot_is_shared_with_the_servers_project(cloud: CloudWithGlance) -> None:
    client = await cloud.new_project("shared")
    server = await cloud.boot(client)
    answer = await nova(cloud.admin, "POST", f"/servers/{server['id']}/action", {"createImage": {"name": "x"}})
    await settled(cloud, client, server["id"])
    image = await cloud.image(client, answer.json()["image_id"])
    assert image is not None and image["visibility"] == "shared" and image["status"] == "active"
    assert image["instance_owner"] == client.project_id and image["owner"] == cloud.admin.project_id
