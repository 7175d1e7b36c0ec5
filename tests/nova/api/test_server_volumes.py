"""Volumes of servers as clients order them: every form of block device mapping, attach and detach, and refusals."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from cloudseed.kernel.errors import Forbidden
from tests.nova.api.cloud import Json, NovaCloud, message, nova
from tests.support.cloud import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOBODY = str(uuid.UUID(int=7))
INVALID = "Block Device Mapping is Invalid"


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def _room(cloud: NovaCloud) -> None:
    """Servers of these tests stay; the quota must not end them."""
    await nova(cloud.admin, "PUT", "/os-quota-class-sets/default",
               {"quota_class_set": {"instances": -1, "cores": -1, "ram": -1}})


@pytest.fixture
def root(cloud: NovaCloud) -> str:
    """A bootable volume."""
    return cloud.cinder.add(2, bootable="true", volume_image_metadata={
        "image_id": NOBODY, "min_ram": "64", "hw_disk_bus": "virtio", "min_disk": "1"})


async def devices_of(cloud: NovaCloud, server_id: str) -> list[Json]:
    answer = await nova(cloud.admin, "GET", f"/servers/{server_id}/os-volume_attachments")
    found: list[Json] = answer.json()["volumeAttachments"]
    return found


async def until(cloud: NovaCloud, volume_id: str, status: str) -> None:
    limit = time.monotonic() + 10
    while cloud.cinder.volumes[volume_id]["status"] != status:
        assert time.monotonic() < limit, cloud.cinder.volumes[volume_id]
        await asyncio.sleep(0.01)


async def attach(cloud: NovaCloud, server_id: str, volume_id: str, version: str = "2.100", **more: Any) -> Any:
    return await nova(cloud.admin, "POST", f"/servers/{server_id}/os-volume_attachments",
                      {"volumeAttachment": {"volumeId": volume_id, **more}}, version)


# ---- boot

async def test_boot_from_a_volume(cloud: NovaCloud, root: str) -> None:
    server = await cloud.boot(cloud.admin, imageRef="", block_device_mapping_v2=[
        {"uuid": root, "source_type": "volume", "destination_type": "volume", "boot_index": 0,
         "delete_on_termination": True}])
    assert server["image"] == "" and server["OS-EXT-SRV-ATTR:root_device_name"] == "/dev/vda"
    assert server["os-extended-volumes:volumes_attached"] == [{"id": root, "delete_on_termination": True}]
    old = (await nova(cloud.admin, "GET", f"/servers/{server['id']}", version="2.1")).json()["server"]
    assert old["os-extended-volumes:volumes_attached"] == [{"id": root}]
    assert cloud.cinder.volumes[root]["status"] == "in-use"
    await nova(cloud.admin, "DELETE", f"/servers/{server['id']}")
    await cloud.wait_gone(cloud.admin, server["id"])
    assert root not in cloud.cinder.volumes


@pytest.mark.parametrize("device", [
    {"source_type": "image", "destination_type": "volume", "volume_size": 3},
    {"source_type": "snapshot", "destination_type": "volume"}], ids=["image", "snapshot"])
async def test_boot_from_a_volume_that_is_made(cloud: NovaCloud, root: str, device: Json) -> None:
    source = cloud.image_id if device["source_type"] == "image" else cloud.cinder.add_snapshot(root)
    server = await cloud.boot(cloud.admin, imageRef=None, block_device_mapping_v2=[
        {**device, "uuid": source, "boot_index": "0", "tag": "root", "volume_type": "__DEFAULT__"}])
    (attached,) = await devices_of(cloud, server["id"])
    volume = cloud.cinder.volumes[attached["volumeId"]]
    assert volume["status"] == "in-use" and volume["size"] == device.get("volume_size", 2) and volume["name"] == ""
    assert attached["tag"] == "root" and attached["device"] == "/dev/vda" and server["image"] == ""


async def test_an_image_with_volumes_and_local_disks_beside_it(cloud: NovaCloud) -> None:
    flavor = {"name": f"f-{uuid.uuid4()}", "ram": 256, "vcpus": 1, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 4,
              "swap": 64}
    made = (await nova(cloud.admin, "POST", "/flavors", {"flavor": flavor})).json()["flavor"]
    data = cloud.cinder.add()
    server = await cloud.boot(cloud.admin, flavorRef=made["id"], block_device_mapping_v2=[
        {"uuid": cloud.image_id, "source_type": "image", "destination_type": "local", "boot_index": 0},
        {"source_type": "blank", "destination_type": "volume", "volume_size": 1, "delete_on_termination": True},
        {"uuid": data, "source_type": "volume", "destination_type": "volume"},
        {"source_type": "blank", "destination_type": "local", "guest_format": "swap", "volume_size": 32},
        {"source_type": "blank", "destination_type": "local", "guest_format": "ext4", "volume_size": 2}])
    assert server["image"]["id"] == cloud.image_id
    assert [device["device"] for device in await devices_of(cloud, server["id"])] == ["/dev/vdd", "/dev/vde"]
    assert (await devices_of(cloud, server["id"]))[1]["volumeId"] == data


async def test_the_old_form(cloud: NovaCloud, root: str) -> None:
    server = await cloud.boot(cloud.admin, imageRef="", block_device_mapping=[
        {"volume_id": root, "device_name": "vda", "delete_on_termination": "0"}])
    assert server["os-extended-volumes:volumes_attached"] == [{"id": root, "delete_on_termination": False}]
    data = cloud.cinder.add()
    server = await cloud.boot(cloud.admin, block_device_mapping=[{"volume_id": data, "device_name": "/dev/vdb"}])
    assert server["image"]["id"] == cloud.image_id
    assert [device["device"] for device in await devices_of(cloud, server["id"])] == ["/dev/vdb"]


async def test_an_image_that_says_itself_what_its_disks_are(cloud: NovaCloud, root: str) -> None:
    """As the image of a volume-backed server does."""
    snapshot = cloud.cinder.add_snapshot(root)
    mapping = [{"source_type": "snapshot", "destination_type": "volume", "snapshot_id": snapshot, "boot_index": 0,
                "volume_size": 2, "delete_on_termination": True, "device_name": "/dev/vda", "disk_bus": None,
                "image_id": None, "volume_id": None}]
    image = cloud.images.add(size=0, disk_format=None, container_format=None, bdm_v2="True",
                             root_device_name="/dev/vda", block_device_mapping=msgspec.json.encode(mapping).decode())
    for given in (None, [{"uuid": image, "source_type": "image", "destination_type": "local", "boot_index": 0}]):
        server = await cloud.boot(cloud.admin, imageRef=image, block_device_mapping_v2=given)
        (volume,) = server["os-extended-volumes:volumes_attached"]
        assert cloud.cinder.volumes[volume["id"]]["source"] == {"snapshot_id": snapshot}
        assert server["image"] == "" and volume["delete_on_termination"]


async def test_a_flavor_without_a_disk_wants_a_volume(cloud: NovaCloud, root: str) -> None:
    flavor = {"name": f"f-{uuid.uuid4()}", "ram": 256, "vcpus": 1, "disk": 0}
    made = (await nova(cloud.admin, "POST", "/flavors", {"flavor": flavor})).json()["flavor"]
    user = await new_user(cloud)
    answer = await nova(user, "POST", "/servers", cloud.order(flavorRef=made["id"]))
    assert answer.status == 403 and "Only volume-backed servers" in message(answer)
    server = await cloud.boot(user, flavorRef=made["id"], imageRef=None, block_device_mapping_v2=[
        {"uuid": root, "source_type": "volume", "boot_index": 0}])
    await nova(user, "DELETE", f"/servers/{server['id']}")
    await cloud.wait_gone(user, server["id"])
    assert cloud.cinder.volumes[root]["status"] == "available"


async def new_user(cloud: NovaCloud) -> Client:
    return await cloud.new_project(f"volumes-{uuid.uuid4()}")


REFUSED: list[tuple[list[Json], Json, str]] = [
    ([{"source_type": "blank", "destination_type": "volume", "volume_size": 1}], {}, "Boot sequence for the instance"),
    ([{"source_type": "volume", "boot_index": 0}], {}, f"{INVALID}: Missing device UUID."),
    ([{"source_type": "blank", "uuid": NOBODY, "boot_index": 0}], {}, f"{INVALID}: Invalid device UUID."),
    ([{"uuid": NOBODY, "boot_index": 0}], {}, f"{INVALID}: Some required fields are missing"),
    ([{"source_type": "image", "uuid": NOBODY, "destination_type": "local", "boot_index": 1}], {},
     f"{INVALID}: Mapping image to local is not supported."),
    ([{"source_type": "volume", "uuid": NOBODY, "boot_index": 0}], {}, f"{INVALID}: failed to get volume {NOBODY}."),
    ([{"source_type": "volume", "uuid": "..", "boot_index": 0}], {}, f"{INVALID}: failed to get volume"),
    ([{"source_type": "snapshot", "uuid": NOBODY, "boot_index": 0}], {},
     f"{INVALID}: failed to get snapshot {NOBODY}."),
    ([{"source_type": "image", "uuid": NOBODY, "destination_type": "volume", "boot_index": 0, "volume_size": 1}], {},
     f"{INVALID}: failed to get image {NOBODY}."),
    ([{"source_type": "image", "uuid": "IMAGE", "destination_type": "volume", "boot_index": 0}], {},
     "Images with destination_type 'volume' need to have a non-zero size specified"),
    ([{"source_type": "volume", "uuid": "ROOT", "boot_index": 0},
      {"source_type": "blank", "destination_type": "volume"}], {}, "need to have non-zero size"),
    ([{"source_type": "volume", "uuid": "ROOT", "boot_index": 0},
      {"source_type": "volume", "uuid": "DATA", "boot_index": 2}], {}, "Boot sequence for the instance"),
    ([{"source_type": "volume", "uuid": "DATA", "boot_index": 0}], {}, "Block Device DATA is not bootable."),
    ([{"source_type": "volume", "uuid": "ROOT", "boot_index": 0, "volume_type": "x"}], {},
     "Specifying volume type to existing volume is not supported."),
    ([{"source_type": "blank", "destination_type": "local", "volume_type": "x"}], {},
     "Specifying a volume_type with destination_type=local is not supported."),
    ([{"source_type": "image", "uuid": "IMAGE", "destination_type": "volume", "volume_size": 1, "boot_index": 0,
       "volume_type": "nothing"}], {}, "Volume type nothing could not be found."),
    ([{"source_type": "volume", "uuid": "ROOT", "boot_index": 0}], {"max_count": 2},
     "Cannot attach one or more volumes to multiple instances"),
    ([{"source_type": "volume", "uuid": "ROOT", "boot_index": 0, "disk_bus": "fdd"}], {}, "disk bus"),
    ([{"source_type": "volume", "uuid": "ROOT", "boot_index": 0},
      {"source_type": "blank", "destination_type": "local", "volume_size": 9}], {}, "Ephemeral disks requested"),
    ([{"source_type": "volume", "uuid": "ROOT", "boot_index": 0},
      {"source_type": "blank", "destination_type": "local", "guest_format": "swap", "volume_size": 9}], {},
     "Swap drive requested is larger"),
    ([{"source_type": "volume", "uuid": "ROOT", "boot_index": 0, "volume_size": 0}], {}, "volume_size"),
    ([{"source_type": "volume", "uuid": "ROOT", "boot_index": 0, "unknown": 0}], {}, "unknown"),
    ([{"source_type": "volume", "uuid": "ROOT", "boot_index": 0}], {"block_device_mapping": [{"volume_id": NOBODY}]},
     "Using different block_device_mapping syntaxes"),
]


@pytest.mark.parametrize(("mapping", "change", "text"), REFUSED, ids=lambda value: str(value)[:30])
async def test_a_mapping_that_cannot_be_is_refused(cloud: NovaCloud, root: str, mapping: list[Json], change: Json,
                                                   text: str) -> None:
    data = cloud.cinder.add()
    names = {"ROOT": root, "DATA": data, "IMAGE": cloud.image_id}
    given = [{name: names.get(value, value) if isinstance(value, str) else value for name, value in one.items()}
             for one in mapping]
    answer = await nova(cloud.admin, "POST", "/servers", cloud.order(
        imageRef=None, block_device_mapping_v2=given, **change))
    assert answer.status == 400, answer.body
    assert text.replace("DATA", data) in message(answer)
    assert cloud.cinder.volumes[root]["status"] == cloud.cinder.volumes[data]["status"] == "available"


async def test_a_volume_is_one_servers_alone(cloud: NovaCloud, root: str) -> None:
    mapping = [{"source_type": "volume", "uuid": root, "boot_index": 0}]
    order = cloud.order(imageRef=None, block_device_mapping_v2=mapping)
    answers = await asyncio.gather(*(nova(cloud.admin, "POST", "/servers", order) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [202, 400, 400, 400]
    (winner,) = (answer.json()["server"]["id"] for answer in answers if answer.status == 202)
    await cloud.wait_for(cloud.admin, winner, "ACTIVE")
    assert len(cloud.cinder.of(winner)) == 1


# ---- images of them

async def test_an_image_of_a_server_that_boots_from_a_volume_and_a_server_of_the_image(cloud: NovaCloud,
                                                                                      root: str) -> None:
    data = cloud.cinder.add(3)
    server = await cloud.boot(cloud.admin, imageRef=None, block_device_mapping_v2=[
        {"source_type": "volume", "uuid": root, "boot_index": 0, "delete_on_termination": True},
        {"source_type": "volume", "uuid": data}])
    path = f"/servers/{server['id']}/action"
    answer = await nova(cloud.admin, "POST", path, {"createImage": {"name": "photo", "metadata": {"a": "b"}}})
    assert answer.status == 202
    image = cloud.images.images[answer.json()["image_id"]]
    assert image["name"] == "photo" and image["a"] == "b" and image["bdm_v2"] == "True" and image["size"] == 0
    mapping = msgspec.json.decode(image["block_device_mapping"])
    assert [cloud.cinder.snapshots[one["snapshot_id"]]["volume_id"] for one in mapping] == [root, data]
    assert [(one["source_type"], one["destination_type"], one["boot_index"], one["delete_on_termination"],
             one["volume_size"]) for one in mapping] == [("snapshot", "volume", 0, True, 2),
                                                          ("snapshot", "volume", None, False, 3)]
    again = await cloud.boot(cloud.admin, imageRef=image["id"])
    assert again["image"] == "" and len(again["os-extended-volumes:volumes_attached"]) == 2
    answer = await nova(cloud.admin, "POST", path, {"createBackup": {
        "name": "x", "backup_type": "daily", "rotation": 1}})
    assert answer.status == 400 and "not supported for volume-backed" in message(answer)
    cloud.cinder.failures["POST snapshots"] = [Forbidden("Maximum number of snapshots allowed (10) exceeded")]
    before = len(cloud.cinder.snapshots)
    answer = await nova(cloud.admin, "POST", path, {"createImage": {"name": "photo"}})
    assert answer.status == 403 and "Maximum number of snapshots" in message(answer)
    assert len(cloud.cinder.snapshots) == before


async def test_a_root_volume_is_written_anew(cloud: NovaCloud, root: str) -> None:
    server = await cloud.boot(cloud.admin, imageRef=None, block_device_mapping_v2=[
        {"source_type": "volume", "uuid": root, "boot_index": 0}])
    path, order = f"/servers/{server['id']}/action", {"rebuild": {"imageRef": cloud.image_id}}
    answer = await nova(cloud.admin, "POST", path, order, "2.92")
    assert answer.status == 400 and "different image for a volume-backed server" in message(answer)
    big = cloud.images.add(min_disk=9)
    answer = await nova(cloud.admin, "POST", path, {"rebuild": {"imageRef": big}})
    assert answer.status == 400 and "Volume is smaller than the minimum size" in message(answer)
    assert (await nova(cloud.admin, "POST", path, order)).status == 202
    server = await cloud.wait_for(cloud.admin, server["id"], "ACTIVE")
    assert cloud.cinder.volumes[root]["reimaged"] == cloud.image_id and server["image"] == ""
    assert cloud.cinder.volumes[root]["status"] == "in-use"
    assert list(cloud.driver().volumes(server["id"])) == [root] == cloud.cinder.of(server["id"])
    cloud.cinder.failures["os-reimage"] = [Forbidden("no")]
    assert (await nova(cloud.admin, "POST", path, order)).status == 202
    server = await cloud.wait_for(cloud.admin, server["id"], "ERROR")
    assert "no" in server["fault"]["message"]
    assert cloud.cinder.of(server["id"]) == [root] and cloud.cinder.volumes[root]["status"] == "in-use"
    await nova(cloud.admin, "POST", path, {"reboot": {"type": "HARD"}})
    limit = time.monotonic() + 10
    while (await nova(cloud.admin, "GET", f"/servers/{server['id']}")).json()["server"]["status"] != "ACTIVE":
        assert time.monotonic() < limit
        await asyncio.sleep(0.02)
    cloud.cinder.volumes[root]["volume_image_metadata"]["image_id"] = cloud.image_id
    assert (await nova(cloud.admin, "POST", path, order, "2.92")).status == 202  # the image that it is made of
    await cloud.wait_for(cloud.admin, server["id"], "ACTIVE")


# ---- attach, detach

async def test_attach_look_change_detach(cloud: NovaCloud) -> None:
    server, volume_id = await cloud.boot(cloud.admin), cloud.cinder.add()
    path = f"/servers/{server['id']}/os-volume_attachments"
    answer = await attach(cloud, server["id"], volume_id, device="/dev/vdz", tag="data", delete_on_termination=True)
    assert answer.status == 200 and answer.json() == {"volumeAttachment": {
        "id": volume_id, "volumeId": volume_id, "serverId": server["id"], "device": "/dev/vdb", "tag": "data",
        "delete_on_termination": True}}
    await until(cloud, volume_id, "in-use")
    found = (await nova(cloud.admin, "GET", f"{path}/{volume_id}")).json()["volumeAttachment"]
    attachment_id, mapping_id = found.pop("attachment_id"), found.pop("bdm_uuid")
    assert cloud.cinder.attachments[attachment_id]["status"] == "attached" and mapping_id
    assert found == {"volumeId": volume_id, "serverId": server["id"], "device": "/dev/vdb", "tag": "data",
                     "delete_on_termination": True}
    old = (await nova(cloud.admin, "GET", path, version="2.1")).json()["volumeAttachments"]
    assert old == [{"id": volume_id, "volumeId": volume_id, "serverId": server["id"], "device": "/dev/vdb"}]
    change = {"volumeAttachment": {"volumeId": volume_id, "delete_on_termination": False}}
    assert (await nova(cloud.admin, "PUT", f"{path}/{volume_id}", change)).status == 202
    assert (await devices_of(cloud, server["id"]))[0]["delete_on_termination"] is False
    change["volumeAttachment"]["tag"] = "else"
    answer = await nova(cloud.admin, "PUT", f"{path}/{volume_id}", change)
    assert answer.status == 400 and "tag property is not mutable" in message(answer)
    assert (await nova(cloud.admin, "DELETE", f"{path}/{volume_id}")).status == 202
    await until(cloud, volume_id, "available")
    assert await devices_of(cloud, server["id"]) == []
    actions = (await nova(cloud.admin, "GET", f"/servers/{server['id']}/os-instance-actions")).json()
    assert [a["action"] for a in actions["instanceActions"]] == ["detach_volume", "attach_volume", "create"]


async def test_the_newest_attach_answers_nothing(cloud: NovaCloud) -> None:
    server, volume_id = await cloud.boot(cloud.admin), cloud.cinder.add()
    answer = await attach(cloud, server["id"], volume_id, "2.101")
    assert answer.status == 202 and answer.body == b""
    await until(cloud, volume_id, "in-use")


async def test_what_may_not_be_attached(cloud: NovaCloud) -> None:
    server, other = await cloud.boot(cloud.admin), await cloud.boot(cloud.admin)
    volume_id, shared = cloud.cinder.add(), cloud.cinder.add(multiattach=True)
    for body, status in (({}, 400), ({"volumeId": "x"}, 400), ({"volumeId": NOBODY}, 404),
                         ({"volumeId": volume_id, "device": "vdb"}, 400), ({"volumeId": volume_id, "x": 1}, 400),
                         ({"volumeId": volume_id, "tag": "a,b"}, 400)):
        answer = await nova(cloud.admin, "POST", f"/servers/{server['id']}/os-volume_attachments",
                            {"volumeAttachment": body})
        assert answer.status == status, (body, answer.body)
    answer = await attach(cloud, server["id"], shared, "2.59")
    assert answer.status == 400 and "2.60" in message(answer)
    for server_id in (server["id"], other["id"]):
        assert (await attach(cloud, server_id, shared)).status == 200
    await until(cloud, shared, "in-use")
    assert (await attach(cloud, server["id"], volume_id)).status == 200
    again, elsewhere = await attach(cloud, server["id"], volume_id), await attach(cloud, other["id"], volume_id)
    assert again.status == elsewhere.status == 400
    assert f"volume {volume_id} is already attached to instances: {server['id']}" in message(elsewhere)


async def test_what_may_not_be_detached(cloud: NovaCloud, root: str) -> None:
    server = await cloud.boot(cloud.admin, imageRef=None, block_device_mapping_v2=[
        {"source_type": "volume", "uuid": root, "boot_index": 0}])
    path = f"/servers/{server['id']}/os-volume_attachments"
    answer = await nova(cloud.admin, "DELETE", f"{path}/{root}")
    assert answer.status == 400 and message(answer) == "Cannot detach a root device volume"
    free = cloud.cinder.add()
    answer = await nova(cloud.admin, "DELETE", f"{path}/{free}")
    assert answer.status == 404 and f"is not attached to volume {free}" in message(answer)
    for unknown in (NOBODY, "..", "x"):
        assert (await nova(cloud.admin, "DELETE", f"{path}/{unknown}")).status == 404
    answer = await nova(cloud.admin, "PUT", f"{path}/{root}", {"volumeAttachment": {"volumeId": free}}, "2.84")
    assert answer.status == 409 and "is not migrating" in message(answer)


async def test_a_locked_server_and_one_that_is_busy(cloud: NovaCloud) -> None:
    user = await new_user(cloud)
    server, volume_id = await cloud.boot(user), cloud.cinder.add()
    await nova(user, "POST", f"/servers/{server['id']}/action", {"lock": None})
    path, body = f"/servers/{server['id']}/os-volume_attachments", {"volumeAttachment": {"volumeId": volume_id}}
    assert (await nova(user, "POST", path, body)).status == 409
    await nova(user, "POST", f"/servers/{server['id']}/action", {"unlock": None})
    cloud.driver().latency_s = 0.3
    try:
        await nova(user, "POST", f"/servers/{server['id']}/action", {"os-stop": None})
        answer = await nova(user, "POST", path, body)
        assert answer.status == 409 and "powering-off" in message(answer)
    finally:
        cloud.driver().latency_s = 0
    await cloud.wait_for(user, server["id"], "SHUTOFF")
    assert (await nova(user, "POST", path, body)).status in (200, 202)
    await until(cloud, volume_id, "in-use")
    assert (await nova(user, "GET", path, version="2.1")).json()["volumeAttachments"][0]["device"] == "/dev/vdb"
    assert (await nova(await new_user(cloud), "GET", path)).status == 404
