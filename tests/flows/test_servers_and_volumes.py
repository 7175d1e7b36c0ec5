"""Nova and cinder as they are, on the fake hypervisor: whole lives of servers with volumes, and a clean audit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from cloudseed.ledger import checks
from tests.support.cloud import Answer, Client, Cloud

pytestmark = pytest.mark.asyncio(loop_scope="module")
COMPUTE, VOLUME = "/compute/v2.1", "/volume/v3"


class Scene:
    """A project with a network and an image in a whole cloud."""

    def __init__(self, cloud: Cloud, user: Client) -> None:
        self.cloud, self.user = cloud, user
        self.image_id = self.network_id = ""

    async def send(self, method: str, path: str, json: Any = None, status: tuple[int, ...] = (200, 201, 202, 204),
                   client: Client | None = None, **options: Any) -> Any:
        version = "compute 2.100" if path.startswith(COMPUTE) else "volume 3.70"
        answer: Answer = await (client or self.user).request(
            method, path, json=json, headers={"OpenStack-API-Version": version, **options.pop("headers", {})},
            **options)
        assert answer.status in status, (method, path, answer.status, answer.body)
        return answer.json() if answer.body else None

    async def volume(self, **values: Any) -> str:
        made = await self.send("POST", f"{VOLUME}/volumes", {"volume": {"size": 1, **values}})
        volume_id: str = made["volume"]["id"]
        await self.until(volume_id, "available")
        return volume_id

    async def show(self, volume_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.send("GET", f"{VOLUME}/volumes/{volume_id}"))["volume"]
        return found

    async def until(self, volume_id: str, status: str) -> dict[str, Any]:
        limit = time.monotonic() + 20
        while (volume := await self.show(volume_id))["status"] != status:
            assert time.monotonic() < limit and not volume["status"].startswith("error"), volume
            await asyncio.sleep(0.02)
        return volume

    async def gone(self, path: str) -> None:
        limit = time.monotonic() + 20
        while (await self.user.request("GET", path)).status != 404:
            assert time.monotonic() < limit, path
            await asyncio.sleep(0.02)

    async def server(self, **values: Any) -> dict[str, Any]:
        body = {"name": "vm", "flavorRef": "c1", "networks": [{"uuid": self.network_id}], **values}
        made = await self.send("POST", f"{COMPUTE}/servers", {"server": body})
        return await self.is_(made["server"]["id"], "ACTIVE")

    async def is_(self, server_id: str, status: str) -> dict[str, Any]:
        limit = time.monotonic() + 20
        while True:
            server: dict[str, Any] = (await self.send("GET", f"{COMPUTE}/servers/{server_id}"))["server"]
            if server["status"] == status and server["OS-EXT-STS:task_state"] is None:
                return server
            assert time.monotonic() < limit and server["status"] != "ERROR", server
            await asyncio.sleep(0.02)

    async def delete(self, server: dict[str, Any]) -> None:
        await self.send("DELETE", f"{COMPUTE}/servers/{server['id']}")
        await self.gone(f"{COMPUTE}/servers/{server['id']}")

    async def clean(self) -> None:
        """Nothing is under way, and the audit of all services finds nothing of volumes."""
        for name in ("nova", "cinder"):
            engine = self.cloud.service(name).handle.engine
            assert await engine.idle(20), await engine.open_operations()
        picture = await self.cloud.runtime.ledger()
        found = [v for v in checks.check(picture) if "volume" in v.rule or "attach" in v.rule or "export" in v.rule
                 or "allocation" in v.rule]
        assert found == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with Cloud(tmp_path_factory.mktemp("cloud"), image_store="file") as cloud:
        made = Scene(cloud, await cloud.new_project("volumes"))
        image = await made.send("POST", "/image/v2/images", {
            "name": "i", "disk_format": "raw", "container_format": "bare"})
        made.image_id = image["id"]
        await made.send("PUT", f"/image/v2/images/{image['id']}/file", body=b"bytes of an image " * 1000,
                        headers={"Content-Type": "application/octet-stream"})
        network = await made.send("POST", "/networking/v2.0/networks", {"network": {"name": "n"}})
        made.network_id = network["network"]["id"]
        await made.send("POST", "/networking/v2.0/subnets", {"subnet": {
            "network_id": made.network_id, "ip_version": 4, "cidr": "10.5.0.0/24"}})
        yield made


async def test_a_volume_of_an_image_is_booted_from_and_outlives_its_server(scene: Scene) -> None:
    root = await scene.volume(imageRef=scene.image_id)
    assert (await scene.show(root))["bootable"] == "true"
    server = await scene.server(block_device_mapping_v2=[
        {"source_type": "volume", "uuid": root, "boot_index": 0, "destination_type": "volume"}])
    assert server["image"] == "" and [v["id"] for v in server["os-extended-volumes:volumes_attached"]] == [root]
    attached = (await scene.until(root, "in-use"))["attachments"]
    assert [a["server_id"] for a in attached] == [server["id"]]
    await scene.clean()
    await scene.delete(server)
    await scene.until(root, "available")
    await scene.clean()


async def test_volumes_are_made_for_a_server_and_end_with_it(scene: Scene) -> None:
    source = await scene.volume()
    snapshot = (await scene.send("POST", f"{VOLUME}/snapshots", {"snapshot": {"volume_id": source}}))["snapshot"]["id"]
    while (await scene.send("GET", f"{VOLUME}/snapshots/{snapshot}"))["snapshot"]["status"] != "available":
        await asyncio.sleep(0.02)
    server = await scene.server(block_device_mapping_v2=[
        {"source_type": "image", "uuid": scene.image_id, "destination_type": "volume", "boot_index": 0,
         "volume_size": 1, "delete_on_termination": True},
        {"source_type": "snapshot", "uuid": snapshot, "destination_type": "volume", "delete_on_termination": True},
        {"source_type": "blank", "destination_type": "volume", "volume_size": 2}])
    ids = [v["id"] for v in server["os-extended-volumes:volumes_attached"]]
    names = [(await scene.show(volume_id))["name"] for volume_id in ids]
    assert names == ["", "", f"{server['id']}-blank-vol"]
    await scene.clean()
    await scene.delete(server)
    await scene.gone(f"{VOLUME}/volumes/{ids[0]}")
    await scene.gone(f"{VOLUME}/volumes/{ids[1]}")
    await scene.until(ids[2], "available")
    await scene.clean()


async def test_attach_grow_and_detach(scene: Scene) -> None:
    server, data = await scene.server(imageRef=scene.image_id), await scene.volume()
    path = f"{COMPUTE}/servers/{server['id']}/os-volume_attachments"
    for _ in range(2):  # at once again, as soon as it is available
        made = await scene.send("POST", path, {"volumeAttachment": {"volumeId": data}})
        assert made["volumeAttachment"]["device"] == "/dev/vdb"
        await scene.until(data, "in-use")
        await scene.clean()
        (attachment,) = (await scene.send("GET", path))["volumeAttachments"]
        # CVE-2023-2088: what a guest writes to is taken from it by nova alone
        await scene.send("DELETE", f"{VOLUME}/attachments/{attachment['attachment_id']}", status=(409,))
        await scene.send("DELETE", f"{VOLUME}/volumes/{data}", status=(400, 409))
        await scene.send("DELETE", f"{path}/{data}")
        await scene.until(data, "available")
    await scene.send("POST", path, {"volumeAttachment": {"volumeId": data}})
    await scene.until(data, "in-use")
    await scene.clean()
    await scene.send("POST", f"{VOLUME}/volumes/{data}/action", {"os-extend": {"new_size": 3}})
    volume = await scene.until(data, "in-use")
    assert volume["size"] == 3
    driver = scene.cloud.service("nova-compute").handle[0].driver
    limit = time.monotonic() + 10
    while driver.volumes(server["id"])[data] != 3 * 1024**3:
        assert time.monotonic() < limit
        await asyncio.sleep(0.02)
    actions = await scene.send("GET", f"{COMPUTE}/servers/{server['id']}/os-instance-actions")
    assert "extend_volume" in [action["action"] for action in actions["instanceActions"]]
    await scene.send("POST", f"{COMPUTE}/servers/{server['id']}/action", {"os-stop": None})
    await scene.is_(server["id"], "SHUTOFF")
    await scene.send("DELETE", f"{path}/{data}")
    await scene.until(data, "available")
    await scene.delete(server)
    await scene.send("DELETE", f"{VOLUME}/volumes/{data}")
    await scene.clean()


async def test_a_volume_is_not_had_twice_nor_by_a_stranger(scene: Scene) -> None:
    data, server = await scene.volume(), await scene.server(imageRef=scene.image_id)
    stranger = await scene.cloud.new_project("stranger")
    mapping = [{"source_type": "volume", "uuid": data, "boot_index": 0, "destination_type": "volume"}]
    body = {"name": "x", "flavorRef": "c1", "networks": "none", "block_device_mapping_v2": mapping}
    answer = await scene.send("POST", f"{COMPUTE}/servers", {"server": body}, (400,), stranger)
    assert f"failed to get volume {data}" in answer["badRequest"]["message"]
    await scene.send("POST", f"{COMPUTE}/servers/{server['id']}/os-volume_attachments",
                     {"volumeAttachment": {"volumeId": data}})
    await scene.until(data, "in-use")
    other = await scene.server(imageRef=scene.image_id)
    await scene.send("POST", f"{COMPUTE}/servers/{other['id']}/os-volume_attachments",
                     {"volumeAttachment": {"volumeId": data}}, (400,))
    for one in (server, other):
        await scene.delete(one)
    await scene.until(data, "available")
    await scene.clean()


async def test_an_image_of_volumes_makes_servers(scene: Scene) -> None:
    root = await scene.volume(imageRef=scene.image_id)
    server = await scene.server(block_device_mapping_v2=[
        {"source_type": "volume", "uuid": root, "boot_index": 0, "destination_type": "volume",
         "delete_on_termination": True}])
    made = await scene.send("POST", f"{COMPUTE}/servers/{server['id']}/action", {"createImage": {"name": "photo"}})
    image = await scene.send("GET", f"/image/v2/images/{made['image_id']}")
    assert image["status"] == "active" and image["bdm_v2"] == "True" and image["size"] == 0
    snapshots = (await scene.send("GET", f"{VOLUME}/snapshots/detail"))["snapshots"]
    mine = [s for s in snapshots if s["name"] == "snapshot for photo"]
    while (await scene.send("GET", f"{VOLUME}/snapshots/{mine[0]['id']}"))["snapshot"]["status"] != "available":
        await asyncio.sleep(0.02)
    again = await scene.server(imageRef=image["id"])
    assert again["image"] == "" and again["os-extended-volumes:volumes_attached"][0]["id"] != root
    await scene.clean()
    await scene.delete(again)
    await scene.send("DELETE", f"{VOLUME}/snapshots/{mine[0]['id']}")
    await scene.gone(f"{VOLUME}/snapshots/{mine[0]['id']}")
    await scene.delete(server)
    await scene.gone(f"{VOLUME}/volumes/{root}")
    await scene.send("DELETE", f"/image/v2/images/{image['id']}")
    await scene.clean()
